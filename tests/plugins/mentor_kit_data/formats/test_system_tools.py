"""Tools that a system message lists are found; lists of anything else are words."""

from __future__ import annotations

import json

import pytest
from mentor_kit_data.formats.system_tools import listed_tools
from published_rows import TOOLS

from mentor_kit.core.data_format import DataFormatError
from mentor_kit.hooks.data_formats import data_formats

LIST = json.dumps(TOOLS)
LINES = "\n".join(map(json.dumps, TOOLS))
BARE = json.dumps([tool["function"] for tool in TOOLS])


@pytest.mark.parametrize(
    "text",
    [
        f"You may call functions within <tools></tools> XML tags:\n<tools>\n{LINES}\n</tools>\nUse <tool_call>.",
        f"Signatures stand within <tools> </tools> tags. Here they are: <tools> {LIST} </tools>Go.",
        f"Between <tools> tags:\n<tools>{TOOLS}</tools>",
        f"Here is a list of functions in JSON format that you can invoke:\n{BARE}. \nShould you decide [func1(a=b)]",
        f"<|im_system|>tool_declare<|im_middle|>{LIST}<|im_end|>",
    ],
)
def test_tools_are_found(text: str):
    assert [tool.name for tool in listed_tools(text, "system") or ()] == ["add", "multiply"]


@pytest.mark.parametrize(
    "text",
    [
        "You are a helpful assistant.",
        "Write calls in <tools> tags.",
        'We sell: [{"name": "Widget", "description": "round"}]',
        "[1, 2] and [{",
        "",
    ],
)
def test_other_words_stay(text: str):
    assert listed_tools(text, "system") is None


def test_tags_with_something_else_are_a_fault():
    with pytest.raises(DataFormatError) as caught:
        listed_tools("<tools>[{]</tools>", "messages.0.content")
    assert caught.value.column == "messages.0.content"


def test_the_rows_own_tools_have_precedence():
    row = {
        "messages": [{"role": "system", "content": f"Tools: {LIST}"}, {"role": "user", "content": "?"}],
        "tools": TOOLS[:1],
    }
    dialogue = data_formats()["trl"].read(row)
    assert [tool.name for tool in dialogue.tools] == ["add"]
    assert [message.role for message in dialogue.messages] == ["user"]
