"""The format `toucan`: dialogues with tools of MCP servers, as Toucan-1.5M has them.

messages         OpenAI's messages as JSON in a string; calls are function_call, results of role function, or have the
roles tool_call and tool_response
available_tools  the tools, in OpenAI's form as JSON in a string; `tools` in its SFT part
target_tools     names of tools without their servers' names, which this reader leaves alone
uuid, subset_name, question, …
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mentor_kit.core.data_format import DataFormat, Dialogue
from mentor_kit_data.formats.openai_messages import holds_messages, read_messages
from mentor_kit_data.formats.schemas import declared_tools
from mentor_kit_data.formats.values import entries, text

_OWN = ("available_tools", "target_tools", "subset_name")


class ToucanFormat(DataFormat):
    """Rows of `Agent-Ark/Toucan-1.5M` (arXiv 2510.01179)."""

    def recognizes(self, row: Mapping[str, Any]) -> bool:
        return holds_messages(row.get("messages")) and any(row.get(name) is not None for name in _OWN)

    def read(self, row: Mapping[str, Any]) -> Dialogue:
        column = "tools" if row.get("available_tools") is None else "available_tools"
        messages = entries(row.get("messages"), "messages")
        builder = read_messages(messages, declared_tools(row.get(column), column), "messages")
        identity, group = row.get("uuid"), row.get("subset_name")
        return builder.dialogue(
            id=None if identity is None else text(identity, "uuid"),
            group=None if group is None else text(group, "subset_name"),
        )
