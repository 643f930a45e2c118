"""Every family with its real template: parsers found, deltas equal to the whole, calls read back, hostile text."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from copy import copy
from itertools import chain, pairwise
from typing import Any

import own_tokenizers
import pytest
from family_formats import OWN, PUBLISHED, SAMPLES, Sample, format_of, make, template_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mentor_kit.chat import ChatFormat, TransformersTokenizer
from mentor_kit.chat.families import Family
from mentor_kit.chat.families import families as known_families
from mentor_kit.chat.parsing import parse
from mentor_kit.core.conversation import (
    CallState,
    Message,
    ToolCall,
    ToolResult,
    assistant,
    call,
    system,
    tool_result,
    user,
)
from mentor_kit.core.errors import ChatError
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import FunctionTools
from mentor_kit.rollout import cut_by_characters, run_call

#: All of them, and in slow checks with the families' own tokenizers.
EVERY = [
    *(pytest.param(sample, id=sample.name) for sample in SAMPLES),
    *(pytest.param(sample, id=sample.name, marks=pytest.mark.slow) for sample in OWN),
]
#: One template for each way of writing calls.
KINDS = {sample.family: sample for sample in reversed(SAMPLES)}
#: The same, and in slow checks one for each of the families' own tokenizers.
KINDS_AND_OWN = [
    *(pytest.param(sample, id=kind) for kind, sample in KINDS.items()),
    *(
        pytest.param(sample, id=sample.name, marks=pytest.mark.slow)
        for sample in {sample.tokenizer: sample for sample in OWN if sample.tokenizer}.values()
    ),
]


def divide(a: float, b: float) -> float:
    """Divide two numbers.

    Args:
        a: the first.
        b: the second.
    """
    return a / b


def note(text: str, tags: list[str]) -> str:
    """Note something.

    Args:
        text: what.
        tags: how to find it.
    """
    return "noted"


TOOLS = {"divide": Tool.from_function(divide), "note": Tool.from_function(note)}


@pytest.mark.parametrize("sample", EVERY)
def test_the_parser_is_found_by_the_template_alone(sample: Sample):
    family = next(found for found in known_families() if found.name == sample.family)
    chat = format_of(sample.name)
    assert chat.parser in (family.parser(False), family.parser(True))


def result(content: str) -> Message:
    return tool_result(ToolResult(name="divide", content=content))


def whole(sample: Sample, forms: list[dict[str, Any]], *, prompt: bool) -> str:
    """The family's own rendering of a whole dialogue."""
    tokenizer: Any = format_of(sample.name).tokenizer
    return str(
        tokenizer.inner.apply_chat_template(
            forms,
            tools=[tool.schema for tool in TOOLS.values()],
            add_generation_prompt=prompt,
            tokenize=False,
            chat_template=tokenizer.inner.chat_template.replace('strftime_now("%Y-%m-%d")', "'2024-07-26'"),
            date_string="26 Jul 2024",
            **sample.variables,
        )
    )


FORMS: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How much is 5 / 2?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"type": "function", "id": "c00000000", "function": {"name": "divide", "arguments": {"a": 5, "b": 2}}}
        ],
    },
    {"role": "tool", "name": "divide", "tool_call_id": "c00000000", "content": "2.5"},
    {"role": "assistant", "content": "It is 2.5."},
    {"role": "user", "content": "Thanks."},
]
#: Templates that show what was said otherwise once a result is there: without empty reasoning, or without the system's
#: words (Mistral).
CHANGING_AT_ONCE = {
    "qwen3",
    "qwen3-enable_thinking=False",
    "nemotron_3_nano",
    "nemotron_3_super",
    "nemotron_3_ultra",
    "nemotron_3_5_lightning",
    "mistral_v3",
}
#: Those that do so when the user speaks again, above all by leaving out reasoning, or by moving the tools down.
CHANGING_LATER = {"qwen3_5_think", "qwen3_5_nothink", "qwen3_6", "qwen3_6-enable_thinking=False", "gptoss"}
CHANGING_LATER |= {*own_tokenizers.TEMPLATES} - {"mistral_v13_tekken"}


