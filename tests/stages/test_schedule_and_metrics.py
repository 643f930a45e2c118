from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage_fakes import Digits, demonstration, trajectory

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.conversation import CallState, ToolCall, assistant, user
from mentor_kit.core.demonstration import Demonstration, Demonstrations
from mentor_kit.core.trajectory import Ending, TokenTrace, Trajectory
from mentor_kit.rl.reward import Breakdown, Scored, TermScore
from mentor_kit.stages.eval_metrics import rows
from mentor_kit.stages.evaluation_episodes import EvaluationEpisodes
from mentor_kit.stages.metrics import reward_metrics, teacher_similarity, tool_use, trajectory_metrics
from mentor_kit.stages.minibatches import split_groups
from mentor_kit.stages.schedule import OptimizerOptions, learning_rate
from mentor_kit.utils.statistics import similarity


def rates(steps: int, **options: object) -> list[float]:
    made = OptimizerOptions.model_validate(options)
    return [learning_rate(made, step, steps) for step in range(1, steps + 1)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"lr": 2.0, "schedule": "constant"}, [2, 2, 2, 2]),
        ({"lr": 2.0, "schedule": "constant", "warmup": 2}, [1, 2, 2, 2]),
        ({"lr": 1.0, "schedule": "linear", "final": 0.0}, [1, 0.75, 0.5, 0.25]),
        ({"lr": 1.0, "schedule": "linear", "final": 0.2}, [1, 0.8, 0.6, 0.4]),
        ({"lr": 1.0, "schedule": "linear", "warmup": 2, "final": 0.0}, [0.5, 1, 1, 0.5]),
        ({"lr": 1.0, "schedule": "linear", "warmup": 4}, [0.25, 0.5, 0.75, 1]),
        ({"lr": 1.0, "schedule": "linear", "warmup": 8}, [0.125, 0.25, 0.375, 0.5]),
        (
            {"lr": 1.0, "schedule": "cosine", "final": 0.0},
            [1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)],
        ),
    ],
)
def test_rates_by_hand(options, expected):
    assert rates(4, **options) == pytest.approx(expected)


def test_a_single_step_has_the_whole_rate():
    assert rates(1, lr=0.5) == [0.5]


@given(
    steps=st.integers(1, 50),
    warmup=st.integers(0, 60),
    final=st.floats(0, 1),
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
)
def test_rates_rise_then_fall_between_their_bounds(steps: int, warmup: int, final: float, schedule: str) -> None:
    found = rates(steps, lr=1.0, warmup=warmup, final=final, schedule=schedule)
    rise, fall = found[:warmup], found[warmup:]
    assert rise == sorted(rise)
    assert fall == sorted(fall, reverse=True)
    assert all(0 < rate <= 1 and (step < warmup or rate >= final - 1e-12) for step, rate in enumerate(found))
    assert warmup >= steps or max(found) == 1


def test_a_policy_gets_the_optimizer_without_its_schedule():
    options = OptimizerOptions(lr=0.1, warmup=3, use="muon", weight_decay=0.5, clip=None)
    assert type(options.spec) is OptimizerSpec
    assert options.spec == OptimizerSpec(use="muon", weight_decay=0.5, clip=None)


@given(size=st.integers(0, 40), count=st.integers(1, 12))
def test_parts_are_in_order_complete_and_nearly_equal(size: int, count: int) -> None:
    found = [list(part) for part in split_groups(range(size), count)] if size else []  # type: ignore[arg-type]
    assert [item for part in found for item in part] == list(range(size))
    assert len(found) == min(size, count)
    assert not found or max(map(len, found)) - min(map(len, found)) <= 1


def scored(total: float, gate: str = "", **terms: float) -> Scored:
    values = {name: TermScore(score=0.5, value=value) for name, value in terms.items()}
    return Scored(trajectory=trajectory("p0", "0"), reward=Breakdown(total=total, gate=gate, terms=values))


def test_reward_metrics_by_hand():
    found = reward_metrics(
        [scored(1.0, answer=0.75, tools=0.25), scored(-1.0, gate="format"), scored(0.5, answer=0.5, tools=0.0),
         scored(-1.0, gate="format")]
    )  # fmt: skip
    assert found == {
        "reward": -0.125, "reward/answer": 0.3125, "reward/tools": 0.0625, "gate/format": 0.5,
    }  # fmt: skip
    assert reward_metrics([]) == {"reward": 0.0}


