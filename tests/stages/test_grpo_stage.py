from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import pytest
from stage_fakes import (
    Digits,
    DigitTerm,
    GappyTeacher,
    ListContext,
    RecordingPolicy,
    demonstration,
    digit_of,
    experiment,
    plain,
    question_of,
    spoken,
    texts_of,
)

from mentor_kit.backend.sampling import SampleRequest
from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.errors import DataError, Interrupted, UsageError
from mentor_kit.core.task import IN_DOMAIN
from mentor_kit.rl.objective import Objective, ObjectiveSpec
from mentor_kit.rl.reward import Reward, Schedule, WeightedTerm
from mentor_kit.stages import EvaluationPlan, Experiment, SplitPlan
from mentor_kit.stages.grpo import GRPOStage
from mentor_kit.stages.grpo_options import GRPOOptions

PLAIN = ObjectiveSpec(preset="grpo", kl=0)


def stage(**options: Any) -> GRPOStage:
    values: dict[str, Any] = {
        "steps": 2, "problems": 3, "group": 4, "optimizer": {"lr": 0.1, "schedule": "constant"}, "objective": PLAIN,
    }  # fmt: skip
    return GRPOStage(GRPOOptions.model_validate({**values, **options}))


def run(made: Experiment | None = None, context: ListContext | None = None, **options: Any) -> ListContext:
    made = made or experiment()
    assert isinstance(made.policy, RecordingPolicy)
    context = context or ListContext(made.policy)
    stage(**options).run(made, context)
    return context


def updates(context: ListContext) -> list[list[TokenGroup]]:
    return [groups for groups, _ in context.policy.of("forward_backward")]


def test_advantages_are_those_of_each_group_and_belong_to_their_completions():
    context = run()
    for step, groups in enumerate(updates(context), start=1):
        rollouts = context.rollouts[step]
        assert len(rollouts) == 12
        assert [question_of(group) for group in groups] == [f"p{3 * (step - 1) + n}" for n in range(3)]
        for place, group in enumerate(groups):
            scored = rollouts[4 * place : 4 * place + 4]
            assert {item.trajectory.problem_id for item in scored} == {question_of(group)}
            assert texts_of(group) == [str(digit_of(item.trajectory)) for item in scored]
            rewards = [digit_of(item.trajectory) / 10 for item in scored]
            spread = statistics.stdev(rewards) + 1e-6
            expected = [(reward - statistics.fmean(rewards)) / spread for reward in rewards]
            assert [c.advantage for c in group.completions] == pytest.approx(expected, abs=1e-9)
            assert [item.advantage for item in scored] == [c.advantage for c in group.completions]


def test_completions_have_the_samplers_tokens():
    context = run(steps=1)
    for group, start in zip(updates(context)[0], (0, 4, 8), strict=True):
        for completion, item in zip(group.completions, context.rollouts[1][start : start + 4], strict=True):
            trace = item.trajectory.tokens
            assert trace is not None
            assert completion.ids.tolist() == list(trace.ids)
            assert completion.mask.tolist() == list(trace.mask)
            assert completion.log_probs.tolist() == pytest.approx(list(trace.log_probs))
            assert group.prompt_ids.tolist() == list(trace.prompt_ids)


def test_rollouts_of_a_problem_differ_and_so_do_steps():
    context = run(experiment(task=Digits(3)), steps=2)  # the same three problems in both steps
    seeds = [request.seed for request in context.policy.engine().requests]
    assert len(set(seeds)) == 24


def test_a_task_with_few_problems_plays_them_several_times():
    context = run(experiment(task=Digits(2)), problems=3, steps=1)
    assert [question_of(group) for group in updates(context)[0]] == ["p0", "p1", "p0"]
    assert len({item.trajectory.id for item in context.rollouts[1]}) == 12
    assert len({request.seed for request in context.policy.engine().requests}) == 12


def flat_for(names: Sequence[str]) -> RecordingPolicy:
    def speak(request: SampleRequest, version: int) -> str:
        name, _, index = request.session.partition("#")
        return "5" if name in names else index

    return RecordingPolicy(speak)


def test_dynamic_sampling_replaces_groups_without_spread():
    context = run(experiment(flat_for(["p0", "p2", "p3"])), steps=1, resample=5)
    # p0 and p2 are flat, so p3 and p4 are played; p3 is flat, so p5 is
    assert [question_of(group) for group in updates(context)[0]] == ["p1", "p4", "p5"]
    assert len(context.rollouts[1]) == 4 * 6
    # replaced groups have no advantages, and all problems are recorded
    has = {item.trajectory.problem_id: item.advantage is not None for item in context.rollouts[1]}
    assert has == {"p0": False, "p1": True, "p2": False, "p3": False, "p4": True, "p5": True}
    assert list(context.problems) == ["p0", "p1", "p2", "p3", "p4", "p5"]
    (event,) = context.of("step")
    assert event["rounds"] == 3
    assert event["zero_variance_groups"] == pytest.approx(3 / 6)
    assert context.checkpoints[-1][1]["position"] == 6


