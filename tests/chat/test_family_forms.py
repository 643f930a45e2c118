"""Forms of families: what they write, the family's own parser reads; and the family of a student is found."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import pytest
from chat_tokenizers import make_tokenizer
from family_formats import make, template_text
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit import api
from mentor_kit.chat.families import all_marks, families
from mentor_kit.chat.forms import FORMS, MISSING, Form, Literal, json_text
from mentor_kit.chat.parsing import Parser, parse
from mentor_kit.core.errors import UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import Tool
from mentor_kit.hooks import Registry, load_plugins
from mentor_kit.recipe.settings import parse_settings

FAMILIES: dict[str, tuple[Parser, Form]] = {
    family.name: (family.parser(False), family.written) for family in families() if family.written is not None
}
TOOL = Tool.declared(
    "probe",
    "Probes.",
    {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "number": {"type": "number"},
            "flag": {"type": "boolean"},
            "list": {"type": "array", "items": {"type": "integer"}},
        },
        "additionalProperties": False,
    },
)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "text": st.text(st.sampled_from("abc é1{}[](),:=.-"), max_size=12).map(str.strip),
        "number": st.integers(-(10**15), 10**15) | st.sampled_from([0.5, -2.25, 1e-9]),
        "flag": st.booleans(),
        "list": st.lists(st.integers(-9, 9), max_size=4),
    },
)
#: A template of each family.
TEMPLATES = {
    "hermes": "qwen3",
    "llama-3": "llama3_1",
    "function-xml": "qwen3_6",
    "key-value-xml": "glm4moe",
    "mistral": "mistral_v11",
    "deepseek": "deepseek_v3_1",
    "gemma-4": "gemma4_v5",
    "lfm-2": "lfm2_2_5",
    "phi-4": "phi_4_mini",
    "harmony": "gptoss",
}


def test_every_family_has_a_form() -> None:
    assert set(FAMILIES) == set(FORMS) == {family.name for family in families()} == set(TEMPLATES)


@pytest.mark.parametrize("family", FAMILIES)
@given(st.lists(ARGUMENTS, min_size=1, max_size=3))
def test_what_is_written_is_read(family: str, several: list[dict[str, Json]]) -> None:
    parser, form = FAMILIES[family]
    calls = several if form.several else several[:1]
    text = form.think("So.") + "\n".join(form.call("probe", arguments) for arguments in calls)
    message = parse(parser, text, {"probe": TOOL})
    assert message.reasoning == "So."
    assert message.content == ""
    assert [(call.name, call.arguments, call.state.value) for call in message.tool_calls] == [
        ("probe", arguments, "parsed") for arguments in calls
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_words_are_words(family: str) -> None:
    parser, form = FAMILIES[family]
    message = parse(parser, form.think("So.") + form.say("It is 5."), {"probe": TOOL})
    assert (message.content, message.reasoning, message.tool_calls) == ("It is 5.", "So.", ())


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_no_argument_is_read_as_none(family: str) -> None:
    parser, form = FAMILIES[family]
    for arguments in ({"number": Literal("NaN")}, {"number": Literal("9" * 5000)}, ["a"], Literal("{"), {"x": [None]}):
        for call in parse(parser, form.call("probe", arguments), {"probe": TOOL}).tool_calls:
            assert call.state.value == "malformed" or TOOL.check(call.arguments)
    (without,) = parse(parser, form.call("probe", MISSING), {"probe": TOOL}).tool_calls
    assert without.name == "probe"
    assert without.arguments == {}


def test_a_family_of_a_plugins_is_played_once_it_has_a_form() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "families.md").read_text(encoding="utf-8")
    parser, form = (block.split("```")[0] for block in docs.split("```python\n")[1:3])
    plugin = ModuleType("theirs")
    exec(parser, vars(plugin))
    plugins = load_plugins(entry_points(group="mentorkit"))
    plugins.manager.register(plugin, name="theirs")
    registry = Registry(plugins)
    with pytest.raises(UsageError, match="'mine'"):
        api.audit("quickstart", families=["mine"], tries=0, problems=1, registry=registry)
    assert "<call>" not in all_marks(registry)
    exec(form, vars(plugin))
    (found,) = api.audit("quickstart", families=["mine"], tries=100, problems=1, registry=registry).families
    assert (found.family, found.passed, found.honest["right"]) == ("mine", True, pytest.approx(1.1))
    assert "<call>" in all_marks(registry)


def test_json_with_literals() -> None:
    assert json_text({"a": [Literal("NaN"), 1, "é\n"], "b": {"c": None}}) == '{"a": [NaN, 1, "é\\n"], "b": {"c": null}}'


@pytest.mark.spread(3)
@pytest.mark.parametrize("family", TEMPLATES)
def test_an_audit_writes_as_the_students_family_does(family: str, tmp_path: Path) -> None:
    chat = make(TEMPLATES[family])
    template = template_text(TEMPLATES[family])
    tokenizer = make_tokenizer(template)
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(chat.tokenizer.special)})
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    found = api.audit("quickstart", overrides=parse_settings((f"student.model={tmp_path}",)), tries=0, problems=1)
    assert [one.family for one in found.families] == [family]
    assert found.reason == "the student's"
    assert found.passed
