"""Calls as models write them: read by the schema, malformed, or words; never something else than was written."""

from __future__ import annotations

from typing import Any

import pytest

from mentor_kit.chat.families import families
from mentor_kit.chat.parsing import parse
from mentor_kit.core.conversation import CallState, Message, ToolCall
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import check_call

TEXT, WHOLE = {"type": "string"}, {"type": "integer"}
TOOLS = {
    name: Tool.declared(name, "", {"type": "object", "properties": properties, "required": required})
    for name, properties, required in [
        ("note", {"text": TEXT, "tag": TEXT}, ["text"]),
        ("now", {"zone": TEXT}, []),
        ("add", {"a": WHOLE, "b": WHOLE}, ["a", "b"]),
        ("light", {"on": {"type": "boolean"}, "level": {"type": ["integer", "null"]}, "tags": {"type": "array"}}, []),
    ]
}
FAMILIES = {family.name: family.parser for family in families()}
FENCE = "```"


def read(family: str, text: str, tools: dict[str, Tool] = TOOLS) -> Message:
    return parse(FAMILIES[family](False), text, tools)


def calls(message: Message) -> list[ToolCall]:
    return [check_call(call, TOOLS) for call in message.tool_calls]


def xml(name: str, body: str) -> str:
    return f"<tool_call>\n<function={name}>\n{body}</function>\n</tool_call>"


def parameter(key: str, value: str) -> str:
    return f"<parameter={key}>\n{value}\n</parameter>\n"


def glm(name: str, *pairs: tuple[str, str]) -> str:
    said = "".join(f"<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n" for key, value in pairs)
    return f"<tool_call>{name}\n{said}</tool_call>"


def hermes(json: str) -> str:
    return f"<tool_call>\n{json}\n</tool_call>"


def lfm(written: str) -> str:
    return f"<|tool_call_start|>[{written}]<|tool_call_end|>"


def gemma(written: str) -> str:
    return f"<|tool_call>call:{written}<tool_call|>"


def deepseek(name: str, written: str) -> str:
    one = f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{written}<｜tool▁call▁end｜>"
    return f"<｜tool▁calls▁begin｜>{one}<｜tool▁calls▁end｜>"


def harmony(header: str, body: str) -> str:
    return f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant{header}<|message|>{body}"


