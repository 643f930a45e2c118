"""Contract suite for data formats; subclass it in the tests of a package that has one.

class TestMyFormat(DataFormatContract):
    @pytest.fixture
    def data_format(self) -> DataFormat:
        return MyFormat()

    def rows(self) -> Sequence[Mapping[str, Any]]:
        return [{"chat": […], "functions": […]}]     # published rows, which the format reads

Dialogues that the format writes must be read again with the same messages and tools; those that it cannot express must
be refused. Damaged rows must be read, or refused with a `DataFormatError`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest

from mentor_kit.core.conversation import ToolCall, ToolResult, assistant, system, tool_result, user
from mentor_kit.core.data_format import DataFormat, DataFormatError, Dialogue
from mentor_kit.core.task import DeclaredTool

_ADD = DeclaredTool(
    name="add",
    description="Add two numbers.",
    parameters={
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
        "required": ["a", "b"],
    },
)
_CALL = ToolCall(name="add", arguments={"a": 2, "b": 3.5})
_OTHER = ToolCall(name="add", arguments={"b": -1, "a": 0})


def _result(content: str) -> Any:
    return tool_result(ToolResult(name="add", content=content))


#: Dialogues by what is special about them; every format can express the first one.
DIALOGUES: Mapping[str, Dialogue] = {
    "one call": Dialogue(
        messages=(user("2 + 3.5?"), assistant(calls=[_CALL]), _result("5.5"), assistant("It is 5.5.")), tools=(_ADD,)
    ),
    "no tools": Dialogue(messages=(user("Grüße\n\tan 東京"), assistant('"Yes" & {no} \\n'))),
    "no call": Dialogue(messages=(user("Hello"), assistant("Hi")), tools=(_ADD,)),
    "a system message": Dialogue(messages=(system("Be brief."), user("?"), assistant("!")), tools=(_ADD,)),
    "two calls one after another": Dialogue(
        messages=(
            *(user("?"), assistant(calls=[_CALL]), _result("5.5"), assistant(calls=[_OTHER]), _result("-1")),
            assistant("-1"),
        ),
        tools=(_ADD,),
    ),
    "two calls at once": Dialogue(
        messages=(user("?"), assistant(calls=[_CALL, _OTHER]), _result("5.5"), _result("[1, 2]"), assistant("Both.")),
        tools=(_ADD,),
    ),
    "words beside a call": Dialogue(
        messages=(user("?"), assistant("I add.", calls=[_CALL]), _result(""), assistant("5.5")), tools=(_ADD,)
    ),
    "reasoning": Dialogue(messages=(user("?"), assistant("5.5", reasoning="First add.")), tools=(_ADD,)),
    "two questions": Dialogue(
        messages=(user("One?"), assistant("1"), user("Two?"), assistant("2")), tools=(_ADD,), id="row/1"
    ),
    "a call at the end": Dialogue(messages=(user("?"), assistant(calls=[_CALL])), tools=(_ADD,)),
}
#: What stands in a damaged row in place of a column's value.
_DAMAGE: Sequence[Any] = (None, 7, "text", [], {}, [7], [None], [{}], {"a": {}}, "[")


class DataFormatContract:
    """What every data format keeps to."""

    @pytest.fixture
    def data_format(self) -> DataFormat:
        """The format under test."""
        raise NotImplementedError

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Rows of the format's published form, written by hand; none for a format that is only written."""
        raise NotImplementedError

    def test_it_reads_or_writes(self, data_format: DataFormat) -> None:
        assert data_format.can_read or data_format.can_write

    def test_published_rows_are_recognised_and_read(self, data_format: DataFormat) -> None:
        for row in self.rows():
            before = copy.deepcopy(row)
            assert data_format.recognizes(row)
            assert any(message.role == "user" for message in data_format.read(row).messages)
            assert row == before, "a row must not be changed"

    @pytest.mark.parametrize("name", DIALOGUES)
    def test_what_is_written_is_read_again_and_the_rest_is_refused(self, data_format: DataFormat, name: str) -> None:
        if not data_format.can_write:
            return
        dialogue = DIALOGUES[name]
        row = _written(data_format, dialogue)
        if row is None:
            assert name != "one call", "every format has a place for a call and its result"
            return
        assert json.loads(json.dumps(row, allow_nan=False)) == row
        if data_format.can_read:
            lines = [dict(line) for line in data_format.lines(row)]
            assert data_format.begins(lines[0])
            assert not any(data_format.begins(line) for line in lines[1:])
            assert all(data_format.recognizes(line) for line in lines)
            read = data_format.read(data_format.joined(lines))
            assert (read.messages, read.tools) == (dialogue.messages, dialogue.tools)

    def test_a_format_that_is_written_names_its_limits(self, data_format: DataFormat) -> None:
        assert all(isinstance(limit, str) and limit and "\n" not in limit for limit in data_format.limits)
        refused = [data_format.can_write and _written(data_format, each) is None for each in DIALOGUES.values()]
        assert data_format.limits or not any(refused)

    def test_damaged_rows_are_dialogues_or_faults(self, data_format: DataFormat) -> None:
        for row in self.rows():
            damaged = [{**row, column: value} for column in row for value in _DAMAGE]
            damaged += [{name: value for name, value in row.items() if name != column} for column in row]
            for one in (*damaged, {}):
                assert data_format.recognizes(one) in (True, False)
                with suppress(DataFormatError):
                    assert isinstance(data_format.read(one), Dialogue)


def _written(data_format: DataFormat, dialogue: Dialogue) -> Mapping[str, Any] | None:
    """The row with a dialogue; None where the format refuses it."""
    try:
        return data_format.write(dialogue)
    except DataFormatError:
        return None
