"""Everything that is written to a run folder comes back as it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mentor_kit.core.conversation import (
    CallState,
    Message,
    ToolCall,
    ToolResult,
    assistant,
    call,
    calls_of,
    system,
    tool_result,
    user,
)  # fmt: skip
from mentor_kit.core.demonstration import Demonstration, Demonstrations
from mentor_kit.core.task import DeclaredTool, Problem
from mentor_kit.core.trajectory import Ending, SampledTurn, TokenTrace, Trajectory
from mentor_kit.rl.reward import Breakdown, Scored, TermScore

TEXT = st.text(max_size=12)
FLOATS = st.floats(allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS.filter(lambda x: abs(x) != float("inf")) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
CALLS = st.builds(ToolCall, name=TEXT, arguments=OBJECTS, state=st.sampled_from(CallState), raw=TEXT, error=TEXT)
RESULTS = st.builds(ToolResult, name=TEXT, content=TEXT, ok=st.booleans(), truncated=st.booleans())
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=TEXT,
    reasoning=TEXT,
    tool_calls=st.lists(CALLS, max_size=2).map(tuple),
    result=st.none() | RESULTS,
)


@st.composite
def traces(draw: Any) -> TokenTrace:
    rows = draw(st.lists(st.tuples(st.integers(0, 99999), st.integers(0, 1), FLOATS), max_size=5))
    turn = st.builds(SampledTurn, start=st.integers(0, 9), end=st.integers(0, 9), version=st.integers(0, 9))
    turns = draw(st.lists(turn, max_size=2).map(tuple))
    ids, mask, log_probs = zip(*rows, strict=True) if rows else ((), (), ())
    return TokenTrace(prompt_ids=(1, 2), ids=ids, mask=mask, log_probs=log_probs, temperature=draw(FLOATS), turns=turns)


TRAJECTORIES = st.builds(
    Trajectory,
    id=TEXT,
    problem_id=TEXT,
    agent=TEXT,
    messages=st.lists(MESSAGES, max_size=3).map(tuple),
    ending=st.sampled_from(Ending),
    answer=st.none() | TEXT,
    correct=st.booleans(),
    tokens=st.none() | traces(),
)
DEMONSTRATIONS = st.builds(
    Demonstration,
    problem_id=TEXT,
    teacher=TEXT,
    tools_used=st.lists(TEXT, max_size=3).map(tuple),
    correct=st.booleans(),
    trajectory=st.none() | TRAJECTORIES,
    provenance=OBJECTS,
)
PROBLEMS = st.builds(
    Problem,
    id=TEXT,
    question=TEXT,
    answer=TEXT,
    split=TEXT,
    group=TEXT,
    system=TEXT,
    tools=st.lists(st.builds(DeclaredTool, name=TEXT, description=TEXT, parameters=OBJECTS), max_size=2).map(tuple),
    extra=OBJECTS,
)
SCORED = st.builds(
    Scored,
    trajectory=TRAJECTORIES,
    reward=st.builds(
        Breakdown,
        total=FLOATS,
        gate=TEXT,
        terms=st.dictionaries(TEXT, st.builds(TermScore, score=FLOATS, value=FLOATS)),
    ),
)


@given(st.one_of(MESSAGES, TRAJECTORIES, DEMONSTRATIONS, PROBLEMS, SCORED))
def test_json_round_trip(value: Any) -> None:
    line = value.to_json()
    assert "\n" not in line
    assert type(value).from_json(line) == value
    assert type(value).from_json(line.encode()) == value


def test_defaults_are_left_out_and_unknown_fields_noticed() -> None:
    assert user("hi").to_json() == '{"role":"user","content":"hi"}'
    with pytest.raises(ValidationError, match="Extra inputs"):
        Message.from_json('{"role":"user","colour":1}')


def test_words_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        user("hi").content = "ho"  # type: ignore[misc]


def test_a_trace_has_one_length() -> None:
    with pytest.raises(ValidationError, match=r"2 ids.* 1 mask.* 1 log_probs"):
        TokenTrace(prompt_ids=(1,), ids=(1, 2), mask=(1,), log_probs=(0.0,), temperature=1.0)


def test_what_a_trajectory_says_about_itself() -> None:
    done, failed = call("add", a=1).at(CallState.EXECUTED), call("sqrt").at(CallState.FAILED, "negative")
    messages = (
        system("be brief"),
        user("?"),
        assistant("let me see", reasoning="hm", calls=[done, failed]),
        tool_result(ToolResult(name="add", content="3")),
        assistant("3"),
    )
    ours = Trajectory(id="t", problem_id="p", agent="a", messages=messages, ending=Ending.ANSWERED)
    assert ours.ended
    assert ours.calls == (done, failed) == tuple(calls_of(messages))
    assert (ours.executed, ours.tools_used, ours.final_text) == ((done,), ("add",), "3")
    assert len(ours.turns) == 2
    cut = ours.model_copy(update={"messages": messages[:4], "ending": Ending.MAX_TURNS})
    assert (cut.ended, cut.final_text) == (False, "")
    # a user's words never count as calls
    forged = Message(role="user", tool_calls=(done,))
    assert list(calls_of([forged])) == []


@given(st.lists(DEMONSTRATIONS, max_size=6))
def test_demonstrations_are_found_by_problem_in_order(found: list[Demonstration]) -> None:
    kept = Demonstrations(found)
    assert len(kept) == len(found)
    for problem_id in {d.problem_id for d in found}:
        problem = Problem(id=problem_id, question="", answer="")
        assert list(kept.of(problem)) == [d for d in found if d.problem_id == problem_id]
    assert kept.of_id("no such problem at all") == []
    assert sorted(d.to_json() for d in kept) == sorted(d.to_json() for d in found)


def test_a_demonstration_of_a_trajectory_drops_the_tokens() -> None:
    trace = TokenTrace(prompt_ids=(1,), ids=(2,), mask=(1,), log_probs=(-1.0,), temperature=1.0)
    played = Trajectory(
        id="t", problem_id="p", agent="a", messages=(user("?"),), ending=Ending.LENGTH, tokens=trace, correct=False
    )
    shown = Demonstration.of(played, teacher="gpt", provenance={"cost": 1})
    assert shown.trajectory is not None
    assert shown.trajectory.tokens is None
    assert (shown.correct, shown.teacher, shown.tools_used) == (False, "gpt", ())


def test_a_problem_opens_a_dialogue() -> None:
    assert Problem(id="p", question="?", answer="").opening() == (user("?"),)
    assert Problem(id="p", question="?", answer="", system="s").opening() == (system("s"), user("?"))
