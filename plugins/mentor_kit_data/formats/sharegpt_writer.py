"""Writes `conversations` in ShareGPT's form, as LLaMA-Factory trains on them.

Its turns alternate: human or observation, then gpt or function_call, and so on to the assistant's last one. Other rows
are left out there with a warning, so a dialogue that cannot be written so is refused here.

Several calls of one turn are a list in one `function_call`, and their results a list in one `observation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mentor_kit.core.conversation import Message
from mentor_kit.core.data_format import DataFormatError, Dialogue
from mentor_kit.core.frozen_model import Json
from mentor_kit_data.formats.writing import (
    EVERYWHERE,
    WORDS,
    as_json,
    bare_tool,
    check_dialogue,
    named_call,
    own_columns,
)

SHAREGPT_LIMITS = (
    *EVERYWHERE,
    WORDS,
    "reasoning (a dialogue with some is refused)",
    "what an assistant says beside its calls (a dialogue with such a turn is refused)",
    "turns that do not alternate, up to one of the assistant's (such a dialogue is refused)",
    "fewer results than calls (a dialogue with them is refused)",
)


def sharegpt_row(dialogue: Dialogue) -> dict[str, Json]:
    """Return the dialogue as a row of `conversations`.

    Raises:
        DataFormatError: see `check_dialogue` and `SHAREGPT_LIMITS`.
    """
    check_dialogue(dialogue)
    messages = list(dialogue.messages)
    system = messages.pop(0).content if messages and messages[0].role == "system" else ""
    skipped = len(dialogue.messages) - len(messages)
    turns = list(_turns(messages, skipped))
    for index, turn in enumerate(turns):
        expected = ("human", "observation") if index % 2 == 0 else ("gpt", "function_call")
        if turn["from"] not in expected:
            reason = f"turns alternate: expected {' or '.join(expected)}, found {turn['from']}"
            raise DataFormatError(f"conversations.{index}", reason)
    if len(turns) % 2:
        raise DataFormatError(f"conversations.{len(turns) - 1}", "the last turn must be the assistant's")
    row: dict[str, Json] = {"conversations": turns}
    if system:
        row["system"] = system
    if dialogue.tools:
        row["tools"] = as_json([bare_tool(tool) for tool in dialogue.tools])
    return row | own_columns(dialogue)


def _turns(messages: Sequence[Message], skipped: int) -> Iterator[dict[str, Json]]:
    """Yield the turns of the messages after the system message; those of results hold all of one turn's calls."""
    index = 0
    while index < len(messages):
        message, column = messages[index], f"messages.{index + skipped}"
        index += 1
        if message.role == "system":
            raise DataFormatError(column, "a system message stands first alone")
        if message.role == "user":
            yield {"from": "human", "value": message.content}
        elif message.role == "tool":
            raise DataFormatError(column, "a result without a call before it")
        else:
            yield _assistant(message, column)
            results = []
            while index < len(messages) and messages[index].role == "tool":
                results.append(messages[index].content)
                index += 1
            if results:
                yield _results(message, results, column)


def _assistant(message: Message, column: str) -> dict[str, Json]:
    hint = "`trl` has both"
    if message.reasoning:
        raise DataFormatError(f"{column}.reasoning", "ShareGPT's turns have no reasoning", hint=hint)
    if not message.tool_calls:
        return {"from": "gpt", "value": message.content}
    if message.content:
        raise DataFormatError(f"{column}.content", "a turn has either words or calls", hint=hint)
    calls: list[Json] = [named_call(call) for call in message.tool_calls]
    return {"from": "function_call", "value": as_json(calls if len(calls) > 1 else calls[0])}


def _results(message: Message, results: Sequence[str], column: str) -> dict[str, Json]:
    if len(results) != len(message.tool_calls):
        raise DataFormatError(column, f"{len(message.tool_calls)} calls have {len(results)} results")
    return {"from": "observation", "value": results[0] if len(results) == 1 else as_json(list(results))}