def test_trajectory_metrics_by_hand():
    states = [CallState.EXECUTED, CallState.MALFORMED, CallState.UNKNOWN_TOOL, CallState.INVALID_ARGUMENTS]
    calls = [ToolCall(name="add", state=state) for state in [*states, CallState.FAILED, CallState.EXECUTED]]
    trace = TokenTrace(prompt_ids=(1,), ids=(2, 3, 4), mask=(1, 0, 1), log_probs=(-1.0, 0.0, -1.0), temperature=1.0)
    busy = Trajectory(
        id="a", problem_id="p0", agent="x", ending=Ending.LENGTH, tokens=trace,
        messages=(user("Q"), assistant(calls=calls[:4]), assistant(calls=calls[4:]), assistant("and")),
    )  # fmt: skip
    others = [
        trajectory("p1", "1", correct=True),
        trajectory("p2", "x", ending=Ending.CONTEXT_FULL),
        trajectory("p3", "x", ending=Ending.MAX_TURNS),
    ]
    assert trajectory_metrics([busy, *others], Demonstrations()) == pytest.approx(
        {
            "accuracy": 1 / 4, "ended_rate": 1 / 4, "not_ended": 3 / 4, "truncated": 2 / 4, "turns": 6 / 4,
            "calls_per_problem": 6 / 4, "malformed_rate": 1 / 6, "unknown_tool_rate": 1 / 6,
            "invalid_arguments_rate": 1 / 6, "failed_rate": 1 / 6, "response_tokens": 3 / 4, "sampled_tokens": 2 / 4,
        }
    )  # fmt: skip


def test_measures_of_nothing_are_numbers():
    assert all(math.isfinite(value) for value in trajectory_metrics([], Demonstrations()).values())


def test_similarity_by_hand():
    problems = Digits().problems("train", 0, 3)
    shown = Demonstrations(
        [
            demonstration(problems[0], tools=("add", "sub")),
            demonstration(problems[0], tools=("other",)),  # less like the student's than the first
            demonstration(problems[1], tools=("add", "add")),
        ]
    )
    # the student: add 1, sub 1 on problems with demonstrations; its calls for p2 do not count
    played = [
        trajectory("p0", "0", tools=("sub",)),
        trajectory("p1", "1", tools=("add",)),
        trajectory("p2", "2", tools=("mul",)),
    ]
    # p = (1/2, 1/2), q = (3/4, 1/4), m = (5/8, 3/8)
    first = 0.5 * math.log2(0.5 / 0.625) + 0.5 * math.log2(0.5 / 0.375)
    second = 0.75 * math.log2(0.75 / 0.625) + 0.25 * math.log2(0.25 / 0.375)
    assert teacher_similarity(played, shown) == pytest.approx(1 - (first + second) / 2)
    assert teacher_similarity(played[2:], shown) is None


def shown(*tools: str, correct: bool = True) -> Demonstration:
    return Demonstration(problem_id="p0", teacher="t", tools_used=tools, correct=correct)


@pytest.mark.parametrize(
    ("demonstrations", "teacher_tools"),
    [
        ([shown("add")], {"add": 1}),
        ([shown("sqrt", correct=False), shown("add")], {"add": 1}),
        ([shown("add"), shown("sqrt", correct=False)], {"add": 1}),
        ([shown("add", correct=False), shown("sqrt")], {"sqrt": 1}),
        ([shown("sqrt"), shown("add", "sqrt"), shown("add")], {"add": 1}),
        ([shown("sqrt"), shown("mul")], {"sqrt": 1}),
        ([shown("mul", correct=False), shown(), shown("add", "mul")], {"add": 1, "mul": 1}),
        ([shown("add", correct=False)], None),
        ([], None),
    ],
)
def test_episodes_are_held_to_the_right_demonstration_most_like_them(
    demonstrations: list[Demonstration], teacher_tools: dict[str, int] | None
) -> None:
    played = trajectory("p0", "0", tools=("add",))
    known = Demonstrations(demonstrations)
    found = tool_use([played], known)
    assert found.get("teacher_tools") == teacher_tools
    expected = None if teacher_tools is None else similarity(Counter(add=1), Counter(teacher_tools))
    assert teacher_similarity([played], known) == expected
    (row,) = rows(
        EvaluationEpisodes([played], []),
        [Scored(trajectory=played, reward=Breakdown(total=1.0))],
        Digits().problems("train", 0, 1),
        known,
    )
    assert row["teacher_tools"] == (None if teacher_tools is None else list(teacher_tools))


def test_each_episode_of_a_problem_has_the_demonstration_most_like_it() -> None:
    known = Demonstrations([shown("add"), shown("sqrt", "sqrt"), shown("mul", correct=False)])
    played = [trajectory("p0", "0", tools=tools) for tools in (("add",), ("sqrt", "sqrt"), ("mul",))]
    assert tool_use(played, known)["teacher_tools"] == {"add": 2, "sqrt": 2}
