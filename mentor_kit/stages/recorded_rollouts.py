"""Rollouts that the run recorded after its last checkpoint, before it was killed: they are trained on again.

    resumed ──> recorded for the next step, of its problems? ──yes──> trained on again: the same weights as before
                                  └─no──> sampled, and so are those of all later steps

Where sampling is not the same in every run, a resumed run goes on as the killed one did, as far as that was recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.rollout_source import RolloutSource, StepRollouts
from mentor_kit.stages.training_loop import StageState


class RecordedRollouts(RolloutSource):
    """Takes recorded rollouts as long as there are some for each step, and samples the others.

    Args:
        sampled: samples those that are not recorded.
        context: has what was recorded.
    """

    def __init__(self, sampled: StepRollouts, context: StageContext) -> None:
        self._sampled, self._context = sampled, context
        self._step, self._recorded = 0, tuple[Trajectory, ...]()
        self._replays = True
        """Whether all steps so far were recorded: later ones are of other weights if not."""

    def take(self, count: int, step: int, round: int) -> tuple[list[Problem], list[Trajectory]]:
        if not self._replays:
            return self._sampled.take(count, step, round)
        if step != self._step:
            self._step, self._recorded = step, self._read(step)
        problems = self._sampled.stream.take(count)
        length = count * self._sampled.group
        found, self._recorded = self._recorded[:length], self._recorded[length:]
        if _are_of(found, problems, self._sampled.group):
            return problems, list(found)
        self._replays, self._recorded = False, ()
        self._context.forget_recorded_rollouts()
        return problems, self._sampled.collect(problems, step, round)

    def _read(self, step: int) -> tuple[Trajectory, ...]:
        return tuple(item.trajectory for item in self._context.recorded_rollouts(step))

    def metrics(self) -> Mapping[str, float]:
        return {"replayed": 1.0} if self._replays else {}

    def state(self) -> StageState:
        return self._sampled.state()


def _are_of(found: Sequence[Trajectory], problems: Sequence[Problem], group: int) -> bool:
    """Whether trajectories are those of a round: a group for each problem, in order, with the tokens to train on."""
    expected = [problem.id for problem in problems for _ in range(group)]
    return [one.problem_id for one in found] == expected and all(one.tokens is not None for one in found)
