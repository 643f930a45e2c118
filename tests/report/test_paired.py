"""Paired comparisons of run folders written by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from report_helpers import report, write_run

from mentor_kit.core.errors import UsageError
from mentor_kit.report import paired
from mentor_kit.runs import Run

OUT = "out-of-domain"


def a_run(root: Path, name: str, greedy: list[int], sampled: list[float] | None = None, step: int = 0) -> Run:
    outcomes = {f"p{n}": [right, *([sampled[n]] if sampled else [])] for n, right in enumerate(greedy)}
    return write_run(root, name, 0, [report(step, OUT, sum(greedy) / len(greedy), outcomes=outcomes)])


def test_counts_by_hand(tmp_path: Path) -> None:
    # both 1, only A 1, only B 6, neither 2: p = 2 (C(7,0) + C(7,1)) / 2^7 = 16/128
    a = a_run(tmp_path, "a", [1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    b = a_run(tmp_path, "b", [1, 0, 1, 1, 1, 1, 1, 1, 0, 0])
    (pair,) = paired([a, b]).pairs
    assert pair.counts is not None
    assert (pair.counts.both, pair.counts.only_a, pair.counts.only_b, pair.counts.neither) == (1, 1, 6, 2)
    assert pair.counts.p == 16 / 128
    assert (pair.a, pair.b) == (0.2, 0.7)
    assert pair.difference.mean == pytest.approx(0.5)
    assert pair.gained == ("p2", "p3", "p4", "p5", "p6", "p7")
    assert pair.lost == ("p1",)
    (back,) = paired([b, a]).pairs
    assert back.counts is not None
    assert back.counts.p == pair.counts.p
    assert back.gained == ("p1",)


def test_what_is_shown(tmp_path: Path) -> None:
    a = a_run(tmp_path, "a", [1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    b = a_run(tmp_path, "b", [1, 0, 1, 1, 1, 1, 1, 1, 0, 0])
    text = paired([a, b]).text(show=2)
    assert text.splitlines()[:2] == [f"A: {a.path}", f"B: {b.path}"]
    row = next(line.split() for line in text.splitlines() if line.startswith(OUT))
    assert row[:5] == [OUT, "greedy", "20.0", "70.0", "+50.0"]
    assert row[-5:] == ["1", "1", "6", "2", "0.125"]
    # six are better with B, of which two were asked for, and one with A
    (gained,), (lost,) = ([line for line in text.splitlines() if f"with {side}:" in line] for side in "BA")
    assert re.findall(r"p?\d+", gained) == ["p2", "p3", "4"]
    assert re.findall(r"p?\d+", lost) == ["p1"]


def test_means_of_samples_have_no_p(tmp_path: Path) -> None:
    a = a_run(tmp_path, "a", [1, 0, 1], [0.25, 0.5, 0.5])
    b = a_run(tmp_path, "b", [1, 0, 1], [0.5, 1.0, 1.25 - 0.25])
    greedy, sampled = paired([a, b]).pairs
    assert greedy.counts is not None
    assert greedy.counts.p == 1.0
    assert sampled.counts is None
    # differences 0.25, 0.5, 0.5
    assert sampled.difference.mean == pytest.approx(1.25 / 3)
    assert "–" in paired([a, b]).text()


def test_only_common_problems_count(tmp_path: Path) -> None:
    found = paired([a_run(tmp_path, "a", [1, 0, 1]), a_run(tmp_path, "b", [0, 0])])
    (pair,) = found.pairs
    assert pair.difference.count == 2
    (note,) = found.notes
    assert note.startswith("out-of-domain: 1 problems")


def test_an_agent_that_was_only_sampled(tmp_path: Path) -> None:
    a = write_run(tmp_path, "a", 0, [report(0, OUT, 0.5, outcomes={"p0": [None, 1.0], "p1": [None, 0.0]})])
    b = a_run(tmp_path, "b", [1, 1], [1.0, 1.0])
    (pair,) = paired([a, b]).pairs
    assert pair.kind == "sampled"
    assert pair.counts is not None
    assert (pair.counts.only_b, pair.counts.p) == (1, 1.0)


def test_one_run_is_compared_with_its_beginning(tmp_path: Path) -> None:
    reports = [report(n, OUT, 0.5, outcomes={"p0": [n > 5], "p1": [1]}) for n in (0, 3, 6)]
    run = write_run(tmp_path, "a", 0, reports)
    found = paired([run])
    assert (found.a, found.b) == (f"{run.path}, first evaluation", f"{run.path}, last evaluation")
    assert found.pairs[0].gained == ("p0",)


def test_written(tmp_path: Path) -> None:
    runs = [a_run(tmp_path, "a", [1, 0]), a_run(tmp_path, "b", [0, 1])]
    paired(runs, tmp_path / "out")
    (row,) = [line for line in (tmp_path / "out" / "paired.md").read_text().splitlines() if "greedy" in line]
    assert [cell.strip() for cell in row.split("|")][1:6] == [OUT, "greedy", "50.0", "50.0", "+0.0"]
    assert json.loads((tmp_path / "out" / "paired.json").read_text())["pairs"][0]["counts"]["only_a"] == 1


def test_mistakes(tmp_path: Path) -> None:
    a, b = a_run(tmp_path, "a", [1]), write_run(tmp_path, "b", 0, [report(0, "other", 1.0, outcomes={"q": [1]})])
    with pytest.raises(UsageError, match="no problem") as caught:
        paired([a, b])
    assert caught.value.hint is not None
    assert re.findall(OUT + "|other", caught.value.hint) == [OUT, "other"]
    with pytest.raises(UsageError, match=r"\b3\b"):
        paired([a, b, a])
