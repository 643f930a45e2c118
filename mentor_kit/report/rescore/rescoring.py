"""Goes through a run's rollouts, or its evaluated episodes, and computes what each reward pays for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from mentor_kit.core.errors import DataError, MentorKitError, UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.registry import Registry
from mentor_kit.report.rescore.estimation import Groups, StageRewards, stage_rewards
from mentor_kit.report.rescore.result import EpisodeChange, Reproduction, Rescored, StepSeries
from mentor_kit.report.rescore.scorer import NamedReward, RewardLike, Scorer, unique_names
from mentor_kit.report.rescore.tally import RewardTally
from mentor_kit.rl.reward import Breakdown, Scored
from mentor_kit.runs import Run

#: Called with how many of a number of things are done.
Progress = Callable[[int, int], None]


def rescore(
    run: Run,
    rewards: Sequence[RewardLike] = (),
    *,
    settings: Mapping[str, Json] | None = None,
    between: tuple[int, int] | None = None,
    evaluations: bool = False,
    progress: Progress | None = None,
    registry: Registry,
) -> Rescored:
    """Compute what other rewards would have paid for the episodes that a run folder has.

    Memory holds one step's rollouts at a time.

    Args:
        run: the run.
        rewards: presets' names, specs, or gates and terms; every preset if neither these nor settings are given.
        settings: changes of the run's own reward, which make one reward more.
        between: the first and the last step to score; all if left out.
        evaluations: score the evaluated episodes in place of the training rollouts.
        progress: called with how many steps or evaluations are done, and how many there are.
        registry: the plugins.

    Raises:
        RecipeError: a reward is wrong.
        UsageError: a setting is not of the reward, or the run has no such episodes.
        DataError: a file of the run cannot be read.
        MentorKitError: none of the rewards can be computed for this run.
    """
    with Scorer(run, registry) as scorer:
        others = [scorer.named(given) for given in rewards]
        others += [scorer.changed(settings)] if settings else []
        work = _Rescoring(scorer, unique_names(others or scorer.presets()), between, progress)
        return work.evaluations() if evaluations else work.rollouts()


@dataclass
class _Check:
    """Compares the run's own reward, computed anew, with what is recorded."""

    own: NamedReward | None
    reason: str = ""
    checked: int = 0
    equal: int = 0
    first: str = ""

    def add(self, scored: Sequence[Scored], found: Sequence[Breakdown], places: Sequence[str]) -> None:
        for item, breakdown, place in zip(scored, found, places, strict=True):
            self.checked += 1
            if item.reward == breakdown:
                self.equal += 1
            elif not self.first:
                self.first = f"{place}: {_pay(item.reward)} recorded, {_pay(breakdown)} now"

    def result(self) -> Reproduction:
        return Reproduction(self.checked, self.equal, self.first, self.reason)


