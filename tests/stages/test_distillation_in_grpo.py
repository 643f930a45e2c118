"""The stage `grpo` with an objective that distils, against advantages computed with loops over its rollouts."""

from __future__ import annotations

import math
import statistics
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from stage_fakes import (
    GappyTeacher,
    ListContext,
    RecordingPolicy,
    demonstration,
    experiment,
    plain,
    question_of,
    spoken,
)

from mentor_kit.backend.sampling import SampleRequest
from mentor_kit.backend.token_groups import Floats, TokenCompletion, TokenGroup
from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError, Interrupted, UsageError
from mentor_kit.core.task import Problem
from mentor_kit.rl.objective import ObjectiveSpec
from mentor_kit.rl.reward import Scored
from mentor_kit.stages import Experiment
from mentor_kit.stages.distillation import TokenTeacher
from mentor_kit.stages.grpo import GRPOStage
from mentor_kit.stages.grpo_options import GRPOOptions

OPD = ObjectiveSpec(preset="opd")
SOD = ObjectiveSpec(preset="sod")


def teacher_says(token: int, place: int) -> float:
    """The teacher's log-probability of a token at a place; any function would do."""
    return -0.1 - ((token * 31 + place * 17) % 23) / 5


class ReadingTeacher(TokenTeacher):
    """Reads tokens; what it says of inserted ones is garbage that must not count."""

    name = "reading"

    def __init__(self, *, foreign: bool = False, mad: bool = False) -> None:
        self.foreign = foreign
        self.mad = mad
        self.asked: list[str] = []
        self.checked = 0

    async def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        for problem in problems:
            self.asked.append(problem.id)
            yield demonstration(problem)

    def check_tokens(self, tokenizer: Any) -> None:
        self.checked += 1
        if self.foreign:
            raise UsageError("the teacher has another tokenizer")

    def log_probs(self, groups: Sequence[TokenGroup]) -> list[list[Floats]]:
        return [[self._read(completion) for completion in group.completions] for group in groups]

    def _read(self, completion: TokenCompletion) -> Floats:
        said = [
            teacher_says(int(token), place) if trained and not self.mad else math.nan
            for place, (token, trained) in enumerate(zip(completion.ids, completion.mask, strict=True))
        ]
        return np.array(said, dtype=np.float32)


def calls_first(request: SampleRequest, version: int) -> str:
    """One or two calls, then a digit."""
    turn = sum(token == 4 for token in request.context)
    return "!add {}" if turn <= request.seed % 2 else spoken(request, version)


def stage(**options: Any) -> GRPOStage:
    values: dict[str, Any] = {
        "steps": 2, "problems": 3, "group": 4, "optimizer": {"lr": 0.1, "schedule": "constant"}, "objective": OPD,
    }  # fmt: skip
    return GRPOStage(GRPOOptions.model_validate({**values, **options}))


def run(made: Experiment | None = None, context: ListContext | None = None, **options: Any) -> ListContext:
    made = made or learner()
    assert isinstance(made.policy, RecordingPolicy)
    context = context or ListContext(made.policy)
    stage(**options).run(made, context)
    return context


def learner(**changes: Any) -> Experiment:
    limits = EpisodeLimits(max_turn_tokens=20, max_response_tokens=400)
    return experiment(
        **{"policy": RecordingPolicy(calls_first), "teacher": ReadingTeacher(), "limits": limits, **changes}
    )


def updates(context: ListContext) -> list[list[TokenGroup]]:
    return [groups for groups, _ in context.policy.of("forward_backward")]


def oracle(scored: Sequence[Scored], reward: float, distill: float, cap: float | None, shift: float = 0.0) -> list[Any]:
    """Advantages of a group by loops; `shift` is what recomputed log-probabilities differ by from the sampler's."""
    totals = [item.reward.total for item in scored]
    spread = statistics.stdev(totals) + 1e-6
    found = []
    for item, total in zip(scored, totals, strict=True):
        trace = item.trajectory.tokens
        assert trace is not None
        steps: list[list[int]] = [[]]
        for place, sampled in enumerate(trace.mask):
            if sampled:
                steps[-1].append(place)
            elif steps[-1]:
                steps.append([])
        gaps = {t: teacher_says(trace.ids[t], t) - (trace.log_probs[t] + shift) for step in steps for t in step}
        means = [statistics.fmean(abs(gaps[t]) for t in step) for step in steps if step]
        row = [0.0] * len(trace.ids)
        for step, mean in zip([step for step in steps if step], means, strict=True):
            weight = 1.0 if cap is None else min((means[0] + 1e-6) / (mean + 1e-6), cap)
            for t in step:
                row[t] = reward * (total - statistics.fmean(totals)) / spread + distill * weight * gaps[t]
        found.append(row)
    return found


@pytest.mark.parametrize(
    ("objective", "reward", "distill", "cap"),
    [
        (OPD, 0.0, 1.0, None),
        (SOD, 1.0, 1.0, 1.2),
        (ObjectiveSpec(preset="sod", reward=0.5, distill=0.25, step_cap=1.5), 0.5, 0.25, 1.5),
        (ObjectiveSpec(preset="grpo", kl=0.0, distill=2.0), 1.0, 2.0, None),
        (ObjectiveSpec(preset="opd", step_weights="sod"), 0.0, 1.0, 1.2),
    ],
)
def test_every_tokens_advantage_is_the_loops(
    objective: ObjectiveSpec, reward: float, distill: float, cap: float
) -> None:
    context = run(objective=objective)
    turns = set()
    for step, groups in enumerate(updates(context), start=1):
        for place, group in enumerate(groups):
            scored = context.rollouts[step][4 * place : 4 * place + 4]
            for completion, expected, item in zip(
                group.completions, oracle(scored, reward, distill, cap), scored, strict=True
            ):
                np.testing.assert_allclose(completion.advantage, expected, rtol=1e-5, atol=1e-6)
                assert completion.advantage.dtype == np.float32
                assert not completion.advantage[completion.mask == 0].any()  # tool results never count
                turns.add(len(item.trajectory.turns))
    assert turns == {2, 3}


