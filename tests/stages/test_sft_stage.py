from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from rollout_fakes import ASSISTANT, END, TOOL, USER, encode
from stage_fakes import (
    Digits,
    GappyTeacher,
    ListContext,
    RecordingPolicy,
    demonstration,
    experiment,
    plain,
    question_of,
)

from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import CallState, Message, ToolCall, assistant, user
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError, Interrupted, UsageError
from mentor_kit.core.task import Problem
from mentor_kit.stages import Experiment
from mentor_kit.stages.sft import SFTStage
from mentor_kit.stages.sft_options import SFTOptions


def run(made: Experiment | None = None, context: ListContext | None = None, **options: Any) -> ListContext:
    made = made or experiment(teacher=GappyTeacher())
    assert isinstance(made.policy, RecordingPolicy)
    context = context or ListContext(made.policy)
    values: dict[str, Any] = {"steps": 3, "batch": 2, "optimizer": {"lr": 0.1, "schedule": "constant"}}
    SFTStage(SFTOptions.model_validate({**values, **options})).run(made, context)
    return context


def updates(context: ListContext) -> list[list[TokenGroup]]:
    return [groups for groups, _ in context.policy.of("forward_backward")]


def names(context: ListContext) -> list[list[str]]:
    return [[question_of(group) for group in groups] for groups in updates(context)]


def test_the_tokens_of_a_demonstration_and_their_mask():
    context = run(steps=1, batch=1)
    ((group,),) = updates(context)
    (completion,) = group.completions
    call, answer = [*encode("!add {}"), END], [*encode("0"), END]
    between = [TOOL, *encode("1"), END, ASSISTANT]
    assert group.prompt_ids.tolist() == [USER, *encode("Q p0"), END, ASSISTANT]
    assert completion.ids.tolist() == [*call, *between, *answer]
    assert completion.mask.tolist() == [1.0] * len(call) + [0.0] * len(between) + [1.0] * len(answer)
    assert context.policy.of("forward_backward")[0][1].spec.loss.use == "likelihood"


def test_fresh_problems_at_every_step():
    assert names(run()) == [["p0", "p1"], ["p2", "p3"], ["p4", "p5"]]


def test_another_split_may_be_imitated():
    assert names(run(steps=1, split="in-domain")) == [["i0", "i1"]]


def test_a_pool_is_gone_through_again_and_again():
    teacher = GappyTeacher()
    assert names(run(experiment(teacher=teacher), steps=4, problems=3)) == [
        ["p0", "p1"], ["p2", "p0"], ["p1", "p2"], ["p0", "p1"],
    ]  # fmt: skip
    assert [name for asked in teacher.asked for name in asked] == ["p0", "p1", "p2"]


def test_a_task_smaller_than_the_batch():
    teacher = GappyTeacher()
    assert names(run(experiment(teacher=teacher, task=Digits(1)), steps=1, batch=3)) == [["p0", "p0", "p0"]]
    assert teacher.asked == [["p0"]]


def test_what_a_teacher_has_for_none_of_the_problems_is_said_once():
    class Keeper(GappyTeacher):
        def unasked(self, problems: Sequence[Problem]) -> str | None:
            left = {"p0", "p1", "p2", "p3"} - {problem.id for problem in problems}
            return f"missed {sorted(left)}" if left else None

    def notes(*, state: dict[str, Any] | None = None, **options: Any) -> list[str]:
        made = experiment(teacher=Keeper())
        context = ListContext(made.policy, state=state)
        return [note["text"] for note in run(made, context, steps=4, **options).of("note")]

    (said,) = notes(problems=2)
    assert "missed ['p2', 'p3']" in said
    assert notes(problems=4) == notes() == []
    assert notes(problems=2, state={"step": 2, "position": 2}) == []  # it was said when the stage began


@pytest.mark.parametrize("record", [True, False])
def test_what_is_not_recorded_leaves_no_trace(record):
    made = experiment(teacher=GappyTeacher())
    context = run(made, record=record)
    assert names(context) == [["p0", "p1"], ["p2", "p3"], ["p4", "p5"]]
    assert len(made.demonstrations) == len(context.demonstrations) == (6 if record else 0)


def test_only_right_demonstrations_unless_all_are_wanted():
    teacher = GappyTeacher(wrong=["p1"])
    assert names(run(experiment(teacher=teacher), steps=1)) == [["p0", "p0"]]
    assert names(run(experiment(teacher=teacher), steps=1, keep="all")) == [["p0", "p1"]]


def test_wrong_demonstrations_from_an_earlier_stage_are_not_imitated():
    made = experiment(teacher=GappyTeacher())
    first, second = Digits().problems("train", 0, 2)
    made.demonstrations.add(demonstration(first, correct=False))
    made.demonstrations.add(demonstration(second))
    assert names(run(made, steps=1)) == [["p1", "p1"]]


def test_problems_without_a_demonstration_are_passed_over():
    teacher = GappyTeacher(silent=["p2", "p3"])
    context = run(experiment(teacher=teacher), steps=4, problems=6)
    assert names(context) == [["p0", "p1"], ["p4", "p5"], ["p0", "p1"], ["p4", "p5"]]
    assert sorted(name for asked in teacher.asked for name in asked) == [f"p{n}" for n in range(6)]


