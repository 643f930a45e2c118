import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.chat.calls import MAX_DEPTH
from mentor_kit.chat.parsing import MAX_CALLS, BareJsonParser, HermesParser, ResponseTemplateParser
from mentor_kit.core.conversation import CallState, Message

VALID = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2.5}}\n</tool_call>'


def parse(text: str, **options: bool) -> Message:
    return HermesParser(**options).parse(text)


def states(message: Message) -> list[str]:
    return [call.state.value for call in message.tool_calls]


def block(body: str) -> str:
    return f"<tool_call>\n{body}\n</tool_call>"


def test_a_turn_with_reasoning_words_and_two_calls():
    message = parse(f"<think>\nfirst add\n</think>\n\nLet me see.\n{VALID}\n{VALID}")
    assert message.reasoning == "first add"
    assert message.content == "Let me see."
    assert [(c.name, c.arguments, c.state) for c in message.tool_calls] == [
        ("add", {"a": 1, "b": 2.5}, CallState.PARSED)
    ] * 2
    assert message.tool_calls[0].raw == VALID


def test_a_plain_answer():
    assert parse("  It is 3.\n") == Message(role="assistant", content="It is 3.")


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ('{"name": "add", "arguments": "{\\"a\\": 1}"}', {"a": 1}),
        ('{"name": "add"}', {}),
        ('{"arguments": {"a": "</tool_call>"}, "name": "add"}', {"a": "</tool_call>"}),
        ('{"name": "add", "arguments": {"a": "<tool_call>"}}', {"a": "<tool_call>"}),
        ('{"name": "add", "arguments": {"a": "</think><think>"}}', {"a": "</think><think>"}),
        ('{"name": "add", "arguments": {"a": "\\ud83d\\ude00"}}', {"a": "😀"}),
        ('{"name": "add", "arguments": {"a": null, "ä": [1, {"b": []}]}}', {"a": None, "ä": [1, {"b": []}]}),
    ],
)
def test_forms_of_a_call_that_can_be_read(body, arguments):
    message = parse(f"Now: {block(body)} Done.")
    assert states(message) == ["parsed"]
    assert message.tool_calls[0].name == "add"
    assert message.tool_calls[0].arguments == arguments
    assert message.content == "Now:\nDone."


@pytest.mark.parametrize(
    ("body", "reason", "name"),
    [
        ('{"name": "add", "arguments": {"a": 1', "not valid JSON", "add"),
        ('{"arguments": {"a": 1}}', "the name is missing", ""),
        ('{"name": 7, "arguments": {}}', "the name is not a text", ""),
        ('{"name": "", "arguments": {}}', "the name is not a text", ""),
        ('{"name": "add", "arguments": [1, 2]}', "not a JSON object", "add"),
        ('{"name": "add", "arguments": null}', "not a JSON object", "add"),
        ('{"name": "add", "arguments": "[1]"}', "not a JSON object", "add"),
        ('{"name": "add", "arguments": "{} x"}', "text follows", "add"),
        ('{"name": "add", "arguments": {"a": 1, "a": 2}}', "'a' is given twice", "add"),
        ('{"name": "add", "name": "sub", "arguments": {}}', "'name' is given twice", "add"),
        ('{"name": "add", "arguments": {"a": NaN}}', "NaN", "add"),
        ('{"name": "add", "arguments": {"a": -Infinity}}', "Infinity", "add"),
        ('{"name": "add", "arguments": {"a": 1e999}}', "too large", "add"),
        ('{"name": "add", "arguments": {"a": ' + "9" * 5000 + "}}", "too many digits", "add"),
        ('{"name": "add", "arguments": {"a": "\\ud800"}}', "surrogate", "add"),
        ('{"name": "add", "arguments": {"\\udfff": 1}}', "surrogate", "add"),
        ('{"name": "add", "arguments": {"a": ' + "[" * 40 + "]" * 40 + "}}", "nested deeper", "add"),
        ('{"name": "add", "arguments": {"a": ' + "[" * 5000 + "]" * 5000 + "}}", "nested deeper", "add"),
        ('{"name": "' + "x" * 200 + '", "arguments": {}}', "longer than 128", ""),
        ('{"name": "add", "arguments": {}} and more', "text follows", "add"),
        ('[{"name": "add", "arguments": {}}]', "a JSON object with name", "add"),
        ("add(1, 2)", "not valid JSON", ""),
        ("", "not valid JSON", ""),
    ],
)
def test_forms_that_cannot_be_read(body, reason, name):
    message = parse(f"Now: {block(body)} Done.")
    assert states(message) == ["malformed"]
    (call,) = message.tool_calls
    assert reason in call.error
    assert "\n" not in call.error
    assert call.name == name
    assert call.raw == block(body)
    assert call.arguments == {}
    assert message.content == "Now:\nDone."
    Message.from_json(message.to_json())