def test_recomputed_log_probabilities_are_the_students() -> None:
    """`RecordingPolicy.log_probs` gives the sampler's less 1."""
    context = run(objective=SOD, minibatches=3, steps=1)
    groups = [group for part in updates(context) for group in part]
    assert len(groups) == 3
    for place, group in enumerate(groups):
        expected = oracle(context.rollouts[1][4 * place : 4 * place + 4], 1.0, 1.0, 1.2, shift=-1.0)
        for completion, row in zip(group.completions, expected, strict=True):
            np.testing.assert_allclose(completion.advantage, row, rtol=1e-5, atol=1e-6)


def test_a_step_tells_how_far_the_teacher_is() -> None:
    context = run(objective=SOD, steps=1)
    traces = [item.trajectory.tokens for item in context.rollouts[1]]
    gaps = [
        trace.log_probs[t] - teacher_says(trace.ids[t], t)
        for trace in traces
        if trace is not None
        for t in range(len(trace.ids))
        if trace.mask[t]
    ]
    (event,) = context.of("step")
    assert event["teacher_kl"] == pytest.approx(statistics.fmean(gaps), rel=1e-5)
    assert 0 < event["step_weight"] <= 1.2
    assert "step_weight" not in run(steps=1).of("step")[0]
    assert "teacher_kl" not in run(steps=1, objective=ObjectiveSpec(preset="grpo", kl=0)).of("step")[0]


def test_distillation_alone_needs_neither_reward_nor_demonstrations() -> None:
    teacher = ReadingTeacher()
    context = run(learner(teacher=teacher, reward=None), steps=1)
    assert [question_of(group) for group in updates(context)[0]] == ["p0", "p1", "p2"]
    assert (teacher.asked, context.demonstrations) == ([], [])
    assert [item.reward.total for item in context.rollouts[1]] == [
        float(item.trajectory.correct) for item in context.rollouts[1]
    ]
    assert {item.advantage for item in context.rollouts[1]} == {None}


def test_mixed_with_the_reward_problems_are_those_shown() -> None:
    teacher = ReadingTeacher()
    demonstrates = GappyTeacher(silent=["p1"])
    built: list[ComponentSpec] = []

    def build(spec: ComponentSpec) -> ReadingTeacher:
        built.append(spec)
        return teacher

    spec = ComponentSpec(use="local", options={"model": "x"})
    context = run(learner(teacher=demonstrates, build_teacher=build), steps=1, objective=SOD, teacher=spec)
    assert [question_of(group) for group in updates(context)[0]] == ["p0", "p2", "p3"]
    assert (built, teacher.asked, teacher.checked) == ([spec], [], 1)


def test_groups_of_one_are_enough_without_rewards() -> None:
    context = run(steps=1, group=1)
    for group, item in zip(updates(context)[0], context.rollouts[1], strict=True):
        trace = item.trajectory.tokens
        assert trace is not None
        expected = [(teacher_says(trace.ids[t], t) - trace.log_probs[t]) * trace.mask[t] for t in range(len(trace.ids))]
        np.testing.assert_allclose(group.completions[0].advantage, expected, rtol=1e-5, atol=1e-6)


def test_masked_trajectories_have_no_part() -> None:
    made = learner(policy=RecordingPolicy(lambda request, version: "x" * (15 + request.seed % 10)))
    context = run(made, steps=1, mask_unended=True)
    kept = {bool(c.mask.any()) for group in updates(context)[0] for c in group.completions}
    assert kept == {True, False}
    assert not any(c.advantage.any() for g in updates(context)[0] for c in g.completions if not c.mask.any())


def test_a_resumed_stage_goes_on_as_if_never_stopped() -> None:
    whole = run(objective=SOD, steps=4)
    policy = RecordingPolicy(calls_first)
    first = ListContext(policy, stop_at=2)
    with pytest.raises(Interrupted):
        run(learner(policy=policy), first, objective=SOD, steps=4)
    second = ListContext(policy, state=first.checkpoints[-1][1])
    run(learner(policy=policy), second, objective=SOD, steps=4)
    assert plain(updates(second)) == plain(updates(whole))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": SOD, "group": 1}, "group is 1: rewards are compared within a group"),
        ({"objective": OPD, "resample": 2}, "resample is about rewards"),
        ({"objective": OPD, "permute_rewards": True}, "permute_rewards is about rewards"),
        ({"objective": {"preset": "grpo"}, "teacher": "local"}, "the objective does not distil"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        stage(**options)


def test_the_teacher_must_read_the_students_tokens() -> None:
    for made, error, message in (
        (learner(teacher=GappyTeacher()), UsageError, "'gappy' gives no log-probabilities"),
        (learner(teacher=None), UsageError, "needs a teacher"),
        (learner(teacher=ReadingTeacher(foreign=True)), UsageError, "another tokenizer"),
        (learner(teacher=ReadingTeacher(mad=True)), DataError, "'reading' .*log-prob.*not finite"),
    ):
        with pytest.raises(error, match=message):
            run(made, steps=1)


def test_it_is_checked_before_the_run_begins() -> None:
    made = learner(teacher=GappyTeacher())
    found = stage()
    with pytest.raises(UsageError, match="'gappy' gives no log-probabilities"):
        found.check(made)
    assert made.policy.calls == []  # type: ignore[attr-defined]
    stage(objective=ObjectiveSpec(preset="grpo")).check(made)