@dataclass
class _Rescoring:
    """Rewards and what they pay so far."""

    scorer: Scorer
    others: list[NamedReward]
    between: tuple[int, int] | None
    progress: Progress | None
    check: _Check = field(init=False)
    tallies: list[RewardTally] = field(init=False)
    """The run's own first, then those of `others`."""
    failed: dict[str, MentorKitError] = field(default_factory=dict)
    """Rewards that cannot be computed for this run."""

    def __post_init__(self) -> None:
        run = self.scorer.run
        try:
            own: NamedReward | None = self.scorer.own()
            self.check = _Check(own)
        except MentorKitError as error:
            own, self.check = None, _Check(None, error.message)
        given = run.recipe.get("reward")
        name = own.name if own is not None else str(given.get("use", "own")) if isinstance(given, dict) else str(given)
        self.tallies = [RewardTally(name, own=True), *(RewardTally(other.name) for other in self.others)]

    def rollouts(self) -> Rescored:
        """Score the training rollouts."""
        run, stages, steps = self.scorer.run, dict[str, StageRewards](), _steps_then(self.scorer.run)
        notes, seen = self.scorer.notes, list[tuple[str, int]]()
        without_tokens, total = False, sum(self._wanted(step) for _, step in run.recorded_steps)
        for done, (stage, step, scored) in enumerate(run.rollouts_by_step(between=self.between)):
            self._report(done, total)
            if stage not in stages:
                stages[stage] = stage_rewards(run, stage, self.scorer.context, notes)
            if scored:
                seen.append((stage, step))
                self._step(stages[stage], stage, step, steps.get((stage, step)), scored)
                without_tokens |= any(item.trajectory.tokens is None for item in scored)
        if not seen:
            raise _nothing(run, self.between)
        if without_tokens:
            notes.append("rollouts were recorded without tokens: terms and estimators of lengths see none")
        missing = [place for place in steps if place not in set(seen) and self._wanted(place[1])]
        if missing:
            notes.append(f"the rollouts of {len(missing)} of {len(missing) + len(seen)} steps were not recorded")
        series = StepSeries(
            stage=tuple(stage for stage, _ in seen),
            step=tuple(step for _, step in seen),
            mean=tuple(tuple(tally.means) for tally in self._kept()),
            zero_variance=tuple(tuple(tally.zero_variance) for tally in self._kept()),
        )
        return replace(self._result("rollouts", len(seen)), series=series)

    def evaluations(self) -> Rescored:
        """Score the evaluated episodes."""
        run, names = self.scorer.run, list[str]()
        reports = run.evaluations
        for done, report in enumerate(reports):
            self._report(done, len(reports))
            step, name = int(report.get("step") or 0), str(report["name"])
            if not self._wanted(step):
                continue
            try:
                scored = run.evaluated(name)
            except DataError:
                scored = []
            if not scored:
                self.scorer.notes.append(f"the evaluation {name} has no episodes to score")
                continue
            names.append(name)
            place = _Place(str(report.get("stage", "")), step, name)
            self._episodes(place, scored, 1.0, always=False, split=str(report.get("split", "")))
        if not names:
            raise UsageError("the run has no evaluated episodes to score", hint="leave out --evaluations")
        found = self._result("evaluations", len(names))
        by_name = zip(names, zip(*(tally.means for tally in self._kept()), strict=True), strict=True)
        return replace(found, evaluations=tuple(by_name))

    def _step(self, rewards: StageRewards, stage: str, step: int, steps: int | None, scored: list[Scored]) -> None:
        groups = rewards.groups(scored)
        progress = rewards.progress(step, steps)
        paid = self._episodes(_Place(stage, step), scored, progress, always=rewards.learns, changes=not rewards.learns)
        own = [item.reward.total for item in scored]
        for tally, totals in zip(self.tallies, [own, *paid], strict=True):
            if totals is not None:
                tally.add_groups(_in_groups(totals, groups))
        if not rewards.learns:
            return
        trained = rewards.trained(groups)
        kept = [groups[place] for place in trained]

        def advantages(totals: Sequence[float]) -> dict[int, float]:
            by_group = _in_groups(totals, groups)
            found = rewards.advantages(kept, [by_group[place] for place in trained], step)
            starts = _starts(groups)
            pairs = zip(trained, found, strict=True)
            return {starts[place] + offset: value for place, row in pairs for offset, value in enumerate(row)}

        before = advantages(own)
        before |= {
            place: value
            for place in before
            if (value := scored[place].advantage) is not None  # as the run had it
        }
        for tally, totals in zip(self.tallies[1:], paid, strict=True):
            if totals is not None:
                after = advantages(totals)
                tally.compare([before[place] for place in before], [after[place] for place in before])
                tally.changes(_changes(_Place(stage, step), scored, totals, before, after))

    def _episodes(
        self,
        place: _Place,
        scored: Sequence[Scored],
        progress: float,
        *,
        always: bool,
        split: str = "",
        changes: bool = True,
    ) -> list[list[float] | None]:
        """Score the episodes of a step or evaluation with every reward; the totals of each of the others."""
        trajectories = [item.trajectory for item in scored]
        correct = [trajectory.correct for trajectory in trajectories]
        self.tallies[0].add([item.reward.total for item in scored], correct)
        if self.check.own is not None:
            found = self.scorer.score(self.check.own, trajectories, progress, always=always, split=split)
            self.check.add(scored, found, [place.of(item) for item in scored])
        paid: list[list[float] | None] = []
        for other, tally in zip(self.others, self.tallies[1:], strict=True):
            totals = None
            if other.name not in self.failed:
                try:
                    found = self.scorer.score(other, trajectories, progress, always=always, split=split)
                    totals = [breakdown.total for breakdown in found]
                    tally.add(totals, correct)
                    if changes:
                        tally.changes(_changes(place, scored, totals, {}, {}))
                except DataError as error:
                    self.failed[other.name] = error
            paid.append(totals)
        return paid

    def _result(self, source: str, steps: int) -> Rescored:
        problems, notes = self.scorer.problems, self.scorer.notes
        if self.others and len(self.failed) == len(self.others):
            raise next(iter(self.failed.values()))
        notes += [f"{name} is left out: {error.message}" for name, error in self.failed.items()]
        if not len(self.scorer.demonstrations):
            notes.append("the run has no demonstrations: nothing can be compared with a teacher's work")
        for ids, what in ((problems.missing, "are not in the task any more"), (problems.changed, "have changed")):
            if ids:
                example = min(ids)
                notes.append(f"{len(ids)} problems {what}, such as {example}: their questions are those of the record")
        return Rescored(
            run=self.scorer.run.folder.key,
            source=source,
            steps=steps,
            rewards=tuple(tally.outcome() for tally in self._kept()),
            reproduction=self.check.result(),
            notes=tuple(dict.fromkeys(notes)),
        )

    def _kept(self) -> list[RewardTally]:
        return [tally for tally in self.tallies if tally.own or tally.name not in self.failed]

    def _report(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, total)

    def _wanted(self, step: int) -> bool:
        return self.between is None or self.between[0] <= step <= self.between[1]


