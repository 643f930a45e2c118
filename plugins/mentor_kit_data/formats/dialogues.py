"""Builds a dialogue turn by turn, as the formats' readers find them.

Calls and results are put together here for all formats: results get the name of their call, by its id or their order,
and stand in the order of the calls; calls in an assistant's words are read where the row has tools.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from mentor_kit.core.conversation import Message, ToolCall, ToolResult, assistant, system, tool_result, user
from mentor_kit.core.data_format import DataFormatError, Dialogue
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import DeclaredTool
from mentor_kit_data.formats.schemas import tool_name
from mentor_kit_data.formats.values import decoded, entries, record, shown, string
from mentor_kit_data.formats.written_calls import WrittenTurn, literal, read_turn

_ARGUMENTS = ("arguments", "parameters", "args")


class DialogueBuilder:
    """Collects the turns of a row.

    Args:
        tools: the row's tools.
    """

    def __init__(self, tools: Sequence[DeclaredTool] = ()) -> None:
        self.tools = tuple(tools)
        self._messages: list[Message] = []
        self._ids: list[str | None] = []
        """The ids of the last assistant turn's calls."""
        self._results: dict[int, ToolResult] = {}
        """The results so far, by the index of their call in the last assistant turn."""

    def system(self, content: str) -> None:
        """Add a system message; an empty one is none, and one behind another goes on with it."""
        self._close()
        if content and self._messages and self._messages[-1].role == "system":
            content = f"{self._messages.pop().content}\n\n{content}"
        if content:
            self._messages.append(system(content))

    def user(self, content: str) -> None:
        """Add a user's message."""
        self._close()
        self._messages.append(user(content))

    def assistant(
        self,
        content: str,
        calls: Sequence[ToolCall] = (),
        *,
        ids: Sequence[str | None] = (),
        reasoning: str = "",
        column: str = "",
        read_calls: bool = True,
    ) -> None:
        """Add an assistant's turn; one that only goes on calling is part of the turn before it.

        Args:
            content: its words.
            calls: its calls.
            ids: of the calls, where they have any.
            reasoning: its reasoning, apart from the words.
            column: for messages.
            read_calls: whether calls in the words are read where there are no others.

        Raises:
            DataFormatError: there are calls in the words that cannot be read.
        """
        written = WrittenTurn(content, reasoning, tuple(calls))
        if read_calls and not calls and self.tools:
            written = read_turn(content, self.tools, column)
            written = WrittenTurn(written.content, reasoning or written.reasoning, written.calls)
        last = self._messages[-1] if self._messages else None
        if last is not None and last.role == "assistant" and not self._results and written.calls:
            content = "\n".join(filter(None, (last.content, written.content)))
            reasoning = "\n".join(filter(None, (last.reasoning, written.reasoning)))
            self._messages[-1] = assistant(content, reasoning=reasoning, calls=[*last.tool_calls, *written.calls])
            self._ids += _padded(ids, len(written.calls))
            return
        self._close()
        self._messages.append(assistant(written.content, reasoning=written.reasoning, calls=written.calls))
        self._ids = _padded(ids, len(written.calls))

    def result(self, content: str, *, name: str = "", call_id: str | None = None, column: str = "") -> None:
        """Add the result of a call of the last assistant turn: of that id, else of that name, else the next one.

        Raises:
            DataFormatError: there is no call that it may be the result of.
        """
        calls = self._calls
        open_calls = [index for index in range(len(calls)) if index not in self._results]
        by_id = [index for index in open_calls if call_id is not None and self._ids[index] == call_id]
        by_name = [index for index in open_calls if name and calls[index].name == tool_name(name)]
        found = next(iter(by_id or by_name or open_calls), None)
        if found is None:
            raise DataFormatError(column, f"a result without a call before it: {shown(content)}")
        self._results[found] = ToolResult(name=calls[found].name, content=content)

    @property
    def open_calls(self) -> int:
        """How many calls of the last assistant turn have no result yet."""
        return len(self._calls) - len(self._results)

    def dialogue(
        self,
        *,
        id: str | None = None,
        group: str | None = None,
        key: str | None = None,
        calls: Sequence[ToolCall] | None = None,
        correct: bool | None = None,
    ) -> Dialogue:
        """The dialogue of all turns; arguments as for `Dialogue`.

        Raises:
            DataFormatError: there is no user's turn.
        """
        self._close()
        if not any(message.role == "user" for message in self._messages):
            raise DataFormatError("", "the dialogue has no user's turn")
        schemas = {tool.name: tool for tool in self.tools}
        return Dialogue(
            messages=tuple(_settled(message, schemas) for message in self._messages),
            tools=self.tools,
            id=id,
            group=group,
            key=key,
            calls=None if calls is None else tuple(_settled_call(call, schemas) for call in calls),
            correct=correct,
        )

    @property
    def _calls(self) -> Sequence[ToolCall]:
        last = self._messages[-1] if self._messages else None
        return last.tool_calls if last is not None and last.role == "assistant" else ()

    def _close(self) -> None:
        """Put the results behind the turn that made their calls, in the calls' order."""
        self._messages += [tool_result(self._results[index]) for index in sorted(self._results)]
        self._results = {}