def test_nesting_up_to_the_limit_is_read():
    depth = MAX_DEPTH - 2  # the call's object and its arguments are two levels
    assert states(parse(block('{"name": "f", "arguments": {"a": ' + "[" * depth + "]" * depth + "}}"))) == ["parsed"]
    depth += 1
    assert states(parse(block('{"name": "f", "arguments": {"a": ' + "[" * depth + "]" * depth + "}}"))) == ["malformed"]


def test_a_block_that_is_not_closed_is_malformed_even_when_its_json_is_whole():
    message = parse('So\n<tool_call>\n{"name": "add", "arguments": {}}\n')
    assert states(message) == ["malformed"]
    assert "</tool_call> is missing" in message.tool_calls[0].error
    assert message.content == "So"


def test_a_call_inside_a_call_is_one_malformed_call():
    message = parse('<tool_call>\n<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>\n</tool_call>')
    assert states(message) == ["malformed"]
    assert "inside a call" in message.tool_calls[0].error


@pytest.mark.parametrize(
    "text",
    [
        f"<think>{VALID}</think>3",
        f"<think>{VALID}",
        f"3<think>\n{VALID}\n</think>",
        f"3\n<think>hm</think><think>{VALID}",
    ],
)
def test_calls_in_reasoning_are_no_calls(text):
    message = parse(text)
    assert message.tool_calls == ()
    assert "<tool_call>" in message.reasoning
    assert "<tool_call>" not in message.content


def test_reasoning_that_the_prompt_has_opened():
    assert parse(f"I add {VALID}", in_reasoning=True).tool_calls == ()
    message = parse(f"I add\n</think>\n\n{VALID}", in_reasoning=True)
    assert message.reasoning == "I add"
    assert states(message) == ["parsed"]


def test_a_flood_of_calls_is_bounded():
    message = parse(VALID * 5000)
    assert states(message) == ["parsed"] * MAX_CALLS + ["malformed"]


SIZE = 100_000


