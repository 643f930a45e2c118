from __future__ import annotations

import csv
import io
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from report_helpers import report, step, write_run

from mentor_kit.core.errors import MissingError, UsageError
from mentor_kit.report import before_after, compare, plot_run
from mentor_kit.report.curve import smoothed
from mentor_kit.runs import Run

OUT = "out-of-domain"


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    made = []
    for seed, accuracy in ((0, 0.8), (1, 0.9), (2, 1.0)):
        reports = [
            report(number, split, accuracy * number / 20, 0.4, similarity=0.7, reward=1.0, calls_per_problem=2.0)
            for number in (0, 10, 20)
            for split in ("in-domain", OUT)
        ]
        steps = [step(number, reward=number / 20, accuracy=0.5) for number in range(1, 21)]
        made.append(write_run(tmp_path, "small-mentor", seed, reports, steps))
    made.append(write_run(tmp_path, "small-sparse-seed0", 0, [report(20, OUT, 0.5, similarity=0.6)]))
    return made


def test_arms_are_means_over_seeds(runs: list[Run]) -> None:
    found = compare(runs)
    assert found.title == "small"
    by_place = {(result.label, result.split): result for result in found.results}
    assert list(by_place) == [("mentor", "in-domain"), ("mentor", OUT), ("sparse", OUT)]
    mentor = by_place["mentor", OUT]
    assert (mentor.seeds, mentor.steps, mentor.problems) == ((0, 1, 2), 20, 100)
    assert mentor.greedy is not None
    # 0.9 ± 4.303 * 0.1 / sqrt(3), cut at 1
    assert mentor.greedy.value == pytest.approx(0.9)
    assert mentor.greedy.interval == pytest.approx((0.6516, 1.0), abs=1e-4)
    # seeds that agree say nothing: the evaluation's own interval
    assert mentor.sampled is not None
    assert mentor.sampled.interval == pytest.approx((0.3, 0.5))
    assert mentor.similarity is not None
    assert mentor.similarity.interval is None
    sparse = by_place["sparse", OUT]
    assert sparse.sampled is None
    assert sparse.greedy is not None
    assert sparse.greedy.interval == pytest.approx((0.4, 0.6))
    assert any("different seeds" in note for note in found.notes)


def test_curves_are_over_steps(runs: list[Run]) -> None:
    curves = {(curve.label, curve.split, curve.kind): curve for curve in compare(runs).curves}
    points = curves["mentor", OUT, "greedy"].points
    assert [(point.step, round(point.accuracy.value, 3)) for point in points] == [(0, 0.0), (10, 0.45), (20, 0.9)]


def test_steps_count_over_stages(tmp_path: Path) -> None:
    reports = [
        report(0, OUT, 0.1, stage="0-sft"),
        report(30, OUT, 0.2, stage="0-sft"),
        report(5, OUT, 0.3, stage="1-grpo"),
        report(0, OUT, 0.4, stage="2-evaluate"),
    ]
    run = write_run(tmp_path, "two", 0, reports, [step(40, "0-sft", loss=1.0), step(8, "1-grpo", loss=1.0)])
    found = compare([run])
    assert [(point.step, point.accuracy.value) for point in found.curves[0].points] == [
        (0, 0.1),
        (30, 0.2),
        (45, 0.3),
        (48, 0.4),
    ]
    assert found.results[0].steps == 48


def test_runs_are_named_in_many_ways(runs: list[Run], tmp_path: Path) -> None:
    everything = [result.seeds for result in compare(runs).results]
    for named in ([tmp_path], ["small-mentor", "small-sparse-seed0"], [tmp_path / "small-mentor", runs[3].path]):
        assert [result.seeds for result in compare(named, root=tmp_path).results] == everything
    assert compare([runs[0], runs[0].path]).results[0].seeds == (0,)
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("small-mentor", "small-sparse-seed0"):
        (tmp_path / name).rename(tmp_path / "a" / "b" / name)
    assert [result.seeds for result in compare([tmp_path]).results] == everything
    with pytest.raises(UsageError, match="'small-mentor'"):
        compare(["small-mentro"], root=tmp_path / "a" / "b")


def test_what_is_left_out_is_said(runs: list[Run], tmp_path: Path) -> None:
    again = write_run(tmp_path, "small-mentor", 0, [report(20, OUT, 0.3, problems=50)], outcome="interrupted")
    empty = write_run(tmp_path, "small-other", 0, [])
    found = compare([*runs, again, empty])
    greedy = next(result.greedy for result in found.results if (result.label, result.split) == ("mentor", OUT))
    assert greedy is not None
    assert greedy.values == (0.3, 0.9, 1.0)

    def noted(*named: object) -> bool:
        return any(all(str(name) in note for name in named) for note in found.notes)

    assert noted(empty.path)
    assert noted(runs[0].path, again.path)
    assert noted(again.path, "interrupted")
    assert noted("50", "100")
    with pytest.raises(UsageError, match="compare"):
        compare([empty])


def test_tables_and_figures_are_written(runs: list[Run], tmp_path: Path) -> None:
    found = compare(runs, tmp_path / "out")
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    tables = ["comparison.csv", "comparison.json", "comparison.md"]
    assert files == [*tables, "learning-curves.png", "learning-curves.svg", "similarity.png", "similarity.svg"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "comparison.csv").read_text())))
    assert (rows[0]["arm"], rows[0]["split"], rows[0]["seeds"]) == ("small-mentor", "in-domain", "0 1 2")
    assert float(rows[1]["greedy"]) == pytest.approx(0.9)
    assert rows[2]["sampled"] == ""
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["results"][0]["greedy"]["values"]
    markdown = (tmp_path / "out" / "comparison.md").read_text().splitlines()
    assert markdown[0].count("|") == markdown[1].count("|") == markdown[2].count("|") == 10
    assert "90.0 (65.2 to 100.0)" in found.text()
    for name in ("learning-curves", "similarity"):
        assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        text = " ".join(ElementTree.parse(tmp_path / "out" / f"{name}.svg").getroot().itertext())
        for words in ("mentor", "sparse", "accuracy (%)"):
            assert words in text


