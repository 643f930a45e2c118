"""A file's format is found out from its rows, or the error says what is unknown, mixed or ambiguous."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mentor_kit.core.conversation import user
from mentor_kit.core.data_format import DataFormat, DataFormatError, Dialogue, format_of


class Keyed(DataFormat):
    """Rows that have a column of some name, whose words are the user's."""

    def __init__(self, column: str, words: str = "") -> None:
        self.column = column
        self.words = words

    def recognizes(self, row: Mapping[str, Any]) -> bool:
        return self.column in row

    def read(self, row: Mapping[str, Any]) -> Dialogue:
        return Dialogue(messages=(user(self.words or row[self.column]),))


class OnlyWritten(DataFormat):
    def recognizes(self, row: Mapping[str, Any]) -> bool:
        return True

    def write(self, dialogue: Dialogue) -> dict[str, Any]:
        return {}


def test_the_format_that_recognises_every_row_is_found():
    rows = [{"a": "1", "b": "2"}, {"a": "3"}]
    assert format_of(rows, {"bees": Keyed("b"), "ays": Keyed("a")}) == "ays"


def test_formats_that_read_the_same_are_no_ambiguity():
    assert format_of([{"a": "1"}], {"one": Keyed("a"), "two": Keyed("a")}) == "one"


def test_formats_that_read_differently_are_named_with_the_row():
    with pytest.raises(DataFormatError) as caught:
        format_of([{"a": "x"}, {"a": "y"}], {"one": Keyed("a"), "two": Keyed("a", words="x")})
    assert "'one' or 'two'" in caught.value.reason
    assert "row 2" in caught.value.reason
    assert "format: one" in str(caught.value.hint)


def test_mixed_rows_are_named_with_their_formats():
    with pytest.raises(DataFormatError) as caught:
        format_of([{"a": "1"}, {"a": "1"}, {"b": "1"}], {"ays": Keyed("a"), "bees": Keyed("b")})
    assert "row 1 is ays, row 3 bees" in caught.value.reason


def test_a_row_of_no_format_is_passed_over_where_others_have_one():
    assert format_of([{"c": 1}, {"a": "1"}], {"bees": Keyed("b"), "ays": Keyed("a")}) == "ays"


def test_rows_are_called_by_their_places():
    with pytest.raises(DataFormatError) as caught:
        format_of([{"a": "1"}, {"b": "1"}], {"ays": Keyed("a"), "bees": Keyed("b")}, ["row 3", "row 7"])
    assert "row 3 is ays, row 7 bees" in caught.value.reason


@pytest.mark.parametrize("field", ["id", "group", "key"])
def test_a_dialogue_has_no_half_of_a_surrogate_pair(field: str):
    assert Dialogue(messages=(user("\U0001f600"),)).messages[0].content == "😀"
    with pytest.raises(DataFormatError):
        Dialogue(messages=(user("?"),), **{field: "\ud83d"})


def test_an_unknown_row_is_named_with_its_columns():
    with pytest.raises(DataFormatError) as caught:
        format_of([{"c": 1, "d": 2}, {"e": 1}], {"ays": Keyed("a")})
    assert "row 1" in caught.value.reason
    assert "c, d" in caught.value.reason
    assert "ays" in str(caught.value.hint)


def test_formats_that_only_write_are_not_considered():
    assert not OnlyWritten().can_read
    assert OnlyWritten().can_write
    assert format_of([{"a": "1"}], {"written": OnlyWritten(), "ays": Keyed("a")}) == "ays"


def test_no_rows_have_no_format():
    with pytest.raises(DataFormatError):
        format_of([], {"ays": Keyed("a")})