def test_dynamic_sampling_is_bounded_and_keeps_what_it_could_not_replace():
    context = run(experiment(flat_for([f"p{n}" for n in range(100) if n != 4])), steps=1, resample=1)
    groups = updates(context)[0]
    assert [question_of(group) for group in groups] == ["p0", "p1", "p4"]
    assert len(context.rollouts[1]) == 4 * 6
    assert [c.advantage for c in groups[1].completions] == [0.0] * 4
    assert context.of("step")[0]["rounds"] == 2


def test_without_dynamic_sampling_zero_variance_groups_stay_in_place():
    context = run(experiment(flat_for(["p0"])), steps=1)
    assert [question_of(group) for group in updates(context)[0]] == ["p0", "p1", "p2"]
    assert context.of("step")[0]["zero_variance_groups"] == pytest.approx(1 / 3)


def test_what_a_group_says_again_is_counted():
    said = {"p0": "1111", "p1": "1211", "p2": "1234"}

    def speak(request: SampleRequest, version: int) -> str:
        name, _, index = request.session.partition("#")
        return said[name][int(index)]

    context = run(experiment(RecordingPolicy(speak)), steps=1)
    assert context.of("step")[0]["distinct"] == pytest.approx((1 + 2 + 4) / 12)


def overlong() -> RecordingPolicy:
    return RecordingPolicy(lambda request, version: "9" * 30 if request.session.endswith("#1") else spoken(request, 0))


@pytest.mark.parametrize("mask", [False, True])
def test_masking_what_did_not_end(mask):
    context = run(experiment(overlong()), steps=1, mask_unended=mask)
    for place, group in enumerate(updates(context)[0]):
        scored = context.rollouts[1][4 * place : 4 * place + 4]
        assert [item.trajectory.ended for item in scored] == [True, False, True, True]
        assert [bool(c.mask.any()) for c in group.completions] == [True, not mask, True, True]
        # what is masked keeps its part in the group's mean
        rewards = [digit_of(item.trajectory) / 10 for item in scored]
        expected = (rewards[0] - statistics.fmean(rewards)) / (statistics.stdev(rewards) + 1e-6)
        assert group.completions[0].advantage == pytest.approx(expected)


def test_permuted_rewards_stay_in_their_group():
    straight, permuted = run(steps=1, group=8), run(steps=1, group=8, permute_rewards=True)
    moved = 0
    for one, other in zip(updates(straight)[0], updates(permuted)[0], strict=True):
        before, after = ([c.advantage for c in group.completions] for group in (one, other))
        assert sorted(after) == pytest.approx(sorted(before))
        moved += before != after
        assert texts_of(one) == texts_of(other)
    assert moved > 0
    # what is reported and kept are the rewards as they were
    assert [item.reward for item in straight.rollouts[1]] == [item.reward for item in permuted.rollouts[1]]
    trained = [completion.advantage for group in updates(permuted)[0] for completion in group.completions]
    assert [item.advantage for item in permuted.rollouts[1]] == trained
    again = run(steps=1, group=8, permute_rewards=True)
    assert plain(again.policy.of("forward_backward")) == plain(permuted.policy.of("forward_backward"))


@pytest.mark.parametrize(
    ("minibatches", "epochs", "sizes"),
    [(1, 1, [5]), (2, 1, [2, 3]), (5, 1, [1] * 5), (9, 1, [1] * 5), (2, 3, [2, 3] * 3), (1, 2, [5, 5])],
)
def test_minibatches_and_epochs(minibatches, epochs, sizes):
    context = run(steps=1, problems=5, minibatches=minibatches, epochs=epochs)
    assert sorted(map(len, updates(context)[:minibatches])) == sorted(sizes[:minibatches])
    assert len(updates(context)) == len(context.policy.of("optimizer_step")) == len(sizes)
    per_epoch = len(sizes) // epochs
    for epoch in range(epochs):
        part = updates(context)[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert [question_of(group) for groups in part for group in groups] == [f"p{n}" for n in range(5)]
    kinds = [name for name, _ in context.policy.calls if name in ("forward_backward", "optimizer_step")]
    assert kinds == ["forward_backward", "optimizer_step"] * len(sizes)


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({}, False),
        ({"minibatches": 2}, True),
        ({"epochs": 2}, True),
        ({"objective": ObjectiveSpec(preset="grpo", kl=0, importance_cap=2.0)}, True),
    ],
)
def test_old_log_probs_are_recomputed_only_where_they_are_needed(options, needed):
    context = run(steps=1, **options)
    assert context.policy.of("log_probs") == ([(3, "current")] if needed else [])
    completions = [c for groups in updates(context) for group in groups for c in group.completions]
    for completion in completions:
        if needed:
            assert completion.old_log_probs is not None
            assert completion.old_log_probs.tolist() == (completion.log_probs - 1).tolist()
        else:
            assert completion.old_log_probs is None
    # before the first update, or they would not be those of the rollouts' weights
    kinds = [name for name, _ in context.policy.calls]
    assert not needed or kinds.index("log_probs") < kinds.index("forward_backward")


