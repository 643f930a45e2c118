"""Which family a template belongs to: those without tools, unknown ones, and families that a plugin adds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import pytest
from family_formats import make

from mentor_kit.chat.families import Family
from mentor_kit.chat.families import families as known_families
from mentor_kit.chat.format import ChatFormat
from mentor_kit.chat.parsing import HermesParser
from mentor_kit.core.conversation import CallState, Message, assistant, call, user
from mentor_kit.core.errors import ChatError, PluginError
from mentor_kit.core.tool import Tool
from mentor_kit.hooks import Registry, hookimpl, load_plugins

TOOLS = {"divide": Tool.declared("divide", "Divide two numbers.", {"type": "object", "properties": {}})}


@pytest.mark.parametrize("template", ["gemma3", "phi3_5", "deepseekv3", "llama3"])
def test_a_template_without_tools_is_refused_with_a_way_out(template):
    chat = make(template)
    chat.open([user("Hello")], {})
    with pytest.raises(ChatError, match="tools") as caught:
        chat.open([user("Hello")], TOOLS)
    assert "chat_template: hermes" in str(caught.value)


def with_plugin(**functions: object) -> Registry:
    """The plugins of this environment, and one more with these functions."""
    plugins = load_plugins(entry_points(group="mentorkit"))
    module = ModuleType("theirs")
    vars(module).update(functions)
    plugins.manager.register(module, name="theirs")
    return Registry(plugins)


def offering(*families: Family) -> Registry:
    @hookimpl
    def register_families(register):
        for family in families:
            register(family.name, build=lambda options, context, family=family: family)

    return with_plugin(register_families=register_families)


class Muse(HermesParser):
    def parse(self, text: str, tools: Mapping[str, Tool] | None = None) -> Message:
        return assistant(calls=[call("probe", text="a", number=1)])


MUSE = Family("muse", "Muse", lambda thinking: Muse(in_reasoning=thinking))


def test_an_unknown_family_is_refused_and_a_plugin_can_add_it():
    chat = make("muse_glimmer")
    with pytest.raises(ChatError, match="families") as caught:
        chat.open([user("Hello")], TOOLS)
    assert "register_families" in str(caught.value)
    registry = offering(MUSE)
    assert isinstance(ChatFormat(chat.tokenizer, registry=registry).parser, Muse)
    assert [family.name for family in known_families(registry)] == ["muse", *(f.name for f in known_families())]


def test_families_that_cannot_be_used_are_named_with_their_plugin():
    with pytest.raises(PluginError, match="'hermes' is registered by two plugins"):
        known_families(offering(Family("hermes", "Mine", lambda thinking: Muse())))

    @hookimpl
    def register_families(register):
        register("odd", build=lambda options, context: "no family")

    wanted = r"plugin 'theirs' built 'no family' for the family 'odd': .*chat\.families\.Family"
    with pytest.raises(PluginError, match=wanted):
        known_families(with_plugin(register_families=register_families))


def test_the_documents_know_every_family_and_their_example_works():
    docs = (Path(__file__).parents[2] / "docs" / "families.md").read_text(encoding="utf-8")
    table = docs.split("## Architectures by backend")[0]
    assert [family.name for family in known_families()] == re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)
    names: dict[str, object] = {}
    exec(docs.split("```python\n")[1].split("```")[0], names)
    mine = known_families(with_plugin(**names))[0]
    (made,) = mine.parser(False).parse('<call>{"name": "divide", "arguments": {"a": 1}}</call>').tool_calls
    assert (mine.name, made.name, made.arguments) == ("mine", "divide", {"a": 1})
    (broken,) = mine.parser(False).parse('<call>{"name": "divide"').tool_calls
    assert broken.state is CallState.MALFORMED