@dataclass(frozen=True)
class _Place:
    """A step or an evaluation."""

    stage: str
    step: int
    evaluation: str = ""

    def of(self, item: Scored) -> str:
        where = f"evaluation {self.evaluation}" if self.evaluation else f"{self.stage} step {self.step}"
        return f"{where}, episode {item.trajectory.id}"


def _changes(
    place: _Place,
    scored: Sequence[Scored],
    totals: Sequence[float],
    before: Mapping[int, float],
    after: Mapping[int, float],
) -> list[EpisodeChange]:
    """The episodes that earn another reward, in order."""
    attempts: dict[str, Iterator[int]] = {}
    found = []
    for index, (item, total) in enumerate(zip(scored, totals, strict=True)):
        trajectory = item.trajectory
        attempt = next(attempts.setdefault(trajectory.problem_id, count()))
        if total != item.reward.total:
            found.append(
                EpisodeChange(
                    stage=place.stage,
                    step=place.step,
                    evaluation=place.evaluation,
                    problem=trajectory.problem_id,
                    attempt=attempt,
                    correct=trajectory.correct,
                    before=item.reward.total,
                    after=total,
                    advantage_before=before.get(index),
                    advantage_after=after.get(index),
                )
            )
    return found


def _in_groups(values: Sequence[float], groups: Groups) -> list[list[float]]:
    """The values of episodes in the groups that these are in."""
    return [list(values[start : start + len(group)]) for start, group in zip(_starts(groups), groups, strict=True)]


def _starts(groups: Groups) -> list[int]:
    """The position of each group's first rollout in the step."""
    found, start = [], 0
    for group in groups:
        found.append(start)
        start += len(group)
    return found


def _steps_then(run: Run) -> dict[tuple[str, int], int | None]:
    """How many steps the stage had when each step was made; a run may have been lengthened since."""
    found: dict[tuple[str, int], Any] = {(step["stage"], step["step"]): step.get("steps") for step in run.steps}
    return {place: int(steps) if isinstance(steps, int | float) else None for place, steps in found.items()}


def _pay(reward: Breakdown) -> str:
    # every digit: the last one may be all that differs
    terms = "".join(f", {name} {term.value!r}" for name, term in reward.terms.items())
    return f"{reward.total!r} ({f'gate {reward.gate}' if reward.gate else 'no gate'}{terms})"


def _nothing(run: Run, between: tuple[int, int] | None) -> UsageError:
    if between is not None:
        return UsageError(f"no rollouts of steps {between[0]} to {between[1]} are in {run.path}")
    hint = "--evaluations scores evaluated episodes" if run.evaluations else "a stage that learns from rewards has them"
    return UsageError(f"{run.path} has no training rollouts", hint=hint)
