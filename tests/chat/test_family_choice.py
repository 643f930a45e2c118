"""Which family a template belongs to: those without tools, unknown ones, and families that a plugin adds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from family_formats import make

from mentor_kit.chat.families import Family, add
from mentor_kit.chat.families import families as known_families
from mentor_kit.chat.parsing import HermesParser
from mentor_kit.core.conversation import CallState, Message, assistant, call, user
from mentor_kit.core.errors import ChatError, PluginError
from mentor_kit.core.tool import Tool

TOOLS = {"divide": Tool.declared("divide", "Divide two numbers.", {"type": "object", "properties": {}})}


@pytest.mark.parametrize("template", ["gemma3", "phi3_5", "deepseekv3", "llama3"])
def test_a_template_without_tools_is_refused_with_a_way_out(template):
    chat = make(template)
    chat.open([user("Hello")], {})
    with pytest.raises(ChatError, match="does not show tools") as caught:
        chat.open([user("Hello")], TOOLS)
    assert "chat_template: hermes" in str(caught.value)


def test_an_unknown_family_is_refused_and_can_be_added(monkeypatch):
    with pytest.raises(ChatError, match="none of the known families") as caught:
        make("muse_glimmer").open([user("Hello")], TOOLS)
    assert "mentor_kit.chat.families.add" in str(caught.value)

    class Muse(HermesParser):
        def parse(self, text: str) -> Message:
            return assistant(calls=[call("probe", text="a", number=1)])

    monkeypatch.setattr("mentor_kit.chat.families._FAMILIES", list(known_families()))
    mine = Family("muse", "Muse", lambda thinking: Muse(in_reasoning=thinking))
    add(mine)
    add(mine)
    assert isinstance(make("muse_glimmer").parser, Muse)
    assert known_families()[0] == mine
    with pytest.raises(PluginError, match="'muse' already"):
        add(Family("muse", "Another", lambda thinking: Muse()))


def test_the_documents_know_every_family_and_their_example_works(monkeypatch):
    docs = (Path(__file__).parents[2] / "docs" / "families.md").read_text(encoding="utf-8")
    assert [family.name for family in known_families()] == re.findall(r"^\| `([\w-]+)` \|", docs, re.MULTILINE)
    monkeypatch.setattr("mentor_kit.chat.families._FAMILIES", list(known_families()))
    exec(docs.split("```python\n")[1].split("```")[0], {})
    mine = known_families()[0]
    (made,) = mine.parser(False).parse('<call>{"name": "divide", "arguments": {"a": 1}}</call>').tool_calls
    assert (mine.name, made.name, made.arguments) == ("mine", "divide", {"a": 1})
    (broken,) = mine.parser(False).parse('<call>{"name": "divide"').tool_calls
    assert broken.state is CallState.MALFORMED