def test_dr_grpo_divides_by_the_longest_response_there_can_be():
    limits = EpisodeLimits(max_turn_tokens=20, max_response_tokens=33)
    context = run(experiment(limits=limits), steps=1, objective=ObjectiveSpec(preset="dr-grpo"))
    assert context.policy.of("forward_backward")[0][1].spec.constant_length == 33
    own = ObjectiveSpec(preset="dr-grpo", constant_length=7)
    assert run(steps=1, objective=own).policy.of("forward_backward")[0][1].spec.constant_length == 7
    assert run(steps=1).policy.of("forward_backward")[0][1].spec.constant_length is None


@pytest.mark.parametrize("kl", [0.0, 0.01])
def test_a_reference_is_kept_only_for_a_kl(kl):
    context = run(steps=1, objective=ObjectiveSpec(preset="grpo", kl=kl))
    assert len(context.policy.of("reference")) == (kl > 0)
    assert next(name for name, _ in context.policy.calls) == "prepare"


def test_the_learning_rate_follows_the_schedule():
    context = run(steps=4, optimizer={"lr": 0.4, "warmup": 2, "schedule": "linear", "final": 0.5})
    assert context.policy.of("optimizer_step") == pytest.approx([0.2, 0.4, 0.4, 0.3])


def test_weights_of_the_reward_follow_theirs():
    fading = Reward(terms=(WeightedTerm("digit", DigitTerm(), 1.0, schedule=Schedule(start=1.0, end=0.0)),))
    made = experiment(evaluation=EvaluationPlan(at_start=False, on=(SplitPlan(split=IN_DOMAIN, problems=2),)))
    made.reward = fading
    context = run(made, steps=3)
    for step, factor in ((1, 1.0), (2, 0.5), (3, 0.0)):
        for item in context.rollouts[step]:
            assert item.reward.total == pytest.approx(factor * digit_of(item.trajectory) / 10)
    (_, scored) = context.evaluations["0-stage-000003-in-domain"]
    assert {item.reward.total for item in scored} == {0.0}


def interrupted_and_resumed(stop_at: int, **options: Any) -> tuple[list[Any], list[Any]]:
    """All calls of a policy, in one go and in two."""

    def settings(policy: RecordingPolicy) -> Experiment:
        return experiment(
            policy,
            teacher=GappyTeacher(silent=["p1", "p5"], wrong=["p2"]),
            evaluation=EvaluationPlan(every=2, on=(SplitPlan(split=IN_DOMAIN, problems=4),)),
        )

    whole = RecordingPolicy()
    run(settings(whole), steps=5, **options)
    first = RecordingPolicy()
    context = ListContext(first, stop_at=stop_at)
    with pytest.raises(Interrupted):
        run(settings(first), context, steps=5, **options)
    step, state, _, version = context.checkpoints[-1]
    assert step == stop_at
    second = RecordingPolicy()
    second.version = second.engine().version = version
    later = settings(second)
    for shown in context.demonstrations:
        later.demonstrations.add(shown)
    run(later, ListContext(second, state=state), steps=5, **options)
    assert "prepare" not in [name for name, _ in second.calls]
    return plain(whole.calls), plain([*first.calls, *second.calls])


@pytest.mark.parametrize("stop_at", [1, 2, 4])
@pytest.mark.parametrize("options", [{}, {"minibatches": 2, "epochs": 2, "resample": 2, "permute_rewards": True}])
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(stop_at, options):
    whole, parts = interrupted_and_resumed(stop_at, **options)
    assert parts == whole


def test_stopping_comes_after_a_checkpoint():
    policy = RecordingPolicy()
    context = ListContext(policy, stop_at=2)
    with pytest.raises(Interrupted):
        run(experiment(policy), context, steps=5)
    assert [(step, version) for step, _, _, version in context.checkpoints] == [(2, 2)]
    assert len(context.of("step")) == 2


def test_a_finished_stage_does_nothing_when_resumed():
    policy = RecordingPolicy()
    run(experiment(policy), ListContext(policy, state={"step": 2, "position": 6}), steps=2)
    assert policy.calls == []