def _padded(ids: Sequence[str | None], count: int) -> list[str | None]:
    return [*ids, *[None] * (count - len(ids))]


class Beside(TypedDict, total=False):
    """The fields of a `Dialogue` that have columns of their own."""

    id: str | None
    group: str | None
    key: str | None
    calls: tuple[ToolCall, ...] | None
    correct: bool | None


def beside(row: Mapping[str, Any]) -> Beside:
    """What a row has beside its turns: `id` (or `uuid`), `group`, `answer` (or `solution`), `calls` and `correct`.

    Raises:
        DataFormatError: `calls` is no list of calls.
    """
    calls = row.get("calls")
    listed = None if calls is None else entries(calls, "calls")
    correct = row.get("correct")
    return {
        "id": _word(row, "id", "uuid"),
        "group": _word(row, "group"),
        "key": _word(row, "answer", "solution"),
        "calls": None if listed is None else tuple(call_of(one, f"calls.{i}") for i, one in enumerate(listed)),
        "correct": correct if isinstance(correct, bool) else None,
    }


def _word(row: Mapping[str, Any], *columns: str) -> str | None:
    """The string or number in the first of some columns that has anything."""
    found = next((row[name] for name in columns if row.get(name) not in (None, "")), None)
    return str(found) if isinstance(found, str | int | float) and not isinstance(found, bool) else None


def call_of(value: Any, column: str) -> ToolCall:
    """The call in a value: OpenAI's `{"function": {name, arguments}}`, or name and arguments themselves.

    The arguments are a record, or one as a JSON string, under `arguments`, `parameters` or `args`.

    Raises:
        DataFormatError: there is no name, or the arguments are no record.
    """
    value = record(decoded(value, column), column)
    if isinstance(value.get("function"), Mapping | str):
        column, value = f"{column}.function", record(decoded(value["function"], f"{column}.function"), column)
    name = string(value.get("name"), f"{column}.name")
    if not name.strip():
        raise DataFormatError(f"{column}.name", f"expected the name of a tool, found {name!r}")
    key = next((key for key in _ARGUMENTS if value.get(key) is not None), "arguments")
    return ToolCall(name=tool_name(name), arguments=_arguments(value.get(key), f"{column}.{key}"))


def call_id(value: Any) -> str | None:
    """The id of a call, where it has one."""
    found = value.get("id") if isinstance(value, Mapping) else None
    return None if found is None else str(found)


def _arguments(value: Any, column: str) -> dict[str, Json]:
    for _ in range(2):  # some data has them as a string twice
        value = _value(value, column) if value not in (None, "") else {}
    return {str(name): item for name, item in record(value, column).items()}


def _value(written: Any, column: str) -> Json:
    """A value, or the one that a string holds as JSON, or else in Python's notation."""
    try:
        return decoded(written, column)
    except DataFormatError:
        try:
            return literal(written)
        except ValueError:
            pass
        raise


def _settled(message: Message, tools: Mapping[str, DeclaredTool]) -> Message:
    if not message.tool_calls:
        return message
    calls = tuple(_settled_call(call, tools) for call in message.tool_calls)
    return message.model_copy(update={"tool_calls": calls})


def _settled_call(call: ToolCall, tools: Mapping[str, DeclaredTool]) -> ToolCall:
    """The call without the arguments that only other rows have, which tables give as None.

    None stays where the tool's schema allows null for that parameter.
    """
    if all(value is not None for value in call.arguments.values()):
        return call
    tool = tools.get(call.name)
    properties = tool.parameters.get("properties", {}) if tool is not None else {}
    kept = {
        name: value for name, value in call.arguments.items() if value is not None or _nullable(properties.get(name))
    }
    return call.model_copy(update={"arguments": kept})


def _nullable(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    kinds = schema.get("type")
    return (
        "null" in (kinds if isinstance(kinds, list) else [kinds])
        or None in (schema.get("enum") or ())
        or any(_nullable(inner) for inner in (*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())))
    )


def as_json(value: Any) -> str:
    """A value as one line of JSON."""
    return json.dumps(value, ensure_ascii=False)
