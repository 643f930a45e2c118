"""Tables in as many columns as there are, and what a table of changes calls its evaluations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_helpers import report, step, write_run

from mentor_kit.report import before_after, compare, evaluated, paired
from mentor_kit.report.tables import Sheet, points
from mentor_kit.runs import Run


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.1234, "+12.3"), (-0.1, "-10.0"), (0.0, "+0.0"), (-0.0004, "-0.04"), (0.00049, "+0.05"), (-0.0006, "-0.1")],
)
def test_a_bound_near_0_is_not_shown_as_0(value: float, shown: str) -> None:
    assert points(value) == shown


words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=18)


@st.composite
def sheets(draw: st.DrawFn) -> Sheet:
    columns = draw(st.integers(3, 9))
    rows = draw(st.lists(st.tuples(*[words] * columns), min_size=1, max_size=5))
    return Sheet("A title", draw(st.tuples(*[words] * columns)), tuple(rows), left=draw(st.integers(1, 2)))


@given(sheets(), st.integers(20, 120))
def test_tables_hold_every_cell_in_the_columns_there_are(sheet: Sheet, width: int) -> None:
    text = sheet.text(width)
    for cell in (*sheet.heads, *(cell for row in sheet.rows for cell in row)):
        assert cell in text.split()
    # a head beside its value needs 18 + 2 + 18 columns: with those, nothing is ever wider
    if width >= 38:
        assert max(map(len, text.splitlines())) <= width
    if max(map(len, sheet.text().splitlines())) <= width:
        assert text == sheet.text()


def test_a_table_that_is_too_wide_is_turned_or_cut() -> None:
    sheet = Sheet("T", ("split", "arm", "greedy", "sampled"), (("in", "a", "1", "2"), ("in", "b", "3", "4")), left=2)
    assert sheet.text(26).splitlines() == [
        "T",
        "split    in  in",
        "-------  --  --",
        "arm       a   b",
        "greedy    1   3",
        "sampled   2   4",
    ]
    many = Sheet("T", ("split", "one", "two", "three"), tuple((f"split {n}", *3 * ("x" * 8,)) for n in range(4)))
    first, second = many.text(27).split("\n\n")
    assert first.splitlines()[1].split() == ["split", "one", "two"]
    assert second.splitlines()[0].split() == ["split", "three"]


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    outcomes: Any = {f"p{n}": [n % 2, 0.5] for n in range(100)}
    changed: Any = {f"p{n}": [1, 0.75] for n in range(100)}
    made = []
    for name in ("miniature-neutral-mentor", "miniature-neutral-rewards-permuted"):
        reports = [
            report(number, split, 0.5, 0.4, outcomes=found, similarity=0.7, reward=1.0, calls_per_problem=2.0,
                   similarity_low=0.5, similarity_high=0.9, turns=3.25, ended_rate=1.0, malformed_rate=0.01)
            for number, found in ((0, outcomes), (20, changed))
            for split in ("in-domain", "out-of-domain", "out-of-domain-2")
        ]  # fmt: skip
        made.append(write_run(tmp_path, name, 0, reports, [step(number) for number in range(1, 21)]))
    return made


@pytest.mark.parametrize("width", [60, 80, 100])
def test_every_table_fits_common_terminals(runs: list[Run], width: int) -> None:
    texts = [
        before_after(runs[0]).text(width),
        compare(runs).text(width),
        evaluated(runs[0]).text(width),
        paired(runs).text(width=width),
    ]
    for text in texts:
        lines = [line for line in text.splitlines() if "/" not in line]  # paths are as long as they are
        assert max(map(len, lines)) <= width
        assert "out-of-domain-2" in text


def test_the_quickstarts_table_is_one_at_80_columns(tmp_path: Path) -> None:
    reports = [
        report(number, split, 0.5, 0.5, outcomes={f"p{n}": [int(n < 100 * share), share] for n in range(150)},
               similarity=share, similarity_sampled=share)
        for number, share in ((0, 0.12), (20, 0.82))
        for split in ("in-domain", "out-of-domain")
    ]  # fmt: skip
    lines = before_after(write_run(tmp_path, "quickstart", 0, reports, [step(20)])).text(80).splitlines()
    assert len(lines) == 3 + 4
    assert lines[1].split()[:5] == ["split", "decoding", "before", "after", "change"]


@pytest.mark.parametrize(
    ("steps", "heads"),
    [
        ([0, 6], ["before", "after"]),
        ([3, 6], ["step 3", "after"]),
        ([0, 4], ["before", "step 4"]),
        ([2, 3, 4], ["step 2", "step 4"]),
    ],
)
def test_before_is_before_any_training(tmp_path: Path, steps: list[int], heads: list[str]) -> None:
    reports = [report(number, "in-domain", 0.5, outcomes={"p": [number > 3]}) for number in steps]
    found = before_after(write_run(tmp_path, "one", 0, reports, [step(number) for number in range(1, 7)]))
    lines = found.text().splitlines()
    assert re.split(r" {2,}", lines[1])[2:4] == heads
    # the title names what the columns do
    assert all(head in lines[0] for head in heads)
    assert (found.changes[0].before_step, found.changes[0].after_step) == (steps[0], steps[-1])


def test_steps_of_earlier_stages_are_training(tmp_path: Path) -> None:
    """Demonstrations, then SFT without an evaluation, then GRPO, whose step 0 comes after four steps."""
    reports = [report(number, "in-domain", 0.5, stage="2-grpo", outcomes={"p": [1]}) for number in (0, 2)]
    steps = [*(step(number, "1-sft") for number in range(1, 5)), *(step(number, "2-grpo") for number in (1, 2))]
    (change,) = before_after(write_run(tmp_path, "one", 0, reports, steps)).changes
    assert (change.before_step, change.after_step) == (4, 6)


def test_evaluations_that_began_at_different_steps_say_so_in_their_rows(tmp_path: Path) -> None:
    reports = [report(number, "in-domain", 0.5, outcomes={"p": [0]}) for number in (0, 6)]
    reports += [report(number, "other", 0.5, stage="0-grpo", outcomes={"p": [0]}) for number in (2, 6)]
    found = before_after(write_run(tmp_path, "one", 0, reports, [step(number) for number in range(1, 7)]))
    lines = found.text().splitlines()
    assert "before" not in lines[0]
    assert [change.before_step for change in found.changes] == [0, 2]
    assert [line.split().count(step) for line, step in ((lines[3], "0"), (lines[4], "2"))] == [1, 1]


def test_somebody_elses_evaluation_is_no_after(tmp_path: Path) -> None:
    reports = [report(number, "in-domain", 0.5, outcomes={"p": [0]}) for number in (0, 3)]
    played = report(0, "in-domain", 1.0, stage="1-evaluate", outcomes={"p": [1]}) | {
        "agent": {"kind": "agent", "name": "scripted"}
    }
    found = before_after(write_run(tmp_path, "one", 0, [*reports, played], [step(3)]))
    assert [(change.before, change.after) for change in found.changes] == [(0.0, 0.0)]