def test_problems_without_a_right_demonstration_are_skipped():
    teacher = GappyTeacher(silent=["p1"], wrong=["p3"])
    context = run(experiment(teacher=teacher), steps=2, problems=3)
    names = [[question_of(group) for group in groups] for groups in updates(context)]
    assert names == [["p0", "p2", "p4"], ["p5", "p6", "p7"]]
    assert sorted(shown.problem_id for shown in context.demonstrations) == ["p0", "p2", "p4", "p5", "p6", "p7"]
    assert context.checkpoints[-1][1] == {"step": 2, "position": 8}


def test_problems_with_wrong_demonstrations_from_before_are_skipped_too():
    teacher = GappyTeacher(wrong=["p1"])
    made = experiment(teacher=teacher)
    made.demonstrations.add(demonstration(Digits().problems("train", 0, 2)[1], correct=False))
    context = run(made, steps=1, problems=2)
    assert [question_of(group) for group in updates(context)[0]] == ["p0", "p2"]


def test_a_teacher_that_solves_nothing_ends_the_stage():
    teacher = GappyTeacher(wrong=[f"p{n}" for n in range(10)])
    with pytest.raises(DataError, match="the teacher solved none of"):
        run(experiment(teacher=teacher, task=Digits(10)))


def test_there_must_be_problems_and_a_reward():
    with pytest.raises(DataError, match="no training problems"):
        run(experiment(task=Digits(0)))
    with pytest.raises(UsageError, match="needs a reward"):
        run(experiment(reward=None))


def test_a_prompt_that_fills_the_context_is_left_out_of_the_update():
    class OneIsLong(Digits):
        def problems(self, split, seed, count):
            found = super().problems(split, seed, count)
            return [p.model_copy(update={"question": "x" * 2000}) if p.id == "p1" else p for p in found]

    context = run(experiment(task=OneIsLong()), steps=1)
    assert [question_of(group) for group in updates(context)[0]] == ["p0", "p2"]


def test_prompts_that_all_fill_the_context_are_an_error():
    class AllLong(Digits):
        def problems(self, split, seed, count):
            return [p.model_copy(update={"question": "x" * 2000}) for p in super().problems(split, seed, count)]

    with pytest.raises(DataError, match="fills the model's context"):
        run(experiment(task=AllLong()), steps=1)


def test_a_step_tells_what_happened():
    context = run(steps=1)
    (event,) = context.of("step")
    digits = [digit_of(item.trajectory) for item in context.rollouts[1]]
    right = [item.trajectory.correct for item in context.rollouts[1]]
    assert event["reward"] == pytest.approx(statistics.fmean(digits) / 10)
    assert event["reward/digit"] == pytest.approx(event["reward"])
    assert event["accuracy"] == pytest.approx(sum(right) / 12)
    assert (event["step"], event["steps"], event["loss"], event["entropy"]) == (1, 2 - 1, 0.5, 0.25)
    assert (event["gradient_norm"], event["clipped_gradient"], event["learning_rate"]) == (2.0, True, 0.1)
    assert (event["sampled_tokens"], event["response_tokens"]) == (2.0, 2.0)
    assert event["tokens_per_second"] > 0


def test_evaluations_come_where_they_are_due_and_bring_a_checkpoint():
    plan = EvaluationPlan(every=2, on=(SplitPlan(split=IN_DOMAIN, problems=3),))
    context = run(experiment(evaluation=plan), steps=5)
    assert [event["step"] for event in context.of("evaluation")] == [0, 2, 4, 5]
    # one before the evaluation, which is told of its metrics afterwards
    assert [step for step, *_ in context.checkpoints] == [2, 2, 4, 4, 5, 5]
    measured = [set(metrics) for _, _, metrics, _ in context.checkpoints]
    assert measured == 3 * [set(), {"in-domain/greedy", "in-domain/sampled"}]
    policy = RecordingPolicy()
    later = run(experiment(policy, evaluation=plan), ListContext(policy, is_first=False), steps=2)
    assert [event["step"] for event in later.of("evaluation")] == [2]


@pytest.mark.parametrize("minibatches", [1, 2, 3])
def test_minibatches_in_which_nothing_is_trained_cost_nothing(minibatches: int) -> None:
    """A policy that gives no metrics of an update without trained tokens, as every backend's does."""

    class Sparse(RecordingPolicy):
        def forward_backward(self, groups: Sequence[TokenGroup], objective: Objective) -> Any:
            loss = super().forward_backward(groups, objective)
            masked = (len(groups) == 1 and question_of(groups[0]) != "p1") or minibatches == 1
            return loss.model_copy(update={"tokens": 0, "values": {}}) if masked else loss

    context = run(experiment(policy=Sparse()), steps=1, minibatches=minibatches)
    (event,) = [values for kind, values in context.events if kind == "step"]
    assert event.get("entropy") == (None if minibatches == 1 else 0.25)
