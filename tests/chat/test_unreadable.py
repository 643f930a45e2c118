"""Turns with calls that could not be read are written again: what a student wrote as it was, a server's in its form."""

from __future__ import annotations

import json

import pytest
from chat_tokenizers import HERMES, make_format
from family_formats import make

from mentor_kit.chat import ChatFormat
from mentor_kit.chat.calls import call_of, malformed
from mentor_kit.core.conversation import CallState, Message, ToolCall, assistant
from mentor_kit.core.errors import ChatError

#: A template of each family, and how the family writes a call around arguments that are no JSON, by its published form.
WRITTEN = {
    "smollm": '<tool_call>\n{"name": "double", "arguments": ARGUMENTS}\n</tool_call>',
    "qwen3_instruct_2507": '<tool_call>\n{"name": "double", "arguments": ARGUMENTS}\n</tool_call>',
    "qwen3_6": "<tool_call>\n<function=double>\nARGUMENTS</function>\n</tool_call>",
    "llama3_1": '{"name": "double", "parameters": ARGUMENTS}',
    "glm4moe": "<tool_call>double\nARGUMENTS</tool_call>",
    "mistral_v11": '[TOOL_CALLS][{"name": "double", "arguments": ARGUMENTS}]',
    "deepseek_v3_1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>double<｜tool▁sep｜>ARGUMENTS"
    "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "gemma4_v5": "<|tool_call>call:doubleARGUMENTS<tool_call|>",
    "lfm2_2_5": "<|tool_call_start|>[double(ARGUMENTS)]<|tool_call_end|>",
    "phi_4_mini": '<|tool_call|>[{"name": "double", "arguments": ARGUMENTS}]<|/tool_call|>',
    "gptoss": "<|start|>assistant to=functions.double<|channel|>commentary json<|message|>ARGUMENTS",
}
#: What servers passed on as a call's arguments.
ARGUMENTS = [
    '{"x": 2 "y"}',
    '{"x": ',
    "[1, 2]",
    "two",
    '{"x": 1, "x": 2}',
    '{"x": NaN}',
    '"',
    '{"x": 1}}',
    "5",
    '{"x": "é\n"}',
]
#: Families of which one turn may have a call behind one that cannot be read.
SEVERAL = sorted(WRITTEN.keys() - {"llama3_1", "mistral_v11"})


def of_server(arguments: str, name: str = "double") -> ToolCall:
    """A call as an OpenAI-compatible server gives it: its text is the arguments' alone."""
    return call_of({"name": name, "arguments": arguments}, arguments)


def said(chat: ChatFormat, turn: Message) -> tuple[str, Message]:
    ids = chat.render_turn(turn)
    return chat.tokenizer.decode(ids), chat.parse(ids)


def states(message: Message) -> list[CallState]:
    return [call.state for call in message.tool_calls]


@pytest.mark.parametrize("arguments", ARGUMENTS)
@pytest.mark.parametrize("template", WRITTEN)
def test_a_servers_call_is_written_in_the_familys_form(template: str, arguments: str) -> None:
    turn = assistant(calls=[of_server(arguments)])
    assert states(turn) == [CallState.MALFORMED]
    text, heard = said(make(template), turn)
    assert WRITTEN[template].replace("ARGUMENTS", arguments).strip() in text
    assert states(heard) == [CallState.MALFORMED]
    assert heard.content == ""
    assert arguments.strip() in heard.tool_calls[0].raw


@pytest.mark.parametrize("template", WRITTEN)
def test_what_a_student_wrote_is_written_as_it_was(template: str) -> None:
    chat = make(template)
    whole = WRITTEN[template].replace("ARGUMENTS", '{"x": 2 "y"}')
    _, read = said(chat, assistant(calls=[of_server('{"x": 2 "y"}')]))
    for length in (len(whole), len(whole) - 1, len(whole) - 4):
        written = whole[:length].strip()
        call = malformed(written, "cut", "double")
        text, heard = said(chat, read.model_copy(update={"tool_calls": (call,)}))
        assert text.count(written) == 1
        assert text.count("double") == 1
        assert states(heard) == [CallState.MALFORMED]


def test_what_comes_after_the_prompts_mark_gets_the_mark_that_messages_have() -> None:
    chat = make("gptoss")
    first = " to=functions.double<|channel|>commentary json<|message|>{"
    read = chat.parse(chat.tokenizer.encode(first))
    assert states(read) == [CallState.MALFORMED]
    text, heard = said(chat, read)
    assert "<|start|>assistant" + first in text
    assert states(heard) == [CallState.MALFORMED]
    assert heard.tool_calls[0].name == "double"


@pytest.mark.parametrize("template", SEVERAL)
def test_calls_beside_one_that_cannot_be_read_keep_their_place(template: str) -> None:
    chat = make(template)
    good, bad = of_server(json.dumps({"x": 2})), of_server('{"x": 2 "y"}')
    for calls in ([good, bad], [bad, good], [bad, bad], [good, bad, good], [bad, of_server("{", "other")]):
        _, heard = said(chat, assistant(calls=calls))
        assert states(heard) == [call.state for call in calls]
        for call, other in zip(calls, heard.tool_calls, strict=True):
            assert call.state is CallState.MALFORMED or (call.name, call.arguments) == (other.name, other.arguments)


@pytest.mark.parametrize("template", sorted(WRITTEN.keys() - {"llama3_1"}))
def test_words_and_reasoning_stay(template: str) -> None:
    turn = assistant("Let me see.", reasoning="Twice two.", calls=[of_server('{"x": 2 "y"}')])
    _, heard = said(make(template), turn)
    assert (heard.content, heard.reasoning, states(heard)) == ("Let me see.", "Twice two.", [CallState.MALFORMED])


def test_a_call_without_a_name_is_written_too() -> None:
    for template in WRITTEN:
        _, heard = said(make(template), assistant(calls=[malformed('{"id": "c"}', "the name is missing")]))
        assert states(heard) == [CallState.MALFORMED], template


def test_what_the_family_cannot_say_is_refused() -> None:
    bad = of_server('{"x": 2 "y"}')
    for template in ("llama3_1", "mistral_v11"):  # nothing ends the first call
        with pytest.raises(ChatError, match="tool calls"):
            make(template).render_turn(assistant(calls=[bad, of_server("{")]))
    chat = make_format(HERMES)
    with pytest.raises(ChatError, match="not known"):
        chat.render_turn(assistant(calls=[bad, ToolCall(name="double", state=CallState.MALFORMED)]))
    with pytest.raises(ChatError, match="tool calls"):  # a turn ends there
        chat.render_turn(assistant(calls=[of_server("a<|im_end|>b")]))
