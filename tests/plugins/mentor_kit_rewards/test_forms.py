"""Terms about broken calls, economy, form and length, against worked examples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reward_words import did, ran, score, showed, spoke, term

from mentor_kit.core.conversation import CallState, Message, ToolCall, assistant
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.trajectory import TokenTrace
from mentor_kit.hooks.registry import ComponentError

BROKEN = ("malformed", "unknown_tool", "invalid_arguments", "failed")


def made(name: str, *states: str) -> list[ToolCall]:
    return [ToolCall(name=name, state=CallState(state)) for state in states]


@pytest.mark.parametrize("state", BROKEN)
def test_a_broken_call_is_not_clean(state: str) -> None:
    trajectory = did("add", *made("add", state), "add", "add")
    assert (score("clean-calls", trajectory), score("clean-calls", trajectory, share=True)) == (0.0, 0.5)


def test_no_call_is_a_clean_one() -> None:
    assert (score("clean-calls", did()), score("clean-calls", did(), share=True)) == (1.0, 1.0)
    assert score("clean-calls", did("add")) == 1.0


@pytest.mark.parametrize(
    ("calls", "shown", "expected"),
    [
        (["add"], ["add"], 1.0),
        (["add"], ["add", "add"], 1.0),
        (["add"] * 4, ["add"] * 3, 3 / 4),
        (["add", *made("add", *BROKEN)], ["add", "add"], 2 / 5),
        ([], ["add"], 0.0),
        (made("add", *BROKEN), ["add"] * 9, 0.0),
        ([], [], 1.0),
        (["add"], [], 0.0),
    ],
)
def test_economy(calls: list[ToolCall | str], shown: list[str], expected: float) -> None:
    assert score("call-economy", did(*calls), [showed(*shown)]) == pytest.approx(expected)


def test_economy_with_room() -> None:
    assert score("call-economy", did(*["add"] * 5), [showed("add", "add")], times=2, plus=1) == 1.0
    assert score("call-economy", did(*["add"] * 10), [showed("add", "add")], times=2, plus=1) == 0.5


WORK = assistant("First.", calls=[ran("add")])


@pytest.mark.parametrize(
    ("turns", "options", "expected"),
    [
        ([WORK, assistant("done")], {}, 1.0),
        ([WORK, assistant("done")], {"words_with_calls": False}, 0.0),
        ([assistant(calls=[ran("add")]), assistant("done")], {"words_with_calls": False}, 1.0),
        ([assistant("done", reasoning="so")], {"reasoning": "required"}, 1.0),
        ([WORK, assistant("done", reasoning="so")], {"reasoning": "required"}, 0.0),
        ([assistant("done", reasoning="so")], {"reasoning": "forbidden"}, 0.0),
        ([assistant(calls=[ran("add")] * 2), assistant("done")], {"calls_per_turn": 1}, 0.0),
        ([assistant(calls=[ran("add")] * 2), assistant("done")], {"calls_per_turn": 2}, 1.0),
        ([assistant("one two three")], {"answer_words": 3}, 1.0),
        ([assistant("one two three four")], {"answer_words": 3}, 0.0),
        ([assistant("<tool_response>5</tool_response>")], {}, 0.0),
        ([assistant("done", reasoning="<tool_call>")], {}, 0.0),
        ([assistant("<tool_call>")], {"forbidden": []}, 1.0),
        ([assistant("I beg you")], {"forbidden": ["beg"]}, 0.0),
    ],
)
def test_format(turns: list[Message], options: dict[str, Json], expected: float) -> None:
    assert score("format", spoke(*turns), **options) == expected


@pytest.mark.parametrize(("sampled", "expected"), [(0, 1.0), (20, 1.0), (40, 0.75), (60, 0.5), (100, 0.0), (999, 0.0)])
def test_length_in_tokens(sampled: int, expected: float) -> None:
    # tool results are in the response, and not the assistant's own
    trace = TokenTrace(
        prompt_ids=(1, 2),
        ids=(0,) * (sampled + 7),
        mask=(1,) * sampled + (0,) * 7,
        log_probs=(0.0,) * (sampled + 7),
        temperature=1.0,
    )
    trajectory = did("add").model_copy(update={"tokens": trace})
    assert score("length", trajectory, free=20, limit=100) == pytest.approx(expected)


def test_length_of_agents_without_tokens() -> None:
    # 200 characters are 50 tokens
    written = spoke(assistant("x" * 60, reasoning="y" * 40, calls=[ran("add").model_copy(update={"raw": "z" * 100})]))
    assert score("length", written, free=0, limit=100) == pytest.approx(0.5)


@given(st.integers(0, 300), st.integers(0, 300))
def test_more_words_never_earn_more(less: int, more: int) -> None:
    less, more = sorted((less, more))
    short, long = (spoke(assistant("x" * 4 * count)) for count in (less, more))
    assert score("length", long, free=50, limit=200) <= score("length", short, free=50, limit=200)


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("length", {"free": 9, "limit": 9}, "`free` \\(9\\) must be less than `limit` \\(9\\)"),
        ("length", {"free": 9}, "limit: this key is required"),
        ("format", {"reasoning": "maybe"}, "reasoning"),
        ("call-economy", {"times": 0}, "times"),
        ("tool-arguments", {"compare": "both"}, "compare"),
        ("clean-calls", {"shares": True}, "did you mean 'share'"),
    ],
)
def test_wrong_options_are_named(name: str, options: dict[str, Json], text: str) -> None:
    with pytest.raises(ComponentError, match=text):
        term(name, **options)
