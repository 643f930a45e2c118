"""Which rollouts are tracked, and their messages in the form of OpenAI's chat completions."""

from __future__ import annotations

import json

import pytest
from mentor_kit_trackers.options import RolloutOptions
from mentor_kit_trackers.rollouts import (
    COLUMNS,
    TrackedRollout,
    as_text,
    chosen,
    chosen_episodes,
    is_tracked,
    openai_messages,
)
from tracked_run import scored, trajectory

from mentor_kit.core.conversation import CallState, ToolCall, ToolResult, assistant, system, tool_result, user
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.trajectory import TokenTrace


@pytest.mark.parametrize(("every", "steps"), [(10, [1, 10, 20]), (1, list(range(1, 24))), (0, []), (7, [1, 7, 14, 21])])
def test_the_steps_whose_rollouts_are_tracked(every: int, steps: list[int]) -> None:
    assert [step for step in range(1, 24) if is_tracked(step, RolloutOptions(every=every))] == steps


def test_whole_groups_are_chosen_without_tokens() -> None:
    tokens = TokenTrace(prompt_ids=(1,), ids=(2,), mask=(1,), log_probs=(-0.1,), temperature=1.0)
    items = [scored(problem, number) for problem in ("a", "b", "c") for number in range(3)]
    items = [
        item.model_copy(update={"trajectory": item.trajectory.model_copy(update={"tokens": tokens})}) for item in items
    ]
    found = chosen(items, RolloutOptions(problems=2))
    assert [item.trajectory.id for item in found] == ["a#0", "a#1", "a#2", "b#0", "b#1", "b#2"]
    assert [item.trajectory.id for item in chosen_episodes(items, RolloutOptions(episodes=1))] == ["a#0"]
    assert all(item.trajectory.tokens is None for item in found)


def test_parallel_calls_are_paired_with_their_results_in_order() -> None:
    calls = [ToolCall(name="add", arguments={"a": 1, "b": 2.5}), ToolCall(name="greet", arguments={"name": "Zoë"})]
    messages = [
        system("Be brief."),
        user("?"),
        assistant("I will look.", reasoning="hm", calls=calls),
        tool_result(ToolResult(name="add", content="3.5")),
        tool_result(ToolResult(name="greet", content="hello")),
        assistant(calls=[ToolCall(name="add", arguments={})]),
        tool_result(ToolResult(name="add", content="error: two numbers", ok=False)),
        assistant("done"),
    ]
    found = openai_messages(messages)
    assert [message["role"] for message in found] == [message.role for message in messages]
    first, second = found[2]["tool_calls"]
    assert (first["type"], first["function"]["name"]) == ("function", "add")
    assert json.loads(first["function"]["arguments"]) == {"a": 1, "b": 2.5}
    assert json.loads(second["function"]["arguments"]) == {"name": "Zoë"}
    assert [found[3]["tool_call_id"], found[4]["tool_call_id"]] == [first["id"], second["id"]]
    assert found[6]["tool_call_id"] == found[5]["tool_calls"][0]["id"]
    assert len({first["id"], second["id"], found[6]["tool_call_id"]}) == 3
    assert (found[2]["reasoning_content"], found[2]["content"], found[6]["content"]) == (
        "hm",
        "I will look.",
        "error: two numbers",
    )
    assert "tool_calls" not in found[7]


def test_a_malformed_call_is_shown_as_it_was_written() -> None:
    broken = ToolCall(state=CallState.MALFORMED, raw='{"name": add', error="no JSON")
    ((call,),) = [message["tool_calls"] for message in openai_messages([assistant(calls=[broken])])]
    assert call["function"] == {"name": "malformed", "arguments": '{"name": add'}
    assert all(text in as_text([assistant(calls=[broken])]) for text in ('{"name": add', "malformed", "no JSON"))


def test_a_row_has_the_rollout_beside_the_teachers_solution() -> None:
    taught = Demonstration.of(trajectory("p1", 4, "teacher"), teacher="scripted")
    row = dict(zip(COLUMNS, TrackedRollout(scored("p1", 3), taught).row(), strict=True))
    assert (row["problem"], row["rollout"], row["reward"], row["correct"], row["answer"]) == (
        "p1",
        "p1#3",
        0.25,
        False,
        "4",
    )
    assert row["dialogue"].splitlines() == [
        "user: 1 + 3?",
        "assistant → add(a=1, b=3)",
        "tool: 4",
        "assistant: \\boxed{4}",
    ]
    assert "add(a=1, b=4)" in row["demonstration"]
    alone = dict(zip(COLUMNS, TrackedRollout(scored("p1", 3)).row(), strict=True))
    assert alone["demonstration"] == ""
