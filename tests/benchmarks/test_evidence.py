"""The tables of docs/evidence.md: the page has what the outcomes give, and the numbers are those of others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mentor_kit.report import compare
from mentor_kit.report.figure import new_figure
from mentor_kit.utils.crossed import crossed_difference

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
evidence = pytest.importorskip("evidence", reason="the benchmarks are not there")
tables = pytest.importorskip("evidence_tables")
outcomes = pytest.importorskip("outcomes")
evaluated_run = pytest.importorskip("evaluated_runs").evaluated_run

MARKS = {
    ("small-sparse", 0): "1100100000", ("small-sparse", 1): "1010100010", ("small-sparse", 2): "1000100000",
    ("small-mentor", 0): "1111101011", ("small-mentor", 1): "1110111010", ("small-mentor", 2): "1111110011",
}  # fmt: skip


@pytest.mark.parametrize(
    "study",
    [
        "summary",
        "smollm2",
        "quickstart",
        *(pytest.param(world, marks=pytest.mark.slow) for world in ("neutral", "causes", "records")),
    ],
)
def test_the_pages_have_the_tables_of_the_outcomes(study: str) -> None:
    found = [marked for page in evidence.PAGES for marked in evidence.MARKED.finditer(page.read_text(encoding="utf-8"))]
    shown = {marked[2]: marked for marked in found if marked[2].startswith(f"{study}/")}
    made = dict(evidence.tables(studies=(study,)))
    assert sorted(shown) == sorted(made)
    for name, found in shown.items():
        assert evidence.filled(found[0], made) == found[0], f"{name}: python benchmarks/evidence.py --write"


def test_the_page_has_all_studies_and_no_other() -> None:
    marked = evidence.MARKED.findall(evidence.PAGE.read_text(encoding="utf-8"))
    assert {name.partition("/")[0] for _, name, _ in marked} == set(evidence.NAMES)


@pytest.fixture
def study(tmp_path: Path) -> Any:
    found = outcomes.Study("small", tmp_path)
    runs = [(evaluated_run(tmp_path, arm, seed, [right]), arm[6:], seed) for (arm, seed), right in MARKS.items()]
    found.add(runs)
    return found, [run for run, _, _ in runs]


def test_accuracies_and_differences_are_those_of_compare(study: Any) -> None:
    kept, runs = study
    found = tables.Outcomes(kept.episodes)
    compared = compare(runs)
    for result in compared.results:
        value, interval = tables.accuracy(found.by_seed(result.label, result.split, "greedy"))
        assert (value, *interval) == pytest.approx((result.greedy.value, result.greedy.low, result.greedy.high))
    (greedy, _) = compared.differences
    own, base = (found.by_seed(arm, greedy.split, "greedy") for arm in (greedy.label, greedy.against))
    assert tables.difference(own, base) == greedy.difference
    (row, *_) = tables.numbers(tables.difference_sheet(found, [("mentor", "sparse")]))
    assert row["excludes 0"] == ("yes" if greedy.excludes_zero else "no")


def test_accuracies_and_differences_are_those_of_numpy(study: Any) -> None:
    kept, _ = study
    found = tables.Outcomes(kept.episodes)
    right = {arm: np.array([[int(s) for s in MARKS[arm, seed]] for seed in range(3)]) for arm, _ in MARKS}
    sparse, mentor = right["small-sparse"], right["small-mentor"]
    value, (low, high) = tables.accuracy(found.by_seed("mentor", "out-of-domain", "greedy"))
    means = mentor.mean(axis=1)
    half = 4.302653 * means.std(ddof=1) / np.sqrt(3)  # Student's, with two degrees of freedom
    assert (value, low, high) == pytest.approx(
        (means.mean(), means.mean() - half, min(1, means.mean() + half)), abs=1e-6
    )
    table = mentor - sparse
    rows = list(tables.numbers(tables.difference_sheet(found, [("mentor", "sparse")])))
    assert rows[0]["difference"] == f"{100 * table.mean():+.1f}"
    by_seed = list(tables.numbers(tables.rise_sheet(found, [("mentor", "sparse")])))
    greedy = [row for row in by_seed if row["decoding"] == "greedy"]
    assert [row["difference"] for row in greedy] == [f"{100 * each:+.1f}" for each in table.mean(axis=1)]
    assert [row["seed"] for row in greedy] == ["0", "1", "2"]


def test_a_seed_rises_over_what_it_began_with() -> None:
    def rows(arm: str, seed: int, right: str, start: str | None = None) -> list[dict[str, Any]]:
        where = {"arm": arm, "seed": seed, "split": "out-of-domain", "decoding": "greedy", "start": start}
        return [{**where, "problem": f"p{n}", "correct": mark == "1"} for n, mark in enumerate(right)]

    found = tables.Outcomes(
        [*rows("start", 0, "1000"), *rows("other", 0, "1100"), *rows("a", 0, "1111"), *rows("a", 1, "1110", "other")]
    )
    sheet = list(tables.numbers(tables.rise_sheet(found, [("a", "start")])))
    assert [(row["arms"], row["seed"], row["difference"]) for row in sheet] == [
        ("a - start", "0", "+75.0"),
        ("a - other", "1", "+25.0"),
    ]


def test_differences_in_calls_by_hand() -> None:
    def rows(arm: str, seed: int, tools: list[str]) -> list[dict[str, Any]]:
        where = {"arm": arm, "seed": seed, "split": "out-of-domain", "decoding": "greedy", "teacher_tools": "add sqrt"}
        return [{**where, "problem": f"p{n}", "tools": own} for n, own in enumerate(tools)]

    # needless 0, 2, 1 and 0, 1, 1; missing 0, 1, 0 and 1, 0, 2
    one = [*rows("a", 0, ["add sqrt", "add floor floor", "add add sqrt"])]
    two = [*rows("a", 1, ["sqrt", "add sqrt sqrt", "floor"])]
    base = [row for seed in (0, 1) for row in rows("b", seed, ["add sqrt"] * 3)]
    found = tables.Outcomes([*one, *two, *base])
    sheet = tables.call_sheet({"tiny": (found, [("a", "b"), ("a", "none")])}, "out-of-domain")
    ((name, arms, seeds, needless, _, missing, _),) = sheet.rows
    assert (name, arms, seeds) == ("tiny", "a - b", "2")
    # the interval of counts up to 2 is twice that of their halves
    for cell, values in ((needless, [[0, 2, 1], [0, 1, 1]]), (missing, [[0, 1, 0], [1, 0, 2]])):
        half = crossed_difference([[value / 2 for value in row] for row in values])
        assert cell == f"{np.mean(values):+.2f} ({2 * half.low:+.2f} to {2 * half.high:+.2f})"


def test_recoveries_stand_with_the_number_of_failed_calls() -> None:
    def row(seed: int, wrong: int, recovered: int) -> dict[str, Any]:
        where = {"arm": "a", "seed": seed, "split": "out-of-domain", "decoding": "greedy", "problem": "p"}
        calls = {"calls": 3, "wrong": wrong, "recovered": recovered, "correct": True}
        return {**where, **calls, "tools": "add", "teacher_tools": "add"}

    found = tables.Outcomes([row(0, 2, 1), row(1, 0, 0), row(2, 3, 0)])
    (line,) = tables.numbers(tables.strategy_sheet(found, ["a"]))
    assert (line["recovered"], line["needless"], line["calls a right answer"]) == ("1 of 5", "0.00", "3.00")
    (line,) = tables.numbers(tables.strategy_sheet(tables.Outcomes([row(1, 0, 0)]), ["a"]))
    assert line["recovered"] == "–"


def test_each_seed_is_that_of_numpy(study: Any) -> None:
    kept, _ = study
    sheet = tables.seed_sheet(tables.Outcomes(kept.episodes), ["mentor", "none", "sparse"], "out-of-domain")
    assert sheet.heads == ("arm", "seed 0", "seed 1", "seed 2")
    for arm, *cells in sheet.rows:
        greedy = [100 * np.mean([int(sign) for sign in MARKS[f"small-{arm}", seed]]) for seed in range(3)]
        assert cells == [f"{each:.1f} / 0.0" for each in greedy]  # never right sampled, as the runs are written
    assert [arm for arm, *_ in sheet.rows] == ["mentor", "sparse"]


def test_students_side_by_side(study: Any, tmp_path: Path) -> None:
    kept, _ = study
    nothing = tables.Outcomes(outcomes.Study("none", tmp_path).episodes)
    found = tables.Outcomes(kept.episodes)
    sheet = tables.summary_sheet(
        {"all": (found, "sparse"), "not run": (nothing, "sparse")}, ["mentor"], "out-of-domain"
    )
    mean = {
        arm: np.mean([[int(sign) for sign in MARKS[f"small-{arm}", seed]] for seed in range(3)])
        for arm in ("sparse", "mentor")
    }
    assert sheet.heads == ("student", "seeds", "before", "mentor")
    assert sheet.rows == (
        ("all", "3", f"{100 * mean['sparse']:.1f}", f"{100 * mean['mentor']:.1f}"),
        ("not run", "–", "–", "–"),
    )
    splits = ("out-of-domain",)
    sheet = tables.verdict_sheet(
        {"all": (found, [("mentor", "sparse"), ("mentor", "sft")]), "none": (nothing, [])}, splits
    )
    own, other = (found.by_seed(arm, "out-of-domain", "greedy") for arm in ("mentor", "sparse"))
    made = tables.difference(own, other)
    interval = f"{100 * made.mean:+.1f} ({100 * made.low:+.1f} to {100 * made.high:+.1f})"
    assert sheet.heads == ("student", "arms", "seeds", "out-of-domain", "excludes 0")
    assert sheet.rows == (("all", "mentor - sparse", "3", interval, "yes"),)


def test_a_start_of_one_run_is_that_of_all_seeds_and_another_arm_is_not() -> None:
    base = {0: {"a": 0.0, "b": 0.0}}
    arm = {seed: {"a": 1.0, "b": float(seed == 2)} for seed in range(3)}
    found = tables.difference(arm, base, start=True)
    assert found.mean == pytest.approx(4 / 6)
    assert found.count == 6
    alone = tables.difference(arm, base)
    assert (alone.mean, alone.count) == (0.5, 2)  # of seed 0, which both have
    assert tables.difference(arm, {5: base[0], 6: base[0]}, start=True) is None
    assert tables.difference({}, base) is tables.accuracy({}) is None


def test_the_choice_of_calls_by_hand() -> None:
    def episode(tools: str, shown: str | None, **more: Any) -> dict[str, Any]:
        return {"tools": tools, "teacher_tools": shown, "correct": True, "calls": 2, "wrong": 0, "recovered": 0, **more}

    found = tables.strategy(
        [
            episode("add add sqrt", "add sqrt"),  # one add too many, all in order
            episode(
                "sqrt add", "add sqrt power", correct=False, wrong=2, recovered=1
            ),  # power is missing, one in order
            episode("floor", None, calls=5),  # no right solution of the teacher: calls alone count
        ]
    )
    # used: add 3, sqrt 2; shown: add 2, sqrt 2, power 1
    p, q = np.array([3, 2, 0]) / 5, np.array([2, 2, 1]) / 5
    middle = (p + q) / 2
    divergence = sum((side[side > 0] * np.log2(side[side > 0] / middle[side > 0])).sum() / 2 for side in (p, q))
    assert found == pytest.approx(
        {"similarity": 1 - divergence, "needless": 0.5, "missing": 0.5, "order": (1 + 1 / 3) / 2, "recovered": 0.5,
         "calls_per_right": 9 / 2}
    )  # fmt: skip
    assert tables.strategy([episode("", None, correct=False, calls=0)]) == {}


def test_curves_are_means_over_seeds(tmp_path: Path) -> None:
    study = outcomes.Study("small", tmp_path)
    runs = [
        (evaluated_run(tmp_path, "a-long", seed, marks), "long", seed)
        for seed, marks in enumerate((["00", "01"], ["10", "11"]))
    ]
    study.add(runs)
    sheet = tables.curve_sheet(study.curves, ["long", "other"], "out-of-domain")
    assert (sheet.heads, sheet.rows) == (("steps", "long"), (("0", "25.0"), ("10", "75.0")))


def test_rollouts_of_training_are_means_over_blocks_of_steps(tmp_path: Path) -> None:
    study = outcomes.Study("small", tmp_path)
    study.add([(evaluated_run(tmp_path, "a-mentor", seed, ["0", "0", "0"]), "mentor", seed) for seed in (0, 1)])
    assert len(study.training) == 2 * 20
    sheet = tables.training_sheet(study.training, ["other", "mentor"])
    # the share of right rollouts is step / 20: on average 5.5 / 20 and 15.5 / 20
    assert (sheet.heads, sheet.rows) == (("steps", "mentor"), (("1 to 10", "27.5"), ("11 to 20", "77.5")))


def test_a_figure_draws_the_means_of_the_seeds(tmp_path: Path) -> None:
    study = outcomes.Study("small", tmp_path)
    rights = {("a-mentor", 0): ["00", "01"], ("a-mentor", 1): ["01", "11"], ("a-sft", 0): ["00", "10"]}
    study.add([(evaluated_run(tmp_path, arm, seed, marks), arm[2:], seed) for (arm, seed), marks in rights.items()])
    layout = evidence.Layout("", ("sft", "mentor"), "sft", drawn=("learning", "training", "seeds", "similarity"))
    panels = evidence.panels(layout, study)
    with new_figure(len(panels), width=9, height=3) as (_, axes):
        for panel, place in zip(panels, axes, strict=True):
            panel(place)
    learning, training, seeds, similarity = axes
    assert {line.get_label(): line.get_xydata().tolist() for line in learning.lines} == {
        "sft": [[0, 0], [10, 0.5]],
        "mentor": [[0, 0.25], [10, 0.75]],
    }
    # the share of right rollouts is step / 20; blocks have five steps, of which the third is the middle
    assert {line.get_label(): line.get_xydata().tolist() for line in training.lines} == {
        arm: [[3, pytest.approx(3 / 20)], [8, pytest.approx(8 / 20)]] for arm in ("sft", "mentor")
    }
    assert [line.get_ydata().tolist() for line in seeds.lines] == [[0.5], [0.75]]
    assert [line.get_ydata().tolist() for line in similarity.lines] == [[0.5], [0.75]]


def test_figures_are_drawn_of_what_was_run_and_are_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes.Study("small", tmp_path).add([(evaluated_run(tmp_path, "a-sft", 0, ["00", "10"]), "sft", 0)])
    layout = evidence.Layout("", ("sft", "mentor"), "sft", drawn=("learning", "seeds"))
    monkeypatch.setattr(evidence, "LAYOUTS", {"small": layout, "other": layout, "undrawn": evidence.Layout("", (), "")})
    (one,) = evidence.draw_figures(tmp_path / "one", tmp_path)
    (two,) = evidence.draw_figures(tmp_path / "two", tmp_path)
    assert one.name == "evidence-small.svg"
    assert one.read_bytes() == two.read_bytes()
    text = one.read_text(encoding="utf-8")
    assert ">sft<" in text
    assert ">mentor<" not in text  # it was not run


def test_a_study_has_what_was_added_to_it(tmp_path: Path) -> None:
    run = evaluated_run(tmp_path, "a-sft", 0, ["00", "10"])
    study = outcomes.Study("small", tmp_path)
    assert not study.has(run, "sft", 0)
    study.add([(run, "sft", 0)])
    assert study.has(run, "sft", 0)
    assert not study.has(run, "sft", 1)
    assert not study.has(run, "mentor", 0)