def test_the_same_runs_give_the_same_pictures(runs: list[Run], tmp_path: Path) -> None:
    for folder in ("one", "two"):
        compare(runs, tmp_path / folder)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_without_matplotlib_the_tables_are_there(
    runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingError, match="matplotlib") as found:
        compare(runs, tmp_path / "out")
    assert found.value.hint == "pip install 'mentor-kit[report]'"
    assert (tmp_path / "out" / "comparison.md").is_file()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingError, match="pandas"):
        _ = runs[0].metrics


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_run_is_drawn(runs: list[Run], tmp_path: Path, suffix: str) -> None:
    assert plot_run(runs[0], tmp_path / f"run{suffix}").stat().st_size > 1000


def test_what_cannot_be_drawn_is_explained(runs: list[Run], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png, \.svg or \.pdf"):
        plot_run(runs[0], tmp_path / "run.bmp")
    with pytest.raises(UsageError, match="draw"):
        plot_run(write_run(tmp_path, "empty", 0, []), tmp_path / "run.png")


def test_smoothing_by_hand() -> None:
    assert smoothed([1, 3, 5, 7], 2) == [1, 2, 4, 6]


def test_before_and_after_are_paired_by_problem(tmp_path: Path) -> None:
    first = {f"p{n}": [int(n < 10), 0.25] for n in range(50)} | {"only-before": [1, 1.0]}
    last = {f"p{n}": [int(n < 40), 0.75 if n % 2 else 0.5] for n in reversed(range(50))}
    reports = [
        report(0, OUT, 0.2, outcomes=first, similarity=0.5, similarity_sampled=0.4),
        report(10, OUT, 0.5, outcomes={"p0": [0, 0.0]}),
        report(20, OUT, 0.8, outcomes=last, similarity=0.9, similarity_sampled=0.8),
        report(20, "in-domain", 0.8, outcomes=last),
    ]
    found = before_after(write_run(tmp_path, "one", 0, reports))
    greedy, sampled = found.changes
    assert (greedy.split, greedy.kind, greedy.before, greedy.after) == (OUT, "greedy", 0.2, 0.8)
    assert (greedy.difference.mean, greedy.difference.count) == (pytest.approx(0.6), 50)
    assert 0.42 < greedy.difference.low < 0.6 < greedy.difference.high < 0.74
    assert (sampled.before, sampled.after) == (0.25, 0.625)
    assert (sampled.similarity_before, sampled.similarity_after) == (0.4, 0.8)
    lines = found.text().splitlines()
    assert lines[3].split()[:6] == [OUT, "greedy", "20.0", "%", "80.0", "%"]
    assert "+60.0" in lines[3]
    assert json.loads(json.dumps(found.to_json()))[0]["difference"]["count"] == 50


def test_one_evaluation_has_no_before(tmp_path: Path) -> None:
    found = before_after(write_run(tmp_path, "one", 0, [report(0, OUT, 0.2, outcomes={"p": [1]})]))
    assert found.changes == ()
    assert found.text()


def test_one_seed_has_the_bands_of_its_evaluations(
    runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bands of curves are the table's intervals; of several seeds they reach from the lowest to the highest."""
    from matplotlib.axes import Axes

    bands: list[Any] = []
    draw = Axes.fill_between

    def noted(self: Any, x: Any, low: Any, high: Any, **more: Any) -> Any:
        bands.append([tuple(map(float, values)) for values in (x, low, high)])
        return draw(self, x, low, high, **more)

    monkeypatch.setattr(Axes, "fill_between", noted)
    reports = [report(number, OUT, accuracy) for number, accuracy in ((0, 0.2), (10, 0.5))]
    one = write_run(tmp_path, "one", 0, reports, [step(10)])
    compare([one], tmp_path / "one-seed")
    assert bands == [[(0, 10), (pytest.approx(0.1), pytest.approx(0.4)), (pytest.approx(0.3), pytest.approx(0.6))]]
    svg = (tmp_path / "one-seed" / "learning-curves.svg").read_text()
    assert "95 %" in svg
    bands.clear()
    compare(runs[:3], tmp_path / "three-seeds")
    assert [(0, 10, 20), (0.0, 0.4, 0.8), (0.0, 0.5, 1.0)] in bands
    assert "95 %" not in (tmp_path / "three-seeds" / "learning-curves.svg").read_text()


def test_a_runs_picture_has_a_line_for_each_of_its_students_evaluations(tmp_path: Path) -> None:
    reports = [
        report(number, OUT, 0.5, 0.4) | {"plan": plan} for number in (0, 10) for plan in (OUT, f"{OUT}-2")
    ]  # fmt: skip
    reports.append(report(0, "scripts", 1.0, stage="1-evaluate") | {"agent": {"kind": "agent", "name": "scripted"}})
    run = write_run(tmp_path, "one", 0, [found | {"split": found.get("plan", "scripts")} for found in reports])
    text = plot_run(run, tmp_path / "run.svg").read_text()
    for name in (OUT, f"{OUT}-2"):
        for kind in ("greedy", "sampled"):
            assert f">{name}, {kind}<" in text
    assert "scripts" not in text
