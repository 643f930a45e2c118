"""Problems from rows of dialogues, for the task `conversations`.

rows ──format──> dialogues ──last turn of the user──> problems, each with what follows it
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mentor_kit.core.conversation import CallState, Message, ToolCall
from mentor_kit.core.data_format import LOOKED_AT, DataFormat, DataFormatError, Dialogue
from mentor_kit.core.errors import DataError, did_you_mean
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem, boxed_answer
from mentor_kit.hooks.data_formats import data_formats
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.runs.dialogue_rows import format_of_rows, joined_rows
from mentor_kit.runs.rows import BadRow, DataRow
from mentor_kit_data.conversation_options import ConversationsOptions

#: The key of a problem's row in its `extra`, for its recorded solution.
ROW = "row"


def known_formats(name: str, context: BuildContext) -> dict[str, DataFormat]:
    """The formats that rows may have: all that can be read, or the one that is named.

    Raises:
        DataError: no format has that name, or it cannot be read.
    """
    readable = {known: one for known, one in data_formats(context.registry).items() if one.can_read}
    if name == "auto":
        return readable
    if name not in readable:
        raise DataError(
            f"no format that can be read is called {name!r}{did_you_mean(name, readable)}",
            hint=f"known formats: auto, {', '.join(readable)}; `mentorkit plugins formats` lists them",
        )
    return {name: readable[name]}


def with_format(rows: Iterable[DataRow], formats: Mapping[str, DataFormat], name: str) -> Iterator[DataRow]:
    """Yield the rows of a split, each with its dialogue, or its fault, in place of its columns.

    Raises:
        DataError: the format is to be found out, and is unknown or ambiguous.
    """
    rows = iter(rows)
    first = list(itertools.islice(rows, LOOKED_AT))
    if not first:
        return
    if name == "auto":
        try:
            name = format_of_rows(first, formats)
        except DataFormatError as error:
            raise DataError(f"{first[0].source}: {error.reason}", hint=error.hint) from None
    for row in joined_rows(itertools.chain(first, rows), formats[name]):
        yield _read(row, formats[name])


def _read(row: DataRow, known: DataFormat) -> DataRow:
    """The row with its dialogue as its only column, or with its fault."""
    if isinstance(row.values, BadRow):
        return row
    try:
        values: Mapping[str, Json] | BadRow = {"dialogue": known.read(row.values)}
    except DataFormatError as error:
        values = BadRow(error.column, error.reason, error.hint or "")
    return DataRow(row.source, row.number, values, row.label)


class DialogueProblems:
    """Makes problems of rows with dialogues, and keeps what follows each problem."""

    def __init__(self, options: ConversationsOptions) -> None:
        self._options = options
        self._text = options.answer == "text"
        self.recorded: list[tuple[Message, ...]] = []
        """What follows the problem in each row that has become one."""

    def __call__(self, row: DataRow, split: str) -> Problem:
        dialogue: Dialogue = row.get("dialogue")
        messages = dialogue.messages
        last = max(index for index, message in enumerate(messages) if message.role == "user")
        if not messages[last].content.strip():
            raise BadRow("", "the last turn of the user is empty")
        lead = 1 if messages[0].role == "system" else 0
        history, rest = messages[lead:last], messages[last + 1 :]
        if any(message.role == "system" for message in (*history, *rest)):
            raise BadRow("", "there is a system message after the first turn")
        bound = self._options.tools == "bound"
        answer = self._answer(dialogue, rest)
        self.recorded.append(self._counted(rest))
        return Problem(
            id=f"{split}/{dialogue.id or row.name}",
            question=messages[last].content,
            answer=answer,
            split=split,
            group=dialogue.group or "",
            system=messages[0].content if lead else "",
            history=_executed(history),
            tools=tuple(tool.model_copy(update={"bound": bound}) for tool in dialogue.tools),
            extra={ROW: len(self.recorded) - 1},
        )

    def _answer(self, dialogue: Dialogue, rest: Sequence[Message]) -> str:
        """The key: the right calls as JSON, or the answer."""
        first = next((message for message in rest if message.role == "assistant"), None)
        if self._options.check.use == "calls":
            if dialogue.calls is None and first is None:
                raise BadRow("", "nothing follows the last turn of the user, so there are no right calls")
            return self._right_calls(dialogue, first)
        if dialogue.key is not None:
            return dialogue.key.strip()
        if dialogue.correct is False:
            raise BadRow("", "its answer is said to be wrong, and there is no key")
        text = rest[-1].content if rest and rest[-1].role == "assistant" else ""
        found = text.strip() if self._text else boxed_answer(text)
        if not found:
            wanted = "text" if self._text else r"\boxed{…}"
            raise BadRow("answer", f"there is no key: no column `answer`, and no {wanted} in the last turn")
        return found

    def _right_calls(self, dialogue: Dialogue, first: Message | None) -> str:
        """The row's right calls, or those of the first turn."""
        if dialogue.calls is not None:
            return calls_as_answer(dialogue.calls)
        calls = first.tool_calls if first is not None else ()
        if dialogue.correct is False:
            raise BadRow("", "its answer is said to be wrong, so its calls are not the right ones")
        if any(call.state is CallState.MALFORMED for call in calls):
            raise BadRow("", "it has a malformed call, so its calls are not the right ones")
        return calls_as_answer(calls)

    def _counted(self, rest: Sequence[Message]) -> tuple[Message, ...]:
        """What follows, with its calls executed; with `check: calls` those of the first turn alone are compared."""
        found = _executed(rest)
        if self._options.check.use != "calls":
            return found
        first = next((index for index, message in enumerate(rest) if message.role == "assistant"), len(rest))
        return tuple(found[index] if index == first else message for index, message in enumerate(rest))


def _executed(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Messages whose calls were executed, or failed where the result is an error; malformed ones stay as they are."""
    found = []
    for index, message in enumerate(messages):
        results = itertools.takewhile(lambda later: later.role == "tool", messages[index + 1 :])
        pairs = itertools.zip_longest(message.tool_calls, itertools.islice(results, len(message.tool_calls)))
        calls = tuple(_after(call, answer) for call, answer in pairs)
        found.append(message.model_copy(update={"tool_calls": calls}) if calls else message)
    return tuple(found)


def _after(call: ToolCall, answer: Message | None) -> ToolCall:
    if call.state is CallState.MALFORMED:
        return call
    failed = answer is not None and answer.result is not None and not answer.result.ok
    return call.at(CallState.FAILED, answer.content) if failed and answer else call.at(CallState.EXECUTED)


def calls_as_answer(calls: Sequence[ToolCall]) -> str:
    """Calls as an answer, or a key: one line of JSON."""
    return json.dumps([{"name": call.name, "arguments": call.arguments} for call in calls], ensure_ascii=False)
