"""No term rises by calls that do nothing: broken ones, repeats, and those of tools that the teacher did without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reward_words import CONTEXT, PROBLEM, REGISTRY, did, ran, score, showed, spoke, term

from mentor_kit.chat.families import families
from mentor_kit.chat.forms import MISSING, Form
from mentor_kit.chat.parsing import parse
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import CallState, Message, ToolCall, assistant
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import FunctionTools, Toolbox, check_call
from mentor_kit.hooks import BuildContext
from mentor_kit.recipe.assembly import build_reward

TERMS: dict[str, tuple[str, dict[str, Json]]] = {
    **{
        name: (name, {})
        for name in ("ended", "answered", "correct", "known-tools", "clean-calls", "call-economy", "format")
    },
    **{name: (name, {}) for name in ("tool-match", "tool-overlap", "tool-f1", "tool-multiset-f1", "tool-order")},
    **{f"{name}, any number": (name, {"excess": None}) for name in ("tool-multiset-f1", "tool-arguments", "tool-f1")},
    "tool-arguments": ("tool-arguments", {}),
    "tool-arguments, names": ("tool-arguments", {"compare": "names", "excess": None}),
    "tool-arguments, whole": ("tool-arguments", {"partial": False, "excess": None}),
    "clean-calls, share": ("clean-calls", {"share": True}),
    "call-economy, room": ("call-economy", {"times": 1.5, "plus": 1}),
    "length": ("length", {"free": 5, "limit": 60}),
    "format, brief": ("format", {"calls_per_turn": 1, "words_with_calls": False}),
}
BUILT = {name: term(use, **options) for name, (use, options) in TERMS.items()}
PRESETS = {
    name: build_reward(ComponentSpec(use=name), REGISTRY, CONTEXT)
    for name in ("mentor", "sparse", "mentor-overlap", "mentor-no-match", "mentor-f1")
}

SHOWN_TOOLS, OTHERS = ("add", "subtract", "multiply"), ("sqrt", "floor")
BROKEN = (CallState.MALFORMED, CallState.UNKNOWN_TOOL, CallState.INVALID_ARGUMENTS, CallState.FAILED)
NUMBERS = st.sampled_from([1, 2, 3, 10**13])
CALLS = st.builds(lambda name, a, b: ran(name, a=a, b=b), st.sampled_from(SHOWN_TOOLS), NUMBERS, NUMBERS)
IDLE = st.builds(lambda name, a: ran(name, number=a), st.sampled_from(OTHERS), NUMBERS)
MADE = st.lists(CALLS | IDLE, max_size=5)
#: Teachers who never make one call twice.
SHOWN = st.lists(CALLS, max_size=4, unique_by=str)
MORE = st.integers(1, 6)


def scores(calls: Sequence[ToolCall], shown: Sequence[ToolCall], right: bool) -> dict[str, float]:
    demonstrations = [showed(*shown)]
    trajectory = did(*calls, right=right)
    found = {name: built.score(trajectory, PROBLEM, demonstrations) for name, built in BUILT.items()}
    return found | {name: reward(trajectory, PROBLEM, demonstrations).total for name, reward in PRESETS.items()}


def risen(before: dict[str, float], after: dict[str, float]) -> list[str]:
    return [name for name in before if after[name] > before[name] + 1e-12]


def put(calls: list[ToolCall], more: ToolCall, count: int, at: int) -> list[ToolCall]:
    place = at % (len(calls) + 1)
    return [*calls[:place], *[more] * count, *calls[place:]]


@settings(deadline=None)
@given(MADE, SHOWN, st.sampled_from(BROKEN), CALLS, MORE, st.integers(0, 9), st.booleans())
def test_broken_calls(
    calls: list[ToolCall],
    shown: list[ToolCall],
    state: CallState,
    one: ToolCall,
    count: int,
    at: int,
    right: bool,
) -> None:
    broken = one.model_copy(update={"state": state, "raw": "<tool_call>"})
    assert risen(scores(calls, shown, right), scores(put(calls, broken, count, at), shown, right)) == []


@settings(deadline=None)
@given(MADE, SHOWN, IDLE, MORE, st.integers(0, 9), st.booleans())
def test_calls_of_tools_that_the_teacher_did_without(
    calls: list[ToolCall], shown: list[ToolCall], one: ToolCall, count: int, at: int, right: bool
) -> None:
    assert risen(scores(calls, shown, right), scores(put(calls, one, count, at), shown, right)) == []


@settings(deadline=None)
@given(MADE.filter(bool), SHOWN, st.data(), MORE, st.integers(0, 9), st.booleans())
def test_repeats(
    calls: list[ToolCall], shown: list[ToolCall], data: st.DataObject, count: int, at: int, right: bool
) -> None:
    again = data.draw(st.sampled_from(calls))
    rose = risen(scores(calls, shown, right), scores(put(calls, again, count, at), shown, right))
    # a call may be made once more in the better place
    assert set(rose) <= {"tool-order"}


def test_a_repeat_counts_where_the_teacher_repeats() -> None:
    one, other = ran("add", a=1, b=1), ran("add", a=2, b=2)
    for name in ("tool-multiset-f1", "tool-order", "tool-arguments"):
        assert score(name, did(one, one), [showed(one, one)]) == 1.0
        assert score(name, did(one, one), [showed(one, other)]) < score(name, did(one, other), [showed(one, other)])
    names_alone = Demonstration(problem_id="p", teacher="t", tools_used=("add", "add"))
    assert score("tool-multiset-f1", did(one, one), [names_alone]) == 1.0


@pytest.mark.parametrize("idle", [0, 1, 3, 50])
@pytest.mark.parametrize(("broken", "expected"), [(0, 1.0), (1, 1 / 2), (3, 1 / 4)])
def test_clean_calls_do_not_make_up_for_broken_ones(idle: int, broken: int, expected: float) -> None:
    calls = [ran("add", a=number) for number in range(idle)]
    failed = [ToolCall(name="add", state=CallState.FAILED)] * broken
    assert score("clean-calls", did(*calls, *failed), share=True) == pytest.approx(expected)


BIG = 10**13


@pytest.mark.parametrize(
    ("used", "shown", "expected"),
    [
        (BIG, 1e13, 1.0),
        (1e13, BIG, 1.0),
        (12345678901234, 12345678901234.0, 1.0),
        (2**53, float(2**53), 1.0),
        (10**22, 1e22, 1.0),
        (-(10**15), -1e15, 1.0),
        (BIG, BIG + 1, 0.0),
        (float(BIG), BIG + 1, 0.0),
        (2**53, 2**53 + 1, 0.0),
        (10**400, 10**400 + 1, 0.0),
        (1234567890123.5, 1234567890123, 0.0),
        (1234567890123.5, 1234567890120, 0.0),
        (1234567890123.5, 1234567890123.5, 1.0),
        (0.1 + 0.2, 0.3, 1.0),
        (2.9999999999999996, 3, 1.0),
        (True, 1, 0.0),
        ("1", 1, 0.0),
    ],
)
def test_numbers_are_the_same_by_value(used: Any, shown: Any, expected: float) -> None:
    assert score("tool-arguments", did(ran("x", a=used)), [showed(ran("x", a=shown))]) == expected


@given(st.integers(-(10**30), 10**30), st.integers(-(10**30), 10**30))
def test_whole_numbers_are_told_apart_exactly(left: int, right: int) -> None:
    found = score("tool-arguments", did(ran("x", a=left)), [showed(ran("x", a=right))])
    assert found == float(left == right)
    as_float = score("tool-arguments", did(ran("x", a=float(left))), [showed(ran("x", a=left))])
    assert as_float == float(int(float(left)) == left)


SCHEMA: dict[str, Json] = {
    "type": "object",
    "properties": {
        "place": {"type": "string"},
        "unit": {"enum": ["C", "F"], "default": "C"},
        "days": {"type": "integer", "default": 1},
        "note": {"type": ["string", "null"], "default": None},
        "kind": {"const": "weather"},
        "version": {"enum": ["v2"]},
    },
    "required": ["place"],
}
BOX = Toolbox([FunctionTools([Tool.declared("weather", "Tells the weather.", SCHEMA)])])
DEFAULTS: dict[str, Json] = {"unit": "C", "days": 1, "note": None, "kind": "weather", "version": "v2"}


def agreement(used: dict[str, Json], shown: dict[str, Json], **options: Json) -> float:
    built = REGISTRY.build(
        "reward_terms", ComponentSpec(use="tool-arguments", options=options), BuildContext(REGISTRY, toolbox=BOX)
    )
    return float(built.score(did(ran("weather", **used)), PROBLEM, [showed(ran("weather", **shown))]))


@pytest.mark.parametrize(
    ("used", "shown", "expected"),
    [
        # nothing in common but what nobody chose
        ({"place": "x"}, {"place": "Rome"}, 0.0),
        ({"place": "x", **DEFAULTS}, {"place": "Rome"}, 0.0),
        ({"place": "x", "kind": "weather"}, {"place": "Rome", "kind": "weather"}, 0.0),
        ({"place": "x", "version": "v2"}, {"place": "Rome", "version": "v2"}, 0.0),
        ({"place": "x", "days": 1.0}, {"place": "Rome", "days": 1}, 0.0),
        # left out is the default
        ({"place": "Rome", **DEFAULTS}, {"place": "Rome"}, 1.0),
        ({"place": "Rome"}, {"place": "Rome", "days": 1}, 1.0),
        # chosen: it counts for both
        ({"place": "Rome", "unit": "F"}, {"place": "Rome", "unit": "F"}, 1.0),
        ({"place": "x", "unit": "F"}, {"place": "Rome", "unit": "F"}, 0.5),
        ({"place": "Rome"}, {"place": "Rome", "unit": "F"}, 0.5),
        ({"place": "x", "unit": "C"}, {"place": "Rome", "unit": "F"}, 0.0),
    ],
)
def test_defaults(used: dict[str, Json], shown: dict[str, Json], expected: float) -> None:
    assert agreement(used, shown) == pytest.approx(expected)
    assert agreement(shown, used) == pytest.approx(expected)


def test_names_of_arguments_that_nobody_gave_are_not_compared() -> None:
    assert agreement({}, {"unit": "F"}, compare="names") == 0.0
    assert agreement({"unit": "C"}, {"unit": "F"}, compare="names") == 1.0
    assert agreement({"place": "x", "days": 1}, {"place": "Rome"}, compare="names") == 1.0


ODD: dict[str, Json] = {
    "long": "x" * 129,
    "longer": "add" * 3000,
    "a tool's, and more": "add" + "x" * 126,
    "empty": "",
    "spaces": "   ",
    "spaces around": " add ",
    "a line break": "add\nsubtract",
    "a tab": "add\tx",
    "look-alike": "аdd",
    "invisible": "add\u200b",
    "a surrogate": "add\ud800",
    "a mark": "add<|im_end|>",
    "brackets": "add(1)",
    "capitals": "ADD",
    "a number": 7,
    "null": None,
    "a list": ["add"],
    "an object": {"name": "add"},
}
LFM = ("lfm-2", "brackets")
MATH = CONTEXT.need_toolbox().tools(PROBLEM)
FORMS: dict[str, Form] = {family.name: family.written for family in families() if family.written is not None}


def heard(family: str, text: str) -> Message:
    (parser,) = [one.parser(False) for one in families() if one.name == family]
    message = parse(parser, text, MATH)
    return message.model_copy(update={"tool_calls": tuple(check_call(call, MATH) for call in message.tool_calls)})


@pytest.mark.spread
@pytest.mark.parametrize("arguments", [{"a": 1, "b": 2}, {"a": {"name": "add"}, "b": '{"name": "add"}'}, MISSING])
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("family", FORMS)
def test_no_odd_name_escapes_r3(family: str, odd: str, arguments: Json) -> None:
    message = heard(family, FORMS[family].call(ODD[odd], arguments))
    known = [call for call in message.tool_calls if call.name in MATH]
    assert (score("known-tools", spoke(message, assistant("done"))) == 1.0) == (len(known) == len(message.tool_calls))
    if ODD[odd] == {"name": "add"} or odd == "spaces around" or family == "harmony" or (family, odd) == LFM:
        return  # names written bare may be within an object or have spaces, other words, or arguments after them
    # a call that was read may do without what is odd; a broken one may not
    assert all(call.state is not CallState.MALFORMED for call in known)
    if FORMS[family].is_json:
        assert not known


@pytest.mark.parametrize("family", FORMS)
def test_a_tools_own_name_keeps_r3(family: str) -> None:
    message = heard(family, FORMS[family].call("add", {"a": 1, "b": 2}))
    assert [(call.name, call.arguments) for call in message.tool_calls] == [("add", {"a": 1, "b": 2})]
    assert score("known-tools", spoke(message, assistant("done"))) == 1.0


@pytest.mark.parametrize(
    "family", ["hermes", "llama-3", "function-xml", "key-value-xml", "mistral", "gemma-4", "phi-4"]
)
def test_a_call_that_is_cut_names_its_tool(family: str) -> None:
    cut = heard(family, FORMS[family].call("add", {"a": 1, "b": 2})[:-1])
    assert [call.state for call in cut.tool_calls] == [CallState.MALFORMED]
    assert score("known-tools", spoke(cut, assistant("done"))) == 1.0


@pytest.mark.parametrize("mark", sorted({mark for form in FORMS.values() for mark in form.all_marks if len(mark) > 2}))
def test_marks_of_every_family_are_out_of_place_in_words(mark: str) -> None:
    for turn in (assistant(f"So {mark} it is."), assistant("Well.", reasoning=f"so {mark}")):
        assert score("format", spoke(turn)) == 0.0
    assert score("format", spoke(assistant(f"So {mark} it is.")), forbidden=[]) == 1.0


@pytest.mark.parametrize("family", FORMS)
def test_orderly_turns_of_every_family(family: str) -> None:
    form = FORMS[family]
    calling = heard(family, form.call("add", {"a": 1, "b": 2}))
    last = heard(family, form.say(r"It is \boxed{3}, as x < 4 and [1, 2] say: {\"a\": 1}."))
    assert score("format", spoke(calling, last)) == 1.0
    for text in (form.say("<tool_response>3</tool_response> It is 3."), form.call("add", {"a": 1})[:-3]):
        assert score("format", spoke(heard(family, text))) == 0.0


def test_saying_nothing_is_not_orderly() -> None:
    assert score("format", spoke()) == 0.0


@pytest.mark.parametrize(("calls", "expected"), [([], 0.0), (["sqrt"], 0.0), (["add"], 1.0), (["sqrt", "add"], 0.5)])
def test_economy_without_the_teachers_tools_is_none(calls: list[str], expected: float) -> None:
    assert score("call-economy", did(*calls), [showed("add")]) == expected