READ: list[tuple[str, str, str, dict[str, Any]]] = [
    # Python's words, where the schema has no string
    ("function-xml", xml("light", parameter("on", "True") + parameter("level", "None")), "light",
     {"on": True, "level": None}),
    ("function-xml", xml("light", parameter("tags", "['a', True, None]")), "light", {"tags": ["a", True, None]}),
    ("function-xml", xml("note", parameter("text", "True")), "note", {"text": "True"}),
    ("key-value-xml", glm("light", ("on", "False"), ("level", "None")), "light", {"on": False, "level": None}),
    ("key-value-xml", glm("note", ("text", "None")), "note", {"text": "None"}),
    ("gemma-4", gemma("light{on:True,level:None}"), "light", {"on": True, "level": None}),
    ("lfm-2", lfm("light(on=true, level=null)"), "light", {"on": True, "level": None}),
    # tags as data, where no tag of the format would stand
    ("function-xml", xml("note", parameter("text", "a </tool_call> and <parameter=x> here")), "note",
     {"text": "a </tool_call> and <parameter=x> here"}),
    ("function-xml", xml("note", parameter("text", "<tool_call>")), "note", {"text": "<tool_call>"}),
    ("key-value-xml", glm("note", ("text", "</tool_call>")), "note", {"text": "</tool_call>"}),
    ("hermes", hermes('{"name": "note", "arguments": {"text": "</tool_call>"}}'), "note", {"text": "</tool_call>"}),
    ("deepseek", deepseek("note", '{"text": "<｜tool▁call▁end｜>"}'), "note", {"text": "<｜tool▁call▁end｜>"}),
    ("harmony", harmony(" to=functions.note<|channel|>commentary json", '{"text": "<|start|>assistant"}'), "note",
     {"text": "<|start|>assistant"}),
    ("lfm-2", lfm("note(text='a <|tool_call_end|> b')"), "note", {"text": "a <|tool_call_end|> b"}),
    # line breaks of either kind, and none
    ("function-xml", xml("note", "<parameter=text>\r\nhello\r\n</parameter>\r\n"), "note", {"text": "hello"}),
    ("function-xml", xml("note", "<parameter=text>hello</parameter>"), "note", {"text": "hello"}),
    ("function-xml", xml("note", "<parameter=text>\nhello</parameter>\n" + parameter("tag", "x")), "note",
     {"text": "hello", "tag": "x"}),
    ("function-xml", xml("note", parameter("text", "\n a\n\n")), "note", {"text": "\n a\n\n"}),
    ("function-xml", xml("note", parameter("text", "a\r")), "note", {"text": "a\r"}),
    ("function-xml", xml("note", parameter("text", "")), "note", {"text": ""}),
    # fences
    *((family, call, "note", {"text": f"{FENCE}json\n{{}}\n{FENCE}"}) for family, call in [
        ("deepseek", deepseek("note", f'{{"text":"{FENCE}json\\n{{}}\\n{FENCE}"}}')),
        ("deepseek", deepseek("function", f'note\n{FENCE}json\n{{"text":"{FENCE}json\\n{{}}\\n{FENCE}"}}\n{FENCE}')),
        ("function-xml", xml("note", parameter("text", f"{FENCE}json\n{{}}\n{FENCE}"))),
        ("key-value-xml", glm("note", ("text", f"{FENCE}json\n{{}}\n{FENCE}"))),
        ("lfm-2", lfm(f"note(text='{FENCE}json\n{{}}\n{FENCE}')")),
        ("gemma-4", gemma(f'note{{text:<|"|>{FENCE}json\n{{}}\n{FENCE}<|"|>}}')),
    ]),
    # arguments under the other key, and OpenAI's own form
    ("hermes", hermes('{"name": "now", "parameters": {"zone": "UTC"}}'), "now", {"zone": "UTC"}),
    ("phi-4", '<|tool_call|>[{"name": "now", "parameters": {"zone": "UTC"}}]<|/tool_call|>', "now", {"zone": "UTC"}),
    ("mistral", '[TOOL_CALLS][{"name": "now", "parameters": {"zone": "UTC"}}]', "now", {"zone": "UTC"}),
    ("llama-3", '{"name": "now", "arguments": {"zone": "UTC"}}', "now", {"zone": "UTC"}),
    ("hermes", hermes('{"type": "function", "id": "1", "function": {"name": "now", "arguments": "{}"}}'), "now", {}),
    # no arguments, said otherwise than {}
    *((family, call, "now", {}) for family, call in [
        ("hermes", hermes('{"name": "now", "arguments": null}')),
        ("hermes", hermes('{"name": "now", "arguments": ""}')),
        ("hermes", hermes('{"name": "now", "arguments": "null"}')),
        ("hermes", hermes('{"name": "now"}')),
        ("llama-3", '{"name": "now", "parameters": null}'),
        ("llama-3", '{"name": "now"}'),
        ("mistral", "[TOOL_CALLS]now[ARGS]"),
        ("mistral", "[TOOL_CALLS]now[ARGS]null"),
        ("phi-4", '<|tool_call|>[{"name": "now", "arguments": null}]<|/tool_call|>'),
        ("deepseek", deepseek("now", "")),
        ("deepseek", deepseek("function", f"now\n{FENCE}json\nnull\n{FENCE}")),
        ("gemma-4", gemma("now{}")),
        ("gemma-4", gemma("now")),
        ("lfm-2", lfm("now()")),
        ("function-xml", xml("now", "")),
        ("key-value-xml", glm("now")),
        ("harmony", harmony("<|channel|>commentary to=functions.now", "")),
        ("harmony", harmony("<|channel|>commentary to=functions.now", "null<|call|>")),
    ]),
    # recipients in either place, with and without prefix, in either channel
    *(("harmony", harmony(header, '{"a":1,"b":2}'), "add", {"a": 1, "b": 2}) for header in [
        "<|channel|>commentary to=add <|constrain|>json",
        " to=functions.add<|channel|>commentary json",
        "<|channel|>analysis to=functions.add code",
        "<|channel|>analysis to=add",
    ]),
    # quotation marks
    ("gemma-4", gemma('note{text:"New York, \\"NY\\""}'), "note", {"text": 'New York, "NY"'}),
    ("gemma-4", gemma('note{"text":<|"|>a "b<|"|>}'), "note", {"text": 'a "b'}),
    ("lfm-2", lfm("note(text='it\\'s')"), "note", {"text": "it's"}),
    ("lfm-2", lfm("note(text='it's')"), "note", {"text": "it's"}),
    ("lfm-2", lfm('note(text="it\'s", tag="a\\u00e9")'), "note", {"text": "it's", "tag": "aé"}),
]  # fmt: skip


@pytest.mark.parametrize(("family", "text", "name", "arguments"), READ)
def test_read_as_written(family: str, text: str, name: str, arguments: dict[str, Any]):
    message = read(family, text)
    assert [(call.state, call.name, call.arguments) for call in calls(message)] == [(CallState.VALID, name, arguments)]
    assert message.content == ""


