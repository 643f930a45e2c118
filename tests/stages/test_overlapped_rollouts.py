"""The stage `grpo` with episodes that overlap with updates: versions, kills, evaluations, time limits."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from rollout_fakes import RecordingTools
from stage_fakes import Digits, GappyTeacher, ListContext, RecordingPolicy, experiment, spoken
from test_distillation_in_grpo import ReadingTeacher, teacher_says

from mentor_kit.backend.sampling import SampleRequest
from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.conversation import CallState
from mentor_kit.core.errors import DataError, Interrupted, UsageError
from mentor_kit.core.task import IN_DOMAIN
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rl.objective import Objective, ObjectiveSpec
from mentor_kit.rl.update_metrics import LossMetrics
from mentor_kit.stages import EvaluationPlan, Experiment, SplitPlan
from mentor_kit.stages.grpo import GRPOStage
from mentor_kit.stages.grpo_options import GRPOOptions
from mentor_kit.utils.randomness import derive_seed

PLAIN = ObjectiveSpec(preset="grpo", kl=0)


class WatchedPolicy(RecordingPolicy):
    """Calls `updating` during each update."""

    def __init__(
        self,
        speak: Callable[[SampleRequest, int], str],
        updating: Callable[[int], None] = lambda version: None,
    ) -> None:
        super().__init__(speak)
        self._updating = updating

    def forward_backward(self, groups: Sequence[TokenGroup], objective: Objective) -> LossMetrics:
        self._updating(self.version)
        return super().forward_backward(groups, objective)


def calls_once(request: SampleRequest, version: int) -> str:
    """A call, then a digit."""
    return "!wait {}" if 4 not in request.context else spoken(request, version)


def learner(
    wait: Callable[[], Any],
    speak: Callable[[SampleRequest, int], str] = calls_once,
    updating: Callable[[int], None] = lambda version: None,
    **changes: Any,
) -> Experiment:
    async def tool() -> str:
        """Wait."""
        value = wait()
        return str(await value if hasattr(value, "__await__") else value)

    values: dict[str, Any] = {
        "policy": WatchedPolicy(speak, updating),
        "toolbox": Toolbox([RecordingTools(Tool.from_function(tool, name="wait"))]),
        "limits": EpisodeLimits(max_turn_tokens=20, max_response_tokens=90),
        "staleness": 1,
    }
    return experiment(**{**values, **changes})


def run(made: Experiment, context: ListContext | None = None, **options: Any) -> ListContext:
    assert isinstance(made.policy, RecordingPolicy)
    context = context or ListContext(made.policy)
    values: dict[str, Any] = {
        "steps": 4, "problems": 3, "group": 2, "optimizer": {"lr": 0.1, "schedule": "constant"}, "objective": PLAIN,
    }  # fmt: skip
    GRPOStage(GRPOOptions.model_validate({**values, **options})).run(made, context)
    return context


def trained(context: ListContext) -> list[list[Trajectory]]:
    return [[item.trajectory for item in context.rollouts[step]] for step in sorted(context.rollouts)]


def versions(trajectory: Trajectory) -> list[int]:
    assert trajectory.tokens is not None
    return [turn.version for turn in trajectory.tokens.turns]


@pytest.mark.parametrize("staleness", [1, 2])
def test_tokens_keep_their_versions_and_none_is_older_than_the_staleness(staleness: int):
    context = run(learner(lambda: asyncio.sleep(0.003), staleness=staleness), steps=6)
    updates = [groups for groups, _ in context.policy.of("forward_backward")]
    assert len(updates) == 6
    assert all(len(groups) == 3 for groups in updates)
    behind = []
    for step, (groups, rollouts) in enumerate(zip(updates, trained(context), strict=True), start=1):
        for place, group in enumerate(groups):
            for completion, one in zip(group.completions, rollouts[2 * place : 2 * place + 2], strict=True):
                assert one.tokens is not None
                assert completion.versions is not None
                assert completion.log_probs.tolist() == list(one.tokens.log_probs)
                for turn in one.tokens.turns:
                    assert set(completion.versions[turn.start : turn.end].tolist()) == {turn.version}
                behind += [step - 1 - version for version in versions(one)]
    assert min(behind) == 0
    assert max(behind) <= staleness
    assert len({one.id for rollouts in trained(context) for one in rollouts}) == 36
    logged = context.of("step")
    assert max(values["staleness_max"] for values in logged) == max(behind)
    assert all(0 <= values["staleness_mean"] <= values["staleness_max"] for values in logged)


def test_a_long_episode_holds_up_no_step_before_it_is_due():
    waiting, go = threading.Semaphore(1), threading.Event()

    async def first_is_long() -> str:
        if waiting.acquire(blocking=False):
            while not go.is_set():
                await asyncio.sleep(0.001)
        return "1"

    # the first update lets it go: a step 1 that waited for it would wait forever
    context = run(learner(first_is_long, updating=lambda version: go.set()), steps=3)
    late = [one.problem_id for one in trained(context)[1] if versions(one) == [0, 1]]
    assert late
    assert late[0] not in {one.problem_id for one in trained(context)[0]}


def test_a_checkpoint_makes_no_group_older_than_it_is():
    counter, go, stuck = iter(range(10_000)), threading.Event(), []

    async def one_is_long() -> str:
        # of the 6 episodes that begin behind step 1 and its checkpoint, which step 2 need not wait for
        if next(counter) == 13:
            deadline = time.monotonic() + 60
            while not go.is_set() and time.monotonic() < deadline:
                await asyncio.sleep(0.001)
            stuck.append(not go.is_set())
        return "1"

    made = learner(one_is_long, updating=lambda version: go.set() if version == 1 else None)
    assert isinstance(made.policy, RecordingPolicy)
    run(made, ListContext(made.policy, checkpoint_every=1), steps=3)
    assert stuck == [False]


def test_tools_answer_during_updates_so_that_their_time_limits_hold():
    async def within_a_limit() -> str:
        async with asyncio.timeout(0.15):
            await asyncio.sleep(0.02)
        return "in time"

    context = run(learner(within_a_limit, updating=lambda version: time.sleep(0.25)), steps=2, problems=2)
    calls = [call for rollouts in trained(context) for one in rollouts for call in one.calls]
    assert len(calls) == 8
    assert {call.state for call in calls} == {CallState.EXECUTED}


def interrupted(stop_at: int, wait: Callable[[], Any], **changes: Any) -> tuple[ListContext, ListContext]:
    """A run that was stopped after a step, and the one that went on from its checkpoint."""
    made = learner(wait, **changes)
    assert isinstance(made.policy, RecordingPolicy)
    before = ListContext(made.policy, stop_at=stop_at)
    with pytest.raises(Interrupted):
        run(made, before)
    _, state, _, version = before.checkpoints[-1]
    made = learner(wait, **changes)
    assert isinstance(made.policy, RecordingPolicy)
    made.policy.version = made.policy.engine().version = version
    after = ListContext(made.policy, state=state)
    after.files = before.files
    return before, run(made, after)


def test_what_is_in_the_buffer_survives_a_kill():
    # step 2 waits for the first of the 12 episodes that step 1 begins; of the 6 that itself begins, one is under way
    # when the checkpoint is saved, and the others have ended
    counter, longer = iter(range(10_000)), {0: 0.1, 13: 0.4}

    async def wait() -> str:
        await asyncio.sleep(longer.get(next(counter), 0))
        return "1"

    before, after = interrupted(2, wait)
    kept = {
        one["id"]: one
        for line in before.files[2]["buffer.jsonl"].split("\n")[:-1]
        for one in json.loads(line)["episodes"]
        if one is not None
    }
    used = {one.id: one for rollouts in trained(after) for one in rollouts}
    taken = {one.id for rollouts in trained(before) for one in rollouts}
    assert kept
    assert set(kept) <= set(used), "every ended episode is trained on"
    assert all(used[name] == Trajectory.model_validate(one) for name, one in kept.items()), "to the token"
    assert not taken & set(used), "and none twice"
    assert len(taken | set(used)) == 4 * 6
    # episodes that were under way begin again: with their problems, their seeds and the checkpoint's weights
    again = [one for name, one in used.items() if name not in kept]
    assert all(versions(one)[0] >= 2 for one in again)
    seeds = {request.session: request.seed for request in after.policy.engine().requests}
    for one in again:
        number, index = one.id.split("#")[1].split(".")
        assert seeds[one.id] == derive_seed(3, "0-stage", int(number), one.problem_id, int(index))


def test_an_evaluation_samples_alone_and_episodes_go_on_after_it():
    plan = EvaluationPlan(every=1, on=(SplitPlan(split=IN_DOMAIN, problems=3),))
    made = learner(lambda: asyncio.sleep(0.002), evaluation=plan)
    context = run(made)
    batches = context.policy.engine().batches
    for batch in batches:
        kinds = {name.startswith("i") for name in batch}
        assert len(kinds) == 1, f"sampled together: {batch}"
    assert [step for step, *_ in context.checkpoints] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert len(trained(context)) == 4
    assert all(len(scored) == 6 for _, scored in context.evaluations.values())


def test_an_error_of_the_sampler_ends_the_stage_and_every_episode():
    made = learner(lambda: asyncio.sleep(0.002))
    engine = made.policy.engine()
    engine.refuse = lambda request: ValueError("no room") if len(engine.requests) > 20 else None
    threads = threading.active_count()
    with pytest.raises(ValueError, match="no room"):
        run(made)
    assert threading.active_count() <= threads
    (source,) = made.toolbox.sources
    assert len(source.opened) == len(source.closed)


def test_an_error_of_the_teacher_ends_the_stage():
    silent = GappyTeacher(silent=[f"p{number}" for number in range(9, 2000)])
    made = learner(lambda: asyncio.sleep(0.002), teacher=silent, task=Digits(2000))
    with pytest.raises(DataError, match="solved none"):
        run(made)
    assert len([name for name, _ in made.policy.calls if name == "optimizer_step"]) <= 3


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({"minibatches": 3, "epochs": 2}, False),
        ({"objective": ObjectiveSpec(preset="grpo", kl=0, importance_cap=2.0), "minibatches": 2}, True),
        ({"objective": ObjectiveSpec(preset="grpo", kl=0, importance_cap=2.0)}, True),
    ],
)
def test_the_ratio_is_against_the_weights_that_sampled_unless_importance_weights_correct(options: Any, needed: bool):
    context = run(learner(lambda: asyncio.sleep(0.002)), **options)
    completions = [c for groups, _ in context.policy.of("forward_backward") for g in groups for c in g.completions]
    for completion in completions:
        old = completion.old_log_probs
        assert (old is None) != needed
        assert old is None or old.tolist() == (completion.log_probs - 1).tolist()


def test_distillation_compares_the_teacher_with_the_weights_of_now():
    made = learner(lambda: asyncio.sleep(0.002), teacher=ReadingTeacher())
    context = run(made, objective=ObjectiveSpec(preset="opd"))
    for groups, _ in context.policy.of("forward_backward"):
        for completion in (c for group in groups for c in group.completions):
            said = [teacher_says(int(token), place) for place, token in enumerate(completion.ids)]
            now = completion.log_probs - 1  # what the policy says when it is asked again
            expected = np.where(completion.mask > 0, np.array(said, dtype=np.float32) - now, 0.0)
            np.testing.assert_allclose(completion.advantage, expected, atol=1e-5)
            assert completion.old_log_probs is None, "the ratio stays against the weights that sampled"


def test_dynamic_sampling_takes_more_groups_from_the_buffer():
    def alike(request: SampleRequest, version: int) -> str:
        flat = request.session.split("#")[0] in {"p0", "p3"}
        return "!wait {}" if 4 not in request.context else "5" if flat else spoken(request, version)

    context = run(learner(lambda: asyncio.sleep(0.002), alike), resample=3, permute_rewards=True)
    rounds = [values["rounds"] for values in context.of("step")]
    for groups, _ in context.policy.of("forward_backward"):
        assert len(groups) == 3
    flat = [one.problem_id for rollouts in trained(context) for one in rollouts if one.problem_id in {"p0", "p3"}]
    assert max(rounds) > 1
    assert len(flat) == 4


def test_a_loss_without_a_ratio_is_refused_unless_importance_weights_correct():
    made = learner(lambda: None)
    for spec, fine in (
        (ObjectiveSpec(preset="rloo"), False),
        (ObjectiveSpec(preset="rloo", importance_cap=2.0), True),
        (ObjectiveSpec(preset="gspo"), True),
    ):
        options = {"steps": 1, "optimizer": {"lr": 0.1}, "objective": spec}
        stage = GRPOStage(GRPOOptions.model_validate(options))
        if fine:
            stage.check(made)
        else:
            with pytest.raises(UsageError, match=r"rollout\.staleness"):
                stage.check(made)
    made.staleness = 0
    GRPOStage(
        GRPOOptions.model_validate({"steps": 1, "optimizer": {"lr": 0.1}, "objective": ObjectiveSpec(preset="rloo")})
    ).check(made)


def test_nothing_is_left_when_the_last_step_is_done():
    made = learner(lambda: asyncio.sleep(0.002))
    context = run(made)
    (source,) = made.toolbox.sources
    assert len(source.opened) == 4 * 3 * 2 == len(source.closed)
    assert context.files == {4: {"buffer.jsonl": ""}}


def test_it_runs_inside_an_event_loop_as_in_a_notebook():
    async def cell() -> ListContext:
        return run(learner(lambda: asyncio.sleep(0.002)))

    assert len(trained(asyncio.run(cell()))) == 4