def keeps(sample: Sample, end: int) -> bool:
    """Whether the first `end` messages start with each earlier state, by the family's own rendering alone."""
    states = [(2, True), (3, False), (4, True), (5, False), (6, True)]
    texts = [whole(sample, FORMS[:count], prompt=prompt) for count, prompt in states if count <= end]
    return all(later.startswith(state) for state, later in pairwise(texts))


def pieces(sample: Sample) -> list[list[int]]:
    """The same dialogue, piece by piece."""
    chat = format_of(sample.name)
    return [
        chat.open([system("Be brief."), user("How much is 5 / 2?")], TOOLS),
        chat.render_turn(assistant(calls=[call("divide", a=5, b=2)])),
        chat.bridge([result("2.5")], tools=TOOLS),
        chat.render_turn(assistant("It is 2.5.")),
    ]


@pytest.mark.parametrize("sample", EVERY)
def test_deltas_make_the_whole_where_the_template_keeps_what_was_said(sample: Sample):
    chat = format_of(sample.name)
    made = pieces(sample)
    assert made[0] == chat.tokenizer.encode(whole(sample, FORMS[:2], prompt=True))
    assert keeps(sample, 4) == (sample.kind not in CHANGING_AT_ONCE)
    assert keeps(sample, 6) == (sample.kind not in CHANGING_AT_ONCE | CHANGING_LATER)
    if keeps(sample, 4):
        assert chat.tokenizer.decode([*chain(*made[:3])]) == whole(sample, FORMS[:4], prompt=True)
    if keeps(sample, 6):
        ids = [*chain(*made, chat.bridge([user("Thanks.")], tools=TOOLS))]
        assert chat.tokenizer.decode(ids) == whole(sample, FORMS, prompt=True)
        if not chat.tokenizer.decode(made[0]).endswith("<think>\n"):
            # there the prompt's newline and the turn's first would become one token of the whole
            assert ids == chat.tokenizer.encode(whole(sample, FORMS, prompt=True))


@pytest.mark.parametrize("sample", EVERY)
def test_turns_are_read_back(sample: Sample):
    chat = format_of(sample.name)
    one = call("divide", a=1.5, b=-2)
    turns = [assistant("Hello."), assistant(calls=[one])]
    turns += [assistant(calls=[one, call("note", text="a b", tags=["x"])])] if sample.several else []
    turns += [assistant("I divide.", calls=[one])] if sample.words else []
    turns += (
        [assistant("So.", reasoning="Hm, hm."), assistant(reasoning="Hm.", calls=[one])] if can_think(sample) else []
    )
    for turn in turns:
        ids = chat.render_turn(turn)
        assert ids[-1] in chat.stop_ids
        assert sum(token in chat.stop_ids for token in ids) == 1
        heard = chat.parse(ids)
        assert (heard.content, heard.reasoning) == (turn.content, turn.reasoning)
        assert [(c.name, c.arguments, c.state) for c in heard.tool_calls] == [
            (c.name, c.arguments, CallState.PARSED) for c in turn.tool_calls
        ]


