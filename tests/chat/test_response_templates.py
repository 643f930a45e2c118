"""A tokenizer's own response template: where it is used, and that nothing which it leaves out is run."""

from __future__ import annotations

from typing import Any

import pytest
from chat_tokenizers import HERMES, make_tokenizer

from mentor_kit.chat import ChatFormat, HermesParser, ResponseTemplateParser, TransformersTokenizer
from mentor_kit.core.conversation import CallState, assistant, call, user
from mentor_kit.core.errors import ChatError
from mentor_kit.core.tool import Tool

TOOLS = {
    "note": Tool.declared(
        "note", "", {"type": "object", "properties": {"text": {"type": "string"}, "on": {"type": "boolean"}}}
    )
}
#: A family that nobody knows: `<do note><arg text>…</arg></do>`.
TAGGED = HERMES.replace(
    HERMES[HERMES.index("{{- '<tool_call>\\n{") : HERMES.index("{%- endfor %}\n        {{- '<|im_end|>")],
    "{{- '<do=' + call.function.name + '>' }}{% for k, v in call.function.arguments | items %}"
    "{{- '<arg=' + k + '>' + v | string + '</arg>' }}{% endfor %}{{- '</do>' }}",
)
READS: dict[str, Any] = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "tool_calls": {
            "open_pattern": r"<do=(?P<name>\w+)>",
            "close": "</do>",
            "repeats": True,
            "content": "xml-inline",
            "content_args": {
                "tag_pattern": r"<arg=(?P<key>\w+)>(?P<value>.*?)</arg>",
                "value_parser": {"name": "json", "args": {"allow_non_json": True}},
            },
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
        },
        "content": {"content": "text"},
    },
}


def form(template: str, responses: dict[str, Any] | None) -> ChatFormat:
    options = {} if responses is None else {"response_template": responses}
    return ChatFormat(TransformersTokenizer(make_tokenizer(template, **options), name="test"))


CHAT = form(TAGGED, READS)


def test_it_is_used_where_no_family_reads():
    assert TAGGED != HERMES
    assert isinstance(CHAT.parser, ResponseTemplateParser)
    assert isinstance(form(HERMES, READS).parser, HermesParser)
    said = assistant(calls=[call("note", text="a b", on=True), call("note", text="c")])
    heard = CHAT.parse(CHAT.render_turn(said, TOOLS), TOOLS)
    assert [(made.name, made.arguments) for made in heard.tool_calls] == [
        ("note", {"text": "a b", "on": True}),
        ("note", {"text": "c"}),
    ]


@pytest.mark.parametrize("responses", [None, {**READS, "fields": {"content": {"content": "text"}}}])
def test_one_that_does_not_read_its_calls_is_not_used_and_the_message_is_true(responses: dict[str, Any] | None):
    chat = form(TAGGED, responses)
    assert not isinstance(chat.parser, ResponseTemplateParser)
    with pytest.raises(ChatError) as caught:
        chat.open([user("Q")], TOOLS)
    assert ("is missing" in caught.value.message) == (responses is None)
    assert ("does not read them back" in caught.value.message) == (responses is not None)


@pytest.mark.parametrize(
    "text",
    [
        "<do=note><arg=text>hello<arg=on>true</arg></do>",
        "<do=note><arg=text>hello</do>",
        "<do=note><arg=text>hello</do><do=note><arg=text>b</arg></do>",
        "<do=note><arg=text>hello</arg>",
        "<do=note><arg=text>hello</arg></arg></do>",
        "<do=note><arg=text>hello</arg></do></do>",
        "<arg=text>hello</arg></do>",
        "<do=note><do=note><arg=text>hello</arg></do>",
        "<do=note><arg=text>a <do=note> b</arg></do>",
    ],
)
def test_what_it_leaves_out_or_swallows_is_malformed(text: str):
    made = CHAT.parse(CHAT.tokenizer.encode(text), TOOLS).tool_calls
    assert made
    assert {one.state for one in made} == {CallState.MALFORMED}