REFUSED = [
    # a closing tag is missing, and what follows is swallowed
    ("function-xml", xml("note", "<parameter=text>\nhello\n" + parameter("tag", "x"))),
    ("function-xml", xml("note", "<parameter=text>\nhello\n  " + parameter("tag", "x"))),
    ("function-xml", xml("note", "<parameter=text>hello" + parameter("tag", "x"))),
    ("function-xml", xml("note", "<parameter=text>\nhello\n") + "\n" + xml("note", parameter("text", "world"))),
    ("function-xml", xml("note", "<parameter=text>\nhello\n</parameter></parameter>\n")),
    ("function-xml", xml("note", parameter("text", "a") + "and more\n")),
    ("function-xml", xml("note", parameter("text", "a") + "and more\n" + parameter("tag", "b"))),
    ("function-xml", "<tool_call>\n<function=note\n" + parameter("text", "a") + "</function>\n</tool_call>"),
    ("function-xml", xml("note", "<parameter=text\nhello\n</parameter>\n")),
    ("function-xml", "<tool_call>\n<function=now>\n</tool_call>"),
    ("function-xml", "<tool_call>\n<function=now>\n</function>"),
    ("function-xml", xml("note", parameter("text", "a") * 2)),
    ("key-value-xml", "<tool_call>note\n<arg_key>text</arg_key>\n<arg_value>a\n<arg_key>tag</arg_key>\n"
     "<arg_value>b</arg_value>\n</tool_call>"),
    ("key-value-xml", "<tool_call>note\n<arg_key>text</arg_key>\n<arg_value>a\n</tool_call>\n"
     + glm("note", ("text", "b"))),
    ("key-value-xml", "<tool_call>note\n<arg_key>text\n<arg_value>a</arg_value>\n</tool_call>"),
    ("key-value-xml", "<tool_call>note and more</tool_call>"),
    ("mistral", '[TOOL_CALLS]note{"text": "a"}[TOOL_CALLS]note[ARGS]{"text": "b"}'),
    ("deepseek", deepseek("note", '{"text": "a"} and more')),
    ("gemma-4", gemma('note{text:<|"|>a,tag:<|"|>b<|"|>}')),
    ("gemma-4", gemma('note{text:"a}')),
    ("gemma-4", gemma("note{text:New York}")),
    ("lfm-2", lfm("note(text='a, tag='b')")),
    ("lfm-2", lfm("note(text='a)")),
    ("lfm-2", lfm("note('a')")),
    ("lfm-2", lfm("note(text='a', text='b')")),
    # arguments that would be dropped
    ("hermes", hermes('{"name": "now", "args": {"zone": "UTC"}}')),
    ("hermes", hermes('{"name": "now", "zone": "UTC"}')),
    ("hermes", hermes('{"name": "now", "arguments": {}, "parameters": {"zone": "UTC"}}')),
    ("hermes", hermes('{"function": {"name": "now"}, "arguments": {"zone": "UTC"}}')),
    ("llama-3", '{"name": "now", "input": {"zone": "UTC"}}'),
    ("mistral", '[TOOL_CALLS][{"name": "now", "args": {"zone": "UTC"}}]'),
    # none where the tool needs some
    ("hermes", hermes('{"name": "add", "arguments": null}')),
    ("harmony", harmony("<|channel|>commentary to=functions.add", "")),
    ("mistral", "[TOOL_CALLS]add[ARGS]"),
    # half quoted, cut off, and numbers that are none
    ("hermes", hermes('{"name": "note", "arguments": {"text": "a}}')),
    ("hermes", hermes("{'name': 'note', 'arguments': {'text': 'a'}}")),
    ("hermes", hermes('{"name": "add", "arguments": {"a": NaN, "b": 1}}')),
    ("function-xml", xml("add", parameter("a", "NaN") + parameter("b", "1"))),
    ("function-xml", xml("add", parameter("a", "9" * 5000) + parameter("b", "1"))),
    ("gemma-4", gemma("add{a:Infinity,b:1}")),
    ("lfm-2", lfm("add(a=nan, b=1)")),
    # recipients that are no tools
    ("harmony", harmony("<|channel|>commentary to=python code", "print(1)")),
    ("harmony", harmony("<|channel|>analysis to=python code", "print(1)")),
    ("harmony", harmony("<|channel|>commentary to=functions.add", '{"a": 1, "b": 2} so')),
    ("harmony", '<|channel|>analysis<|message|>Hm.<|end|><|channel|>commentary to=functions.now<|message|>{}'),
    ("harmony", "<|channel|>commentary to=functions.add"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "text"), REFUSED)