def can_think(sample: Sample) -> bool:
    """All but templates whose prompt closes the reasoning at once."""
    return (
        sample.variables.get("enable_thinking", True) and "nothink" not in sample.name and sample.family != "deepseek"
    )


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
#: Texts that no family takes for anything else.
WORDS = st.lists(st.from_regex(r"[A-Za-zäöü]{1,8}", fullmatch=True), min_size=2, max_size=4).map(" ".join)
NUMBERS = st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3))
SIMPLE = st.dictionaries(NAMES, WORDS | NUMBERS, min_size=1, max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
QUICK = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("sample", KINDS_AND_OWN)
def test_arguments_may_be_called_as_words_of_some_grammar_are(sample: Sample):
    chat = format_of(sample.name)
    values = {"from": 1, "as": "two words", "class": 3.5, "None": 4}
    (heard,) = chat.parse(chat.render_turn(assistant(calls=[call("travel", **values)]))).tool_calls
    assert (heard.name, heard.arguments) == ("travel", values)


@pytest.mark.parametrize("sample", KINDS_AND_OWN)
def test_simple_calls_are_always_read_back(sample: Sample):
    chat = format_of(sample.name)

    @QUICK
    @given(st.lists(st.tuples(NAMES, SIMPLE), min_size=1, max_size=3 if sample.several else 1))
    def check(made: list[tuple[str, dict[str, Any]]]) -> None:
        heard = chat.parse(chat.render_turn(assistant(calls=[call(name, **values) for name, values in made])))
        assert [(c.name, c.arguments) for c in heard.tool_calls] == made

    check()


@pytest.mark.parametrize("sample", KINDS_AND_OWN)
def test_any_call_is_read_back_or_refused(sample: Sample):
    chat = format_of(sample.name)

    @QUICK
    @given(NAMES, st.dictionaries(st.text(min_size=1, max_size=8), JSON, max_size=3), st.text(max_size=20))
    def check(name: str, values: dict[str, Any], words: str) -> None:
        try:
            ids = chat.render_turn(assistant(words, calls=[ToolCall(name=name, arguments=values)]))
        except ChatError:
            return
        (heard,) = chat.parse(ids).tool_calls
        # as text, so that 1, 1.0 and True differ
        assert (heard.name, json.dumps(heard.arguments, sort_keys=True)) == (name, json.dumps(values, sort_keys=True))

    check()


def test_every_family_reads_the_published_form():
    assert set(PUBLISHED) == {family.name for family in known_families()}
    for family in known_families():
        (made,) = family.parser(False).parse(PUBLISHED[family.name]).tool_calls
        assert (made.name, made.arguments, made.state) == ("divide", {"a": 1, "b": 2}, CallState.PARSED)


@pytest.mark.parametrize("written", ["[True, None]", "[true, null]", "[True, null]"])
def test_lists_and_mappings_of_lfm_may_be_written_as_json(written: str):
    text = f'<|tool_call_start|>[f(x={written}, y={{"a": false}}, z=true, w=None)]<|tool_call_end|>'
    (made,) = next(family for family in known_families() if family.name == "lfm-2").parser(False).parse(text).tool_calls
    assert made.state is CallState.PARSED
    assert made.arguments == {"x": [True, None], "y": {"a": False}, "z": True, "w": None}


@pytest.mark.parametrize("family", known_families(), ids=lambda family: family.name)
def test_every_cut_of_a_call_is_words_or_a_malformed_call(family: Family):
    text = PUBLISHED[family.name]
    for length in range(len(text)):
        message = family.parser(False).parse(text[:length])
        assert all(made.state is CallState.MALFORMED for made in message.tool_calls), text[:length]


@pytest.mark.parametrize("family", known_families(), ids=lambda family: family.name)
def test_hostile_text_costs_little(family: Family):
    text = PUBLISHED[family.name]
    for hostile in (text * 2000, text[:-3] * 2000, "[" * 100_000, text.replace("1", "[" * 50_000), "<think>" * 20_000):
        started = time.process_time()
        message = family.parser(False).parse(hostile)
        assert time.process_time() - started < 5
        assert len(message.tool_calls) <= 200


async def _session_value(name: str, arguments: Mapping[str, Any]) -> Any:
    return await FunctionTools([divide, note]).call(name, arguments)


class Session:
    async def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return await _session_value(name, arguments)


def outputs(sample: Sample) -> st.SearchStrategy[str]:
    """What the family might write: good turns, and good turns spoiled in all ways a text can be."""
    chat = format_of(sample.name)
    said = [
        assistant(calls=[call("divide", a=1, b=2)]),
        assistant(calls=[call("divide", a=1, b=0)]),
        assistant(calls=[call("divide", a=1)]),
        assistant(calls=[call("multiply", a=1, b=2)]),
        assistant("Words."),
    ]
    turns = [chat.tokenizer.decode(chat.render_turn(turn)[:-1]) for turn in said] + [PUBLISHED[sample.family]]
    marks = sorted(
        {*chat.tokenizer.special, "<think>", "</think>", "{", "}", '"', "\n", "]", "\ud800", "\x00", "9" * 400}
    )
    good = st.sampled_from(turns)
    spoiled = st.tuples(good, st.integers(0, 300), st.integers(0, 300), st.sampled_from(["", *marks])).map(
        lambda it: it[0][: it[1]] + it[3] + it[0][it[2] :]
    )
    mixed = st.lists(st.sampled_from([*turns, *marks]) | st.text(max_size=8), max_size=8).map("".join)
    return good | spoiled | mixed


def meet_anything(sample: Sample, examples: int) -> set[CallState]:
    """Has the family's parser read made-up outputs, runs what comes out, and gives the states that calls met."""
    parser = format_of(sample.name).parser
    met: set[CallState] = set()

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(outputs(sample))
    def check(text: str) -> None:
        message = parse(parser, text, TOOLS)
        for made in message.tool_calls:
            assert made.state in (CallState.PARSED, CallState.MALFORMED)
            ran, told = asyncio.run(run_call(made, TOOLS, Session(), max_result_tokens=50, cut=cut_by_characters))
            met.update((made.state, ran.state))
            assert told.content
            Message.from_json(assistant(message.content, reasoning=message.reasoning, calls=[ran]).to_json())

    check()
    return met


@pytest.mark.parametrize("sample", KINDS.values(), ids=KINDS)
def test_whatever_a_model_writes(sample: Sample):
    assert CallState.EXECUTED in meet_anything(sample, 60)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("sample", KINDS.values(), ids=KINDS)
def test_ten_thousand_outputs(sample: Sample):
    # a valid call is run, and never stays valid
    assert meet_anything(sample, 10_000) == set(CallState) - {CallState.VALID}


@pytest.mark.slow
def test_gemma_3_with_its_own_tokenizer_speaks_without_tools():
    """Its added tokens are line breaks and tags, too: none of them ends a turn."""
    tokenizer = copy(own_tokenizers.load("gemma3"))
    tokenizer.chat_template = template_text("gemma3")
    chat = ChatFormat(TransformersTokenizer(tokenizer, name="gemma3"))
    assert [chat.tokenizer.decode([token]) for token in sorted(chat.stop_ids)] == ["<end_of_turn>"]
    forms = [{"role": "user", "content": "One."}, {"role": "assistant", "content": "Two.\n\nThree."}]
    forms.append({"role": "user", "content": "Four."})
    made = [
        *chat.open([user("One.")], {}),
        *chat.render_turn(assistant("Two.\n\nThree.")),
        *chat.bridge([user("Four.")], tools={}),
    ]
    assert made == tokenizer.apply_chat_template(forms, add_generation_prompt=True, tokenize=True, return_dict=False)
    with pytest.raises(ChatError, match="tools"):
        chat.open([user("One.")], TOOLS)


def test_thinking_is_switched_by_a_variable():
    thinking, not_thinking = make("qwen3"), make("qwen3", {"enable_thinking": False})
    opened = [chat.tokenizer.decode(chat.open([user("Q")], TOOLS)) for chat in (thinking, not_thinking)]
    assert opened[1] == opened[0] + "<think>\n\n</think>\n\n"


def test_no_prompt_depends_on_the_day():
    chat = format_of("gptoss")
    assert "Current date: 2024-07-26" in chat.tokenizer.decode(chat.open([user("Q")], {}))
