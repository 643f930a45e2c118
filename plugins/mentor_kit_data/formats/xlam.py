"""The format `xlam`: questions with their calls, as xLAM's and APIGen's function-calling set has them.

    query    the user's question
    tools    [{"name", "description", "parameters": {name: {"type": "str, optional", "description", "default"}}}]
    answers  [{"name", "arguments"}]; an empty list where nothing is to be called

Tools and answers are JSON in strings. Dialogues with results of tools (APIGen-MT) have the form `sharegpt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mentor_kit.core.data_format import DataFormat, Dialogue
from mentor_kit_data.formats.dialogues import DialogueBuilder, beside, call_of
from mentor_kit_data.formats.schemas import declared_tools
from mentor_kit_data.formats.values import entries, holds_json, text


class XLAMFormat(DataFormat):
    """Rows of `Salesforce/xlam-function-calling-60k` (APIGen, arXiv 2406.18518)."""

    def recognizes(self, row: Mapping[str, Any]) -> bool:
        return isinstance(row.get("query"), str) and all(
            holds_json(row.get(name), list) for name in ("tools", "answers")
        )

    def read(self, row: Mapping[str, Any]) -> Dialogue:
        builder = DialogueBuilder(declared_tools(row.get("tools"), "tools"))
        given = entries(row.get("answers"), "answers")
        calls = [call_of(value, f"answers.{index}") for index, value in enumerate(given)]
        builder.system(text(row.get("system"), "system"))
        builder.user(text(row.get("query"), "query"))
        if calls:
            builder.assistant("", calls)
        return builder.dialogue(id=beside(row)["id"], calls=calls)
