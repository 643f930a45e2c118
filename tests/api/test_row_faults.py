"""Faults of rows by column and reason, and their places."""

from __future__ import annotations

import pytest

from mentor_kit.api.row_faults import NAMED, SHOWN, FaultGroups, group_lines, left_out_lines, total
from mentor_kit.runs.dialogue_rows import RowFault


def groups_of(*faults: RowFault) -> FaultGroups:
    groups = FaultGroups()
    for fault in faults:
        groups.add(fault)
    return groups


def fault(number: int, column: str, reason: str) -> RowFault:
    return RowFault(f"a.jsonl, row {number}", column, reason)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (("messages.0.role", "expected user, found 7"), ("messages.12.role", "expected user, found 'x'"), True),
        (("messages.0.role", "expected user, found 7"), ("messages.0.content", "expected user, found 7"), False),
        (("", "a call: no JSON: '{'"), ("", "a call: no JSON: '['"), True),
        (("", "no tool is called 'a'"), ("", "no tool is called 'b'"), True),
        (("", "2 calls have 1 results"), ("", "3 calls have 2 results"), True),
        (("", "no user's turn"), ("", "no calls"), False),
        (("answers.5x", "no"), ("answers.6x", "no"), False),
    ],
)
def test_which_faults_are_the_same(first: tuple[str, str], second: tuple[str, str], same: bool) -> None:
    found = groups_of(fault(1, *first), fault(2, *second)).groups()
    assert [group.rows for group in found] == ([2] if same else [1, 1])
    assert found[0].reason == first[1]


def test_largest_groups_come_first_with_their_first_rows() -> None:
    groups = groups_of(fault(1, "x", "rare"), *(fault(number, "y", "usual") for number in range(2, 9))).groups()
    assert [(group.column, group.rows, group.places[0]) for group in groups] == [
        ("y", 7, "a.jsonl, row 2"),
        ("x", 1, "a.jsonl, row 1"),
    ]
    assert len(groups[0].places) == NAMED
    assert total(groups) == 8
    assert groups[0].text() == "column y: usual (a.jsonl, rows 2, 3, 4 and 4 more)"
    assert groups[1].text() == "column x: rare (a.jsonl, row 1)"


def test_places_of_several_files_stand_as_they_are() -> None:
    found = groups_of(RowFault("a.jsonl, row 1", "", "x"), RowFault("b.jsonl, row 1", "", "x")).groups()
    assert found[0].text() == "x (a.jsonl, row 1; b.jsonl, row 1)"


def test_so_many_groups_are_shown() -> None:
    groups = groups_of(*(fault(number, f"column{'x' * number}", "no") for number in range(SHOWN + 3))).groups()
    assert len(group_lines(groups)) == SHOWN + 1
    assert "3 more reasons, of 3 rows" in group_lines(groups)[-1]
    assert left_out_lines(()) == []
    assert left_out_lines(groups[:1])[0] == "left out: 1 row"


def test_a_row_alone_has_the_whole_column() -> None:
    one, two = fault(1, "messages.3.role", "no role"), fault(2, "messages.5.role", "no role")
    assert groups_of(one).groups()[0].text().startswith("column messages.3.role: ")
    assert groups_of(one, two).groups()[0].text().startswith("column messages.*.role: ")
