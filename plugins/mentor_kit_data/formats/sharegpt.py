"""The format `sharegpt`: turns with `from` and `value`, as LLaMA-Factory and others read them.

conversations  [{"from": "system" | "human" | "gpt" | "function_call" | "observation", "value"}]
tools          a list of schemas, or one in JSON
system         a system message
chosen         the better last turn, in rows with preferences
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mentor_kit.core.data_format import DataFormat, DataFormatError, Dialogue
from mentor_kit.core.frozen_model import Json
from mentor_kit_data.formats.dialogues import DialogueBuilder, beside, call_of
from mentor_kit_data.formats.results import separate_results
from mentor_kit_data.formats.schemas import declared_tools
from mentor_kit_data.formats.sharegpt_writer import SHAREGPT_LIMITS, sharegpt_row
from mentor_kit_data.formats.system_tools import listed_tools
from mentor_kit_data.formats.values import entries, record, shown, string, text, written
from mentor_kit_data.formats.written_calls import call_values

_SYSTEM, _USER, _ASSISTANT = ("system",), ("human", "user"), ("gpt", "assistant", "chatgpt", "bing", "bard", "model")
_CALLS = ("function_call", "tool_call", "function-call")
_RESULTS = ("observation", "tool", "function", "function_response", "tool_response")


class ShareGPTFormat(DataFormat):
    """Rows of `conversations` whose turns have `from` and `value`."""

    limits: Sequence[str] = SHAREGPT_LIMITS

    def recognizes(self, row: Mapping[str, Any]) -> bool:
        return is_conversation(row)

    def read(self, row: Mapping[str, Any]) -> Dialogue:
        turns = conversation(row)
        tools = declared_tools(row.get("tools"), "tools")
        system, lead = lead_of(row, turns)
        listed = listed_tools(system, "system")
        builder = DialogueBuilder(tools or listed or ())
        builder.system("" if listed is not None else system)
        in_words = not any(speaker in _CALLS for speaker, _, _ in turns)
        for speaker, value, column in turns[lead:]:
            _add(builder, speaker, value, column, read_calls=in_words)
        return builder.dialogue(**beside(row))

    def write(self, dialogue: Dialogue) -> dict[str, Json]:
        return sharegpt_row(dialogue)


def is_conversation(row: Mapping[str, Any]) -> bool:
    """Whether a row has a list of turns with `from` and `value`."""
    turns = row.get("conversations") or row.get("conversation")
    return isinstance(turns, list) and bool(turns) and isinstance(turns[0], Mapping) and "from" in turns[0]


def conversation(row: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """Who speaks in every turn, what, and its column.

    Raises:
        DataFormatError: there is no list of such turns.
    """
    name = "conversation" if row.get("conversations") is None and "conversation" in row else "conversations"
    turns = [(value, f"{name}.{index}") for index, value in enumerate(entries(row.get(name), name))]
    if isinstance(row.get("chosen"), Mapping):
        turns.append((row["chosen"], "chosen"))
    found = []
    for value, place in turns:
        turn = record(value, place)
        found.append((string(turn.get("from"), f"{place}.from"), turn.get("value"), f"{place}.value"))
    return found


def lead_of(row: Mapping[str, Any], turns: list[tuple[str, Any, str]]) -> tuple[str, int]:
    """The system message, of a column of its own or of the first turn, and how many turns it takes."""
    if turns and turns[0][0] in _SYSTEM:
        return text(turns[0][1], turns[0][2]), 1
    return text(row.get("system"), "system"), 0


def _add(builder: DialogueBuilder, speaker: str, value: Any, column: str, *, read_calls: bool) -> None:
    if speaker in _SYSTEM:
        builder.system(text(value, column))
    elif speaker in _USER:
        builder.user(text(value, column))
    elif speaker in _ASSISTANT:
        builder.assistant(text(value, column), column=column, read_calls=read_calls)
    elif speaker in _CALLS:
        builder.assistant("", [call_of(item, column) for item in call_values(value, column)], column=column)
    elif speaker in _RESULTS:
        add_results(builder, value, column)
    else:
        raise DataFormatError(
            column.replace(".value", ".from"),
            f"expected system, human, gpt, function_call or observation, found {shown(speaker)}",
        )


def add_results(builder: DialogueBuilder, value: Any, column: str) -> None:
    """Add what a turn with results holds: one result, or a list with one for every call."""
    content = written(value, column)
    for name, result in separate_results(content, builder.open_calls):
        builder.result(result, name=name, column=column)