def test_few_demonstrations_of_many_problems_are_gone_through_again_and_again():
    silent = [f"p{n}" for n in range(3, 100)]
    made = names(run(experiment(teacher=GappyTeacher(silent=silent)), steps=50))
    assert [name for step in made for name in step] == ["p0", "p1", "p2"] * 33 + ["p0"]


def test_no_demonstration_at_all_names_what_to_do():
    with pytest.raises(DataError) as caught:
        run(experiment(teacher=GappyTeacher(silent=["p0", "p1", "p2"])), problems=3)
    assert "'gappy'" in caught.value.message
    assert "`problems`" in str(caught.value.hint)
    assert "`keep: all`" in str(caught.value.hint)


ODD: dict[str, Callable[[Demonstration], Demonstration]] = {
    "names of tools": lambda shown: shown.model_copy(update={"trajectory": None}),
    "a malformed call": lambda shown: with_turn(
        shown, assistant(calls=[ToolCall(raw='{"x": 2 "y"}', state=CallState.MALFORMED)])
    ),
    "'subtract'": lambda shown: with_turn(shown, assistant(calls=[ToolCall(name="subtract")])),
    "tokens": lambda shown: with_turn(shown, assistant("x" * 2000)),
    "assistant says nothing": lambda shown: with_messages(shown, [user("Q p1")]),
}


def with_turn(shown: Demonstration, turn: Message) -> Demonstration:
    assert shown.trajectory is not None
    messages = shown.trajectory.messages
    return with_messages(shown, [messages[0], turn, *messages[1:]])


def with_messages(shown: Demonstration, messages: Sequence[Message]) -> Demonstration:
    assert shown.trajectory is not None
    changed = shown.trajectory.model_copy(update={"messages": tuple(messages)})
    return shown.model_copy(update={"trajectory": changed})


class OddTeacher(GappyTeacher):
    """Shows p1 in an odd way."""

    def __init__(self, odd: Callable[[Demonstration], Demonstration], **options: Any) -> None:
        super().__init__(**options)
        self.odd = odd

    async def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        async for shown in super().demonstrate(problems):
            yield self.odd(shown) if shown.problem_id == "p1" else shown


@pytest.mark.parametrize("reason", ODD)
@pytest.mark.parametrize("record", [True, False])
def test_what_cannot_be_imitated_is_named_and_left_out(reason, record):
    context = run(experiment(teacher=OddTeacher(ODD[reason])), steps=3, problems=3, record=record)
    assert names(context) == [["p0", "p2"], ["p0", "p2"], ["p0", "p2"]]
    (note,) = context.of("note")
    assert "'p1'" in note["text"]
    assert "'gappy'" in note["text"]
    assert reason in note["text"]
    assert [step["left_out"] for step in context.of("step")] == [1, 1, 1]


@pytest.mark.parametrize("reason", ODD)
def test_what_cannot_be_imitated_ends_the_run_where_that_is_asked_for(reason):
    with pytest.raises(DataError, match="'p1' by 'gappy'") as caught:
        run(experiment(teacher=OddTeacher(ODD[reason])), broken="fail")
    assert reason in caught.value.message
    assert "broken: skip" in str(caught.value.hint)


def test_nothing_left_is_an_error_that_counts_them():
    with pytest.raises(DataError, match="any of 6 problems; 6 cannot"):
        run(experiment(teacher=GappyTeacher(names_only=True)))


def test_there_must_be_a_teacher_and_problems():
    with pytest.raises(UsageError, match="needs a teacher"):
        run(experiment())
    with pytest.raises(UsageError, match="no problems in its split 'train'"):
        run(experiment(teacher=GappyTeacher(), task=Digits(0)))


def test_a_stage_may_have_its_own_teacher():
    own, general = GappyTeacher(), GappyTeacher()
    slots = []

    def build(slot: ComponentSpec) -> GappyTeacher:
        slots.append(slot)
        return own

    run(experiment(teacher=general, build_teacher=build), steps=1, teacher={"use": "special", "with": {"x": 1}})
    assert (own.asked, general.asked) == ([["p0", "p1"]], [])
    assert slots == [ComponentSpec(use="special", options={"x": 1})]


@pytest.mark.parametrize("record", [True, False])
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(record):
    options = {"steps": 5, "problems": 4, "batch": 3, "record": record}
    whole = run(experiment(teacher=GappyTeacher(silent=["p2"])), **options)
    policy = RecordingPolicy()
    context = ListContext(policy, stop_at=2)
    with pytest.raises(Interrupted):
        run(experiment(policy, teacher=GappyTeacher(silent=["p2"])), context, **options)
    step, state, _, _ = context.checkpoints[-1]
    assert step == 2
    later = RecordingPolicy()
    made = experiment(later, teacher=GappyTeacher(silent=["p2"]))
    for shown in context.demonstrations:
        made.demonstrations.add(shown)
    run(made, ListContext(later, state=state), **options)
    assert plain([*policy.calls, *later.calls]) == plain(whole.policy.calls)


def test_a_step_tells_what_happened():
    event = run(steps=1).of("step")[0]
    assert (event["step"], event["steps"], event["demonstrations"], event["loss"]) == (1, 1, 2, 0.5)
    assert event["tokens"] == 2 * (len("!add {}") + 1 + 2)
    assert event["tokens_per_second"] == pytest.approx(event["tokens"] / event["seconds"])