@pytest.mark.parametrize(
    "unit",
    [
        "<tool_call>", "</tool_call>", "<think>", "</think>", "<tool_call>[", '<tool_call>{"', '<tool_call>{"name": "',
        "<tool_call></tool_call>", '"name"', "[", '{"a":', "\\", '"', " ", "<", "<tool_call>\n", "<tool_call>1e9", "9",
        '<tool_call>["","', '<tool_call>"\\"', VALID, VALID[:-1],
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "start",
    ["", "<tool_call>", '<tool_call>{"name": "', '<tool_call>{"name":"f","arguments":{"a":"', "<think>", '{"name'],
)
def test_hostile_texts_take_little_time(unit, start):
    text = start + unit * (SIZE // len(unit))
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        parse(text)
        BareJsonParser().parse(text)
        best = min(best, time.process_time() - began)
        if best < 0.05:
            break
    assert best < 0.1  # both parsers: 50 ms each


TAGS = ["<think>", "</think>", "<tool_call>", "</tool_call>", VALID]
JSON = ['{"name": ', '"add"', ', "arguments": {', "}", "]", "[", '"', "\\", "\\u", "\\ud800", "1e999", "NaN", "-", "0"]
FRAGMENTS = st.sampled_from([*TAGS, *JSON, "\ud800", "\x00", "\n", " ", "é", "😀", "<|im_end|>"])
HOSTILE = st.one_of(st.text(st.characters(codec=None), max_size=200), st.lists(FRAGMENTS, max_size=30).map("".join))


@given(HOSTILE, st.booleans())
def test_nothing_makes_a_parser_raise(text, in_reasoning):
    for parser in (HermesParser(in_reasoning), BareJsonParser(in_reasoning)):
        message = parser.parse(text)
        assert message.role == "assistant"
        assert {call.state for call in message.tool_calls} <= {CallState.PARSED, CallState.MALFORMED}
        assert Message.from_json(message.to_json()) == message


@given(st.data())
def test_a_mutated_call_never_raises_and_is_read_only_as_strict_json(data):
    place = data.draw(st.integers(0, len(VALID)))
    length = data.draw(st.integers(0, 5))
    text = VALID[:place] + data.draw(st.one_of(FRAGMENTS, st.text(max_size=3))) + VALID[place + length :]
    for call in parse(text).tool_calls:
        if call.state is CallState.PARSED:
            inner = call.raw.removeprefix("<tool_call>").removesuffix("</tool_call>")
            value = json.loads(inner)
            arguments = value.get("arguments", {})
            assert (call.name, call.arguments) == (
                value["name"],
                json.loads(arguments) if isinstance(arguments, str) else arguments,
            )
        else:
            assert call.error.startswith("malformed call: ")


@pytest.mark.parametrize(
    ("text", "name", "state"),
    [
        ('{"name": "add", "parameters": {"a": 1}}', "add", "parsed"),
        ('<|python_tag|>{"name": "add", "arguments": {"a": 1}}', "add", "parsed"),
        ('{"type": "function", "name": "add", "parameters": {"a": 1}}', "add", "parsed"),
        ('{"name": "add", "parameters": {"a": 1}', "add", "malformed"),
        ('{"name": "add", "parameters": {"a": 1}} done', "add", "malformed"),
        ('{"name": 3, "parameters": {}}', "", "malformed"),
    ],
)
def test_bare_json_calls(text, name, state):
    message = BareJsonParser().parse(text)
    assert states(message) == [state]
    assert message.tool_calls[0].name == name
    assert message.content == ""


@pytest.mark.parametrize("text", ['{"answer": 3}', "It is {3}.", 'Call {"name": "add", "parameters": {}}', "{"])
def test_other_json_is_content(text):
    assert BareJsonParser().parse(text) == Message(role="assistant", content=text)


class Scripted:
    """A tokenizer whose response template gives what it is told."""

    def __init__(self, result):
        self.result = result

    def parse_response(self, text, prefix):
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


def function(name, arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def test_a_response_template_gives_a_message():
    parsed = {
        "role": "assistant",
        "content": " So ",
        "reasoning_content": "hm\n",
        "tool_calls": [function("add", {"a": 1})],
    }
    message = ResponseTemplateParser(Scripted(parsed)).parse("…")
    assert (message.content, message.reasoning, message.tool_calls[0].arguments) == ("So", "hm", {"a": 1})
    assert states(message) == ["parsed"]


@pytest.mark.parametrize(
    "result",
    [ValueError("bad\nJSON"), RecursionError(), KeyError("\ud800"), None, "text",
     {"content": 7},
     {"tool_calls": {"a": 1}},
     {"tool_calls": [7]}, {"tool_calls": [function(None, {})]}, {"tool_calls": [function("add", float("nan"))]},
     {"tool_calls": [function("add", {"a": float("inf")})]}, {"tool_calls": [function("add", {"a": "\ud800"})]},
     {"tool_calls": [function("add", {"a": object()})]}],
)  # fmt: skip
def test_what_a_response_template_cannot_read_is_malformed(result):
    message = ResponseTemplateParser(Scripted(result)).parse("the text")
    assert states(message) == ["malformed"]
    assert message.tool_calls[0].raw == "the text"
    Message.from_json(message.to_json())
