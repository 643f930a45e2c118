"""The reward presets against a table written by hand from the paper's own (structure in, number out)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import CallState, Message, ToolCall, assistant, user
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks.loader import load_plugins
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.rl.reward import Gate, Reward, RewardSpec, Term, TermSpec, WeightedTerm

REGISTRY = Registry(load_plugins())
CONTEXT = BuildContext(REGISTRY)
PRESETS = ["mentor", "sparse", "mentor-overlap", "mentor-no-match", "mentor-f1"]
PROBLEM = Problem(id="p1", question="What is 2 + 3?", answer="5")


def built(spec: RewardSpec) -> Reward:
    def term(slot: ComponentSpec) -> Term:
        return REGISTRY.build("reward_terms", slot, CONTEXT)

    gates = tuple(Gate(g.use, term(g), g.otherwise, g.threshold) for g in spec.gates)
    return Reward(gates, tuple(WeightedTerm(t.use, term(t), t.weight, t.when_wrong) for t in spec.terms))


REWARDS = {name: built(REGISTRY.build("rewards", ComponentSpec(use=name), CONTEXT)) for name in PRESETS}


def played(
    tools: list[str | ToolCall],
    *,
    correct: bool = True,
    ending: Ending = Ending.ANSWERED,
    answer: str | None = "5",
    question: str = "What is 2 + 3?",
    reasoning: str = "",
) -> Trajectory:
    """An episode with one turn a call (a name stands for an executed one), and a last turn with the answer."""
    calls = [ToolCall(name=t, state=CallState.EXECUTED) if isinstance(t, str) else t for t in tools]
    turns: list[Message] = [assistant(calls=[call]) for call in calls]
    return Trajectory(
        id="t",
        problem_id="p1",
        agent="student",
        messages=(user(question), *turns, assistant("text", reasoning=reasoning)),
        ending=ending,
        answer=answer if ending is Ending.ANSWERED else None,
        correct=correct and answer is not None and ending is Ending.ANSWERED,
    )


def shown(*tools: str, correct: bool = True) -> Demonstration:
    return Demonstration(problem_id="p1", teacher="t", tools_used=tools, correct=correct)


def call(name: str, state: CallState) -> ToolCall:
    return ToolCall(name=name, state=state)


@dataclass(frozen=True)
class Row:
    what: str
    trajectory: Trajectory
    teacher: Demonstration
    expected: tuple[float, float, float, float, float]
    """mentor, sparse, overlap, no-match, f1."""


AM = shown("add", "multiply")
UNKNOWN = call("calculator", CallState.UNKNOWN_TOOL)
TABLE = [
    Row("right, same tools", played(["add", "multiply"]), AM, (1.1, 1.0, 1.0, 0.8, 1.1)),
    Row("order and repetition do not matter", played(["multiply", "add", "add"]), AM, (1.1, 1.0, 1.0, 0.8, 1.1)),
    Row("right, one of two tools", played(["add"]), AM, (0.8, 1.0, 1.0, 0.8, 0.8 + 0.3 * 2 / 3)),
    Row("right, one tool too many", played(["add", "multiply", "sqrt"]), AM, (0.8, 1.0, 1.0, 0.8, 0.8 + 0.3 * 4 / 5)),
    Row("right, other tools", played(["sqrt"]), AM, (0.8, 1.0, 0.7, 0.8, 0.8)),
    Row("right, no tools", played([]), AM, (0.8, 1.0, 0.7, 0.8, 0.8)),
    Row("wrong, same tools", played(["add", "multiply"], correct=False), AM, (0.16, 0.1, 0.06, 0.1, 0.16)),
    Row("wrong, one of two", played(["add"], correct=False), AM, (0.1, 0.1, 0.06, 0.1, 0.1 + 0.06 * 2 / 3)),
    Row("wrong, no tools", played([], correct=False), AM, (0.1, 0.1, 0.0, 0.1, 0.1)),
    Row("wrong, an invented tool too", played(["add", "multiply", UNKNOWN], correct=False), AM,
        (0.06, 0.1, 0.06, 0.0, 0.06)),
    Row("right, an invented tool too", played(["add", "multiply", UNKNOWN]), AM, (1.0, 1.0, 1.0, 0.7, 1.0)),
    Row("no answer", played(["add", "multiply"], answer=None), AM, (0.1, 0.1, 0.0, 0.1, 0.1)),
    Row("an empty answer", played(["add", "multiply"], answer="  ", correct=False), AM, (0.1, 0.1, 0.0, 0.1, 0.1)),
    Row("out of turns", played(["add", "multiply"], ending=Ending.MAX_TURNS), AM, (0.0,) * 5),
    Row("out of tokens", played(["add", "multiply"], ending=Ending.LENGTH), AM, (0.0,) * 5),
    Row("context full", played(["add", "multiply"], ending=Ending.CONTEXT_FULL), AM, (0.0,) * 5),
    Row("teacher and student without tools", played([]), shown(), (1.1, 1.0, 1.0, 0.8, 1.1)),
    Row("teacher without tools, student with", played(["add"]), shown(), (0.8, 1.0, 0.7, 0.8, 0.8)),
    Row("a malformed call", played(["add", "multiply", call("", CallState.MALFORMED)]), AM,
        (1.1, 1.0, 1.0, 0.8, 1.1)),
    Row("calls that failed do not count", played([call("add", CallState.FAILED), "multiply"]), AM,
        (0.8, 1.0, 1.0, 0.8, 0.8 + 0.3 * 2 / 3)),
    Row("nor those with garbage arguments",
        played([call("add", CallState.INVALID_ARGUMENTS), call("multiply", CallState.INVALID_ARGUMENTS)]), AM,
        (0.8, 1.0, 0.7, 0.8, 0.8)),
    Row("nor those that were never run", played([call("add", CallState.VALID), call("multiply", CallState.PARSED)]),
        AM, (0.8, 1.0, 0.7, 0.8, 0.8)),
    Row("six calls are twice the teacher's and two", played(["add", "multiply"] * 3), AM, (1.1, 1.0, 1.0, 0.8, 1.1)),
    Row("seven are too many", played(["add", "multiply"] * 3 + ["add"]), AM, (0.8, 1.0, 0.7, 0.8, 0.8)),
    Row("two hundred of one", played(["add"] * 200), shown("add"), (0.8, 1.0, 0.7, 0.8, 0.8)),
    Row("a call in the reasoning is only text",
        played([], reasoning='<tool_call>{"name": "add"}</tool_call>'), shown("add"), (0.8, 1.0, 0.7, 0.8, 0.8)),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what)
def test_every_row_of_the_table(row: Row) -> None:
    earned = {name: REWARDS[name](row.trajectory, PROBLEM, [row.teacher]).total for name in PRESETS}
    assert earned == pytest.approx(dict(zip(PRESETS, row.expected, strict=True)), abs=1e-12)


def test_maxima_are_the_papers() -> None:
    maxima = {name: reward.maximum for name, reward in REWARDS.items()}
    wanted = {"mentor": 1.1, "sparse": 1.0, "mentor-overlap": 1.0, "mentor-no-match": 0.8, "mentor-f1": 1.1}
    assert maxima == pytest.approx(wanted)


def test_the_gate_that_decided_is_named() -> None:
    late = REWARDS["mentor"](played([], ending=Ending.LENGTH), PROBLEM, [AM])
    mute = REWARDS["mentor"](played([], answer=None), PROBLEM, [AM])
    assert (late.gate, mute.gate) == ("ended", "answered")


def test_the_best_of_several_demonstrations_counts() -> None:
    both = REWARDS["mentor"](played(["sqrt"]), PROBLEM, [AM, shown("sqrt")])
    assert both.total == pytest.approx(1.1)
    # each demonstration has its own limit of calls: 5 for one that shows one call, 3 calls more for another
    many = REWARDS["mentor"](played(["add"] * 5), PROBLEM, [shown("add"), shown("add", "add")])
    assert many.total == pytest.approx(1.1)


def test_wrong_demonstrations_are_the_measure_only_alone() -> None:
    wrong = shown("sqrt", correct=False)
    assert REWARDS["mentor"](played(["sqrt"]), PROBLEM, [AM, wrong]).total == pytest.approx(0.8)
    assert REWARDS["mentor"](played(["sqrt"]), PROBLEM, [wrong]).total == pytest.approx(1.1)


@pytest.mark.parametrize("name", ["mentor", "mentor-overlap", "mentor-f1"])
def test_a_comparison_without_a_demonstration_is_an_error_that_names_the_problem(name: str) -> None:
    with pytest.raises(DataError, match="'p1' has no demonstration"):
        REWARDS[name](played([]), PROBLEM, [])


@pytest.mark.parametrize("name", ["sparse", "mentor-no-match"])
def test_the_others_need_no_demonstration(name: str) -> None:
    assert REWARDS[name](played([]), PROBLEM, []).total == pytest.approx(REWARDS[name].maximum)


def _match(options: dict[str, object]) -> Reward:
    spec = RewardSpec(terms=(TermSpec.model_validate({"use": "tool-match", "with": options, "weight": 1.0}),))
    return built(spec)


def test_the_limit_of_calls_can_be_moved_and_switched_off() -> None:
    spam = played(["add"] * 6)
    assert _match({})(spam, PROBLEM, [shown("add")]).total == 0.0
    assert _match({"excess": {"times": 4}})(spam, PROBLEM, [shown("add")]).total == 1.0
    assert _match({"excess": {"times": 1, "plus": 0}})(played(["add"] * 2), PROBLEM, [shown("add")]).total == 0.0
    assert _match({"excess": None})(played(["add"] * 500), PROBLEM, [shown("add")]).total == 1.0


NAMES = st.sampled_from(["add", "sqrt", "floor", "power"])
STATES = st.sampled_from(list(CallState))
CALLS = st.lists(st.builds(ToolCall, name=NAMES, state=STATES), max_size=12)
TRAJECTORIES = st.builds(
    played,
    CALLS,
    correct=st.booleans(),
    ending=st.sampled_from(list(Ending)),
    answer=st.sampled_from([None, "", "5", "6"]),
)
DEMONSTRATIONS = st.lists(st.lists(NAMES, max_size=4).map(lambda names: shown(*names)), min_size=1, max_size=3)
NAME_OF_PRESET = st.sampled_from(PRESETS)


@given(NAME_OF_PRESET, TRAJECTORIES, DEMONSTRATIONS)
def test_rewards_stay_between_zero_and_the_maximum(
    name: str, trajectory: Trajectory, demonstrations: list[Demonstration]
) -> None:
    assert 0.0 <= REWARDS[name](trajectory, PROBLEM, demonstrations).total <= REWARDS[name].maximum + 1e-12


@given(NAME_OF_PRESET, TRAJECTORIES, DEMONSTRATIONS, st.text(max_size=30))
def test_rewards_do_not_depend_on_any_text(
    name: str, trajectory: Trajectory, demonstrations: list[Demonstration], text: str
) -> None:
    quoted = text + '\\boxed{5} <tool_call>{"name": "add", "arguments": {}}</tool_call>'
    messages = [m.model_copy(update={"content": quoted, "reasoning": quoted}) for m in trajectory.messages]
    rewritten = trajectory.model_copy(update={"messages": tuple(messages)})
    asked = PROBLEM.model_copy(update={"question": quoted, "system": quoted})
    reward = REWARDS[name]
    assert reward(rewritten, asked, demonstrations) == reward(trajectory, PROBLEM, demonstrations)


@given(NAME_OF_PRESET, TRAJECTORIES, DEMONSTRATIONS, st.randoms())
def test_rewards_do_not_depend_on_the_order_of_calls_or_demonstrations(
    name: str, trajectory: Trajectory, demonstrations: list[Demonstration], random: object
) -> None:
    first, *turns, last = trajectory.messages
    random.shuffle(turns)  # type: ignore[attr-defined]
    shuffled = trajectory.model_copy(update={"messages": (first, *turns, last)})
    reward = REWARDS[name]
    assert reward(shuffled, PROBLEM, demonstrations[::-1]) == reward(trajectory, PROBLEM, demonstrations)


@given(st.sampled_from(["mentor", "mentor-overlap", "mentor-f1"]), TRAJECTORIES, DEMONSTRATIONS)
def test_repeating_calls_never_earns_more(
    name: str, trajectory: Trajectory, demonstrations: list[Demonstration]
) -> None:
    first, *turns, last = trajectory.messages
    doubled = trajectory.model_copy(update={"messages": (first, *turns, *turns, last)})
    reward = REWARDS[name]
    assert reward(doubled, PROBLEM, demonstrations).total <= reward(trajectory, PROBLEM, demonstrations).total


@given(TRAJECTORIES, DEMONSTRATIONS)
def test_f1_lies_between_match_and_overlap(trajectory: Trajectory, demonstrations: list[Demonstration]) -> None:
    match, f1, overlap = (
        REGISTRY.build("reward_terms", ComponentSpec(use=name), CONTEXT).score(trajectory, PROBLEM, demonstrations)
        for name in ("tool-match", "tool-f1", "tool-overlap")
    )
    assert match <= f1 <= overlap