def test_never_run_and_never_an_answer(family: str, text: str):
    message = read(family, text)
    assert message.tool_calls
    for call in calls(message):
        assert call.state in (CallState.MALFORMED, CallState.INVALID_ARGUMENTS, CallState.UNKNOWN_TOOL)
        assert call.error
    assert message.content == ""


#: In each family of `ANY`, or in all.
ATTEMPTS = [
    ("function-xml", "<function=now>\n</function>\n</tool_call>"),
    ("function-xml", "<parameter=text>\na\n</parameter>"),
    ("hermes", '{"name": "now", "arguments": {}}\n</tool_call>'),
    ("hermes", '{"name": "nowhere", "arguments": {}}\n</tool_call>'),
    ("key-value-xml", "<arg_key>text</arg_key>\n<arg_value>a</arg_value>\n</tool_call>"),
    ("mistral", 'note[ARGS]{"text": "a"}'),
    ("llama-3", '<|python_tag|>now.call(zone="UTC")'),
    ("deepseek", '<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜>'),
    ("harmony", '<|channel|>final<|message|>to=functions.now {}'),
    *((family, text) for family in FAMILIES for text in (
        '{"name": "add", "arguments": {"a": 1, "b": 2}}',
        '{"arguments": {"a": 1, "b": 2}, "name": "add"}',
        '[{"name": "add", "parameters": {"a": 1, "b": 2}}]',
        '{"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}',
        '{"name": "add", "arguments": {"a": 1, "b',
        f'{FENCE}json\n{{"name": "add", "arguments": {{"a": 1, "b": 2}}}}\n{FENCE}',
        "[add(a=1, b=2)]",
        "now()",
        xml("unheard", ""),
        lfm("add(a=1"),
        "<|tool_call>call:add{a:1",
        f"{FENCE}tool_call\nnow\n{FENCE}",
    )),
]  # fmt: skip


@pytest.mark.parametrize(("family", "text"), ATTEMPTS)
def test_attempts_are_seen(family: str, text: str):
    message = read(family, text)
    assert [call.state for call in calls(message)][:1] != []
    assert "add" not in message.content
    assert "now" not in message.content
    if family != "harmony" and not text.startswith(("now", "[add", f"{FENCE}json")):
        message = read(family, f"I look it up.\n\n{text}")
        assert message.tool_calls
        assert message.content == "I look it up."


WORDS = [
    "I use add and now() to find out.",
    "The tool `add` takes a and b.",
    "A call looks like `<tool_call>`, and ends with `</tool_call>`.",
    "Write `[TOOL_CALLS]` or `<|tool_call|>` before it, or `to=functions.now`.",
    '{"answer": 3}',
    '{"name": "Bob", "age": 3}',
    '[{"name": "Bob"}, {"name": "Eve"}]',
    f'{FENCE}json\n{{"name": "Bob", "parameters": {{}}}}\n{FENCE}',
    f'So:\n{FENCE}json\n{{"name": "add", "arguments": {{"a": 1}}}}\n{FENCE}\nis how calls look. \\boxed{{3}}',
    'It was {"name": "add", "arguments": {"a": 1, "b": 2}} that I tried.',
    "\\boxed{x < 3}",
    "if a < b and b > c: <b>bold</b>",
    "\\boxed{[1, 2]}",
    "[add, now]",
    "usage: prog [ARGS] {file}",
    "add(1, 2) is 3",
    "<answer>3</answer>",
    f"{FENCE}python\nadd(a=1, b=2)\n{FENCE}",
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", WORDS)
def test_words_stay_words(family: str, text: str):
    message = read(family, f"<|channel|>final<|message|>{text}" if family == "harmony" else text)
    assert message.tool_calls == ()
    assert message.content == text


def test_a_tools_own_schema_is_words():
    schema = '{"name": "add", "description": "Adds.", "parameters": {"type": "object"}}'
    for family in sorted({*FAMILIES} - {"llama-3"}):
        assert read(family, schema).content == schema


def test_without_tools_json_is_words():
    for family in sorted({*FAMILIES} - {"llama-3"}):
        text = '{"name": "add", "arguments": {"a": 1, "b": 2}}'
        assert read(family, text, {}).content == text


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stray_closing_mark_behind_a_call_is_no_call(family: str):
    good = {"hermes": hermes('{"name": "now"}'), "function-xml": xml("now", ""), "key-value-xml": glm("now")}
    if family in good:
        message = read(family, good[family] + "\n</tool_call>")
        assert [call.state for call in calls(message)] == [CallState.VALID]
