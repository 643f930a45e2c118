"""Formats of public data sets that are conversations in the form of ShareGPT: ToolACE and Hermes function-calling.

toolace  conversations [{"from": "user" | "assistant" | "tool", "value"}], system with the tools as a JSON list;
calls are [Name of Tool(argument=value), …], results [{"name", "results"}, …]
hermes   conversations [{"from": "system" | "human" | "gpt" | "tool", "value"}], the tools in <tools> tags of the
system message and in tools; calls in <tool_call>, results in <tool_response>
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mentor_kit.core.data_format import DataFormat
from mentor_kit_data.formats.sharegpt import ShareGPTFormat, is_conversation

_TAGS = ("<tools>", "<tool_call>", "<tool_response>")


class ToolACEFormat(ShareGPTFormat):
    """Rows of ToolACE: arXiv 2409.00920, `Team-ACE/ToolACE`."""

    limits = ()
    write = DataFormat.write  # its calls stand in words, which `sharegpt` does not write

    def recognizes(self, row: Mapping[str, Any]) -> bool:
        return (
            is_conversation(row)
            and isinstance(row.get("system"), str)
            and _speakers(row) <= {"user", "assistant", "tool"}
        )


class HermesFormat(ShareGPTFormat):
    """Rows of `NousResearch/hermes-function-calling-v1`."""

    limits = ()
    write = DataFormat.write  # as ToolACE's

    def recognizes(self, row: Mapping[str, Any]) -> bool:
        return (
            is_conversation(row)
            and _speakers(row) <= {"system", "human", "gpt", "tool"}
            and any(tag in str(turn.get("value")) for turn in _turns(row) for tag in _TAGS)
        )


def _turns(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [turn for turn in row.get("conversations") or () if isinstance(turn, Mapping)]


def _speakers(row: Mapping[str, Any]) -> set[str]:
    return {str(turn.get("from")) for turn in _turns(row)}
