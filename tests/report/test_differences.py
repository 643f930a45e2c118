"""Differences between arms: who is paired with whom, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_helpers import report, write_run

from mentor_kit.core.errors import UsageError
from mentor_kit.report import compare
from mentor_kit.runs import Run

OUT = "out-of-domain"


def evaluated(right: str, sampled: str) -> dict[str, object]:
    """An evaluation of as many problems as there are signs: 1 for right, 0 for wrong, blank for none."""
    pairs = zip(right, sampled, strict=True)
    outcomes = {f"p{n}": [float(one), float(two)] for n, (one, two) in enumerate(pairs) if one != " "}
    return report(20, OUT, 0.5, 0.5, outcomes=outcomes)


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    made = [write_run(tmp_path, "small-sparse", seed, [evaluated("0000000001", "0101010101")]) for seed in (0, 1, 2)]
    made += [write_run(tmp_path, "small-mentor", seed, [evaluated("111111111 ", "010101010 ")]) for seed in (1, 2, 3)]
    return made


def test_arms_are_paired_by_seed_and_problem(runs: list[Run]) -> None:
    greedy, sampled = compare(runs).differences
    assert (greedy.label, greedy.against, greedy.split) == ("mentor", "sparse", OUT)
    assert (greedy.kind, sampled.kind) == ("greedy", "sampled")
    assert (greedy.seeds, greedy.problems, greedy.difference.count) == ((1, 2), 9, 18)
    assert greedy.difference.mean == 1.0
    assert greedy.excludes_zero
    assert sampled.difference.mean == 0.0
    assert not sampled.excludes_zero


def test_another_arm_is_the_base(runs: list[Run]) -> None:
    for name in ("mentor", "small-mentor"):
        (greedy, _) = compare(runs, against=name).differences
        assert (greedy.label, greedy.difference.mean) == ("sparse", -1.0)
    with pytest.raises(UsageError, match=r"'mentr'.*mentor"):
        compare(runs, against="mentr")


def test_tables_say_whether_the_data_decide(runs: list[Run], tmp_path: Path) -> None:
    found = compare(runs)
    assert "excludes 0" in found.text()
    greedy, sampled = found.to_json()["differences"]
    assert (greedy["excludes_zero"], sampled["excludes_zero"]) == (True, False)
    rows = [line.split("|") for line in found.markdown().splitlines() if "| sparse |" in line and "mentor" in line]
    assert [row[-2].strip() for row in rows] == ["yes", "no"]


def test_arms_without_a_problem_or_a_seed_in_common_have_no_difference(tmp_path: Path) -> None:
    one = write_run(tmp_path, "a-b", 0, [evaluated("11  ", "11  ")])
    assert compare([one, write_run(tmp_path, "a-c", 0, [evaluated("  11", "  11")])]).differences == ()
    assert compare([one, write_run(tmp_path, "a-d", 1, [evaluated("11  ", "11  ")])]).differences == ()
    assert compare([one]).differences == ()
    assert "paired" not in compare([one]).text()
