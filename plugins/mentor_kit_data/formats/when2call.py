"""The format `when2call`: when to call a tool, to ask back, to answer, or to say that it cannot be done.

    train_sft    messages, tools
    train_pref   messages, tools, chosen_response, rejected_response
    test         question, tools, correct_answer, answers {direct, tool_call, request_for_info, cannot_answer}, uuid

Each of the tools is JSON in a string. Calls are <TOOLCALL>[{"name", "arguments"}]</TOOLCALL> in the words. A row whose
right answer is no call means that nothing is to be called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mentor_kit.core.data_format import DataFormat, DataFormatError, Dialogue
from mentor_kit_data.formats.dialogues import DialogueBuilder
from mentor_kit_data.formats.openai_messages import holds_messages, read_messages
from mentor_kit_data.formats.schemas import declared_tools
from mentor_kit_data.formats.values import entries, holds_json, record, string, text


class When2CallFormat(DataFormat):
    """Rows of `nvidia/When2Call` (arXiv 2504.18851)."""

    def recognizes(self, row: Mapping[str, Any]) -> bool:
        tools = row.get("tools")
        if not isinstance(tools, list) or not all(holds_json(tool, dict) and isinstance(tool, str) for tool in tools):
            return False
        return _is_test(row) or (holds_messages(row.get("messages")) and (bool(tools) or _preferred(row)))

    def read(self, row: Mapping[str, Any]) -> Dialogue:
        tools = declared_tools(row.get("tools"), "tools")
        if _is_test(row):
            return _test_row(row, DialogueBuilder(tools))
        messages = list(entries(row.get("messages"), "messages"))
        if _preferred(row):
            chosen = row["chosen_response"]
            messages.append(chosen if isinstance(chosen, Mapping) else {"role": "assistant", "content": chosen})
        return read_messages(messages, tools, "messages").dialogue()


def _is_test(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("question"), str) and isinstance(row.get("correct_answer"), str)


def _preferred(row: Mapping[str, Any]) -> bool:
    return row.get("chosen_response") is not None


def _test_row(row: Mapping[str, Any], builder: DialogueBuilder) -> Dialogue:
    kind = string(row["correct_answer"], "correct_answer")
    answers = record(row.get("answers"), "answers")
    if answers.get(kind) is None:
        raise DataFormatError("answers", f"there is no answer {kind!r}, which is said to be the correct one")
    builder.user(string(row["question"], "question"))
    builder.assistant(text(answers[kind], f"answers.{kind}"), column=f"answers.{kind}")
    found = builder.dialogue()
    identity = row.get("uuid")
    return found.model_copy(
        update={
            "id": None if identity is None else text(identity, "uuid"),
            "group": kind,
            "calls": tuple(call for message in found.messages for call in message.tool_calls),
        }
    )
