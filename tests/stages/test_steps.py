"""Evaluations that fail cost nothing that was trained, and are all that a resumed run makes up for."""

from __future__ import annotations

from typing import Any

import pytest
from stage_fakes import Digits, GappyTeacher, ListContext, RecordingPolicy, experiment

from mentor_kit.core.errors import DataError, Interrupted
from mentor_kit.core.task import IN_DOMAIN
from mentor_kit.stages import EvaluationPlan, Experiment, SplitPlan
from mentor_kit.stages.grpo import GRPOStage
from mentor_kit.stages.grpo_options import GRPOOptions
from mentor_kit.stages.sft import SFTStage
from mentor_kit.stages.sft_options import SFTOptions

STAGES: dict[str, Any] = {
    "grpo": GRPOStage(
        GRPOOptions.model_validate(
            {"steps": 3, "problems": 2, "group": 2, "optimizer": {"lr": 0.1}, "objective": {"preset": "grpo", "kl": 0}}
        )
    ),
    "sft": SFTStage(SFTOptions.model_validate({"steps": 3, "batch": 2, "optimizer": {"lr": 0.1}})),
}


class Fragile(Digits):
    """A task whose checker breaks on an evaluation's problem once the student has had so many updates."""

    def __init__(self, policy: RecordingPolicy, at: int | None) -> None:
        super().__init__()
        self.policy, self.at = policy, at

    def check(self, answer: str, problem: Any) -> bool:
        if problem.split == IN_DOMAIN and self.policy.version == self.at:
            raise DataError("the checker broke")
        return super().check(answer, problem)


def made(policy: RecordingPolicy, at: int | None = None, **plan: Any) -> Experiment:
    evaluation = EvaluationPlan(on=(SplitPlan(split=IN_DOMAIN, problems=3),), **plan)
    return experiment(policy, evaluation=evaluation, task=Fragile(policy, at), teacher=GappyTeacher())


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("every", "at"), [(0, 3), (1, 1), (2, 2), (1, 3)])
def test_what_was_trained_is_kept_when_its_evaluation_fails(stage: str, every: int, at: int) -> None:
    policy = RecordingPolicy()
    context = ListContext(policy)
    with pytest.raises(DataError, match="the checker broke"):
        STAGES[stage].run(made(policy, at, every=every), context)
    step, state, metrics, version = context.checkpoints[-1]
    assert (step, metrics, version) == (at, {}, at)
    # the resumed run makes the evaluation, and takes no step that was taken
    again = ListContext(policy, state=state)
    STAGES[stage].run(made(policy, every=every), again)
    assert next(event["step"] for event in again.of("evaluation")) == at
    assert [event["step"] for event in again.of("step")] == list(range(at + 1, 4))
    step, state, metrics, version = again.checkpoints[0]
    assert (step, version, sorted(metrics)) == (
        at,
        at,
        ["in-domain/greedy", "in-domain/sampled", "in-domain/similarity"],
    )
    # and a third one finds nothing left of it
    last = ListContext(policy, state=again.checkpoints[-1][1])
    STAGES[stage].run(made(policy, every=every), last)
    assert last.events == []


def test_the_state_after_an_evaluation_is_that_of_a_step_without_one() -> None:
    with_one, without = (ListContext(RecordingPolicy()) for _ in range(2))
    STAGES["grpo"].run(made(with_one.policy), with_one)
    STAGES["grpo"].run(made(without.policy, at_end=False), without)
    assert with_one.checkpoints[-1][1] == without.checkpoints[-1][1]


def test_a_stop_does_not_wait_for_the_evaluation() -> None:
    policy = RecordingPolicy()
    context = ListContext(policy, stop_at=2)
    with pytest.raises(Interrupted):
        STAGES["grpo"].run(made(policy, every=2, at_start=False), context)
    assert context.of("evaluation") == []
    again = ListContext(policy, state=context.checkpoints[-1][1])
    STAGES["grpo"].run(made(policy, every=2), again)
    assert [event["step"] for event in again.of("evaluation")] == [2, 3]
    assert [event["step"] for event in again.of("step")] == [3]
