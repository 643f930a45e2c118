"""What a recipe assembles: everything a stage works with, and the few verbs all stages share."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, Protocol, runtime_checkable

from mentor_kit.backend.policy import Policy
from mentor_kit.chat.format import ChatFormat
from mentor_kit.core.agent import EpisodeLimits, EpisodeRequest
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.demonstration import Demonstration, Demonstrations
from mentor_kit.core.errors import UsageError, did_you_mean
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem, Task
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks.objectives import build_objective
from mentor_kit.rl.objective import Objective, ObjectiveSpec
from mentor_kit.rl.reward import Breakdown, Reward, Scored
from mentor_kit.rollout import EngineSampler, PolicyAgent, Sampling, run_async, run_episodes
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.evaluated_agent import STUDENT, EvaluatedAgent
from mentor_kit.utils.randomness import derive_seed

if TYPE_CHECKING:
    from mentor_kit.stages.evaluate import EvaluationPlan

Keep = Literal["right", "all"]

#: Evaluation problems are the same in every run: tasks ignore or get this seed.
PROBLEM_SEED = 0


class Evaluation(Protocol):
    """A way to evaluate of one's own (a benchmark with its own checker). Built by an evaluations plugin."""

    def evaluate(self, experiment: Experiment, context: StageContext) -> tuple[dict[str, Json], list[Scored]]:
        """The report and what was played.

        The report has at least `split` (the evaluation's name; one that is taken gets a number), `problems`, and
        `greedy` with `accuracy`, `low` and `high`. With `outcomes`, from a problem's id to [0 or 1], evaluations are
        compared problem by problem. With `check` as in `Checks`, it can refuse before the run's first step.
        """
        ...


class Stage(Protocol):
    """One step of a recipe's `train` list. Built by a stages plugin."""

    def run(self, experiment: Experiment, context: StageContext) -> None:
        """Do the stage's work from where `context.resumed()` says.

        A stage that trains emits a `step` for each of its steps.

        Raises:
            Interrupted: the user asked to stop; everything up to the last checkpoint is kept.
        """
        ...


@runtime_checkable
class Checks(Protocol):
    """A stage that can tell before the run's first step what would fail in its own."""

    def check(self, experiment: Experiment) -> None:
        """Look at the experiment's parts; light, as it is done for all stages before the first one runs.

        Raises:
            MentorKitError: the stage cannot work with them.
        """
        ...


@dataclass
class Experiment:
    """An assembled recipe."""

    name: str
    seed: int
    policy: Policy
    format: ChatFormat
    task: Task
    toolbox: Toolbox
    limits: EpisodeLimits
    sampling: Sampling
    evaluation: EvaluationPlan
    teacher: Teacher | None = None
    reward: Reward | None = None
    deterministic: bool = True
    system: str = ""
    """A system message for problems that bring none."""
    build_teacher: Callable[[ComponentSpec], Teacher] | None = None
    """Makes a teacher that a stage's own options name."""
    build_evaluation: Callable[[ComponentSpec], Evaluation] | None = None
    """Makes an evaluation that `evaluate.on` names."""
    build_objective: Callable[[ObjectiveSpec], Objective] = build_objective
    """Makes an objective that a stage's own options describe; by this environment's plugins if left out."""
    demonstrations: Demonstrations = field(default_factory=Demonstrations)
    """What the teacher has shown so far in this run."""
    player: Teacher | None = None
    """Who is evaluated in place of the student."""
    subject: EvaluatedAgent = STUDENT
    """Who that is, as reports say it."""
    _evaluated: dict[tuple[str, int], list[Problem]] = field(default_factory=dict, repr=False)
    """What `evaluation_problems` found."""
    _player: Teacher | None = field(default=None, repr=False)
    """The agent that `with_agent` built."""
    _evaluations: dict[str, Evaluation] = field(default_factory=dict, repr=False)
    """What `evaluation_of` built."""

    @property
    def plays(self) -> str:
        """The name of whoever is evaluated."""
        return "student" if self.player is None else self.player.name

    def with_agent(self) -> Experiment:
        """The experiment with the agent that the recipe's `evaluate` names in the student's place, if it names one.

        Raises:
            UsageError: that teacher cannot be evaluated.
        """
        slot = self.evaluation.agent
        if slot is None:
            return self
        teacher = self._player or self.teacher_of(slot)
        if not teacher.has_rollouts:
            raise UsageError(
                f"the teacher {slot.use!r} only shows what it has, and cannot be evaluated",
                hint="teachers that play can: scripted, openai, anthropic, local",
            )
        self._player = teacher
        found, model = replace(self, player=teacher), slot.options.get("model")
        found.subject = EvaluatedAgent(
            kind="agent", name=f"{found.plays} {model}" if model else found.plays, model=model
        )
        return found

    def problems(self, split: str, seed: int, count: int) -> list[Problem]:
        """The task's problems, with the recipe's system message where they bring none.

        Raises:
            UsageError: the task has no such split.
        """
        self.check_split(split)
        found = self.task.problems(split, seed, count)
        return [p if p.system or not self.system else p.model_copy(update={"system": self.system}) for p in found]

    def check_split(self, split: str) -> None:
        """Refuse a split that the task does not have.

        Raises:
            UsageError: it has none of that name.
        """
        if split not in self.task.splits:
            known = ", ".join(self.task.splits)
            close = did_you_mean(split, self.task.splits)
            raise UsageError(f"the task has no split {split!r}{close}", hint=f"its splits are: {known}")

    def evaluation_problems(self, split: str, count: int) -> list[Problem]:
        """The first problems of a split, the same in every run; they are drawn once, however often it is evaluated on.

        Raises:
            UsageError: the task has no such split.
        """
        if (split, count) not in self._evaluated:
            self._evaluated[split, count] = self.problems(split, PROBLEM_SEED, count)
        return self._evaluated[split, count]

    def student(self, sampling: Sampling) -> PolicyAgent:
        """The student as an agent, with the weights it has now."""
        return PolicyAgent(
            name="student",
            format=self.format,
            sampler=EngineSampler(self.policy.engine(), deterministic=self.deterministic),
            sampling=sampling,
            limits=self.limits,
            context=self.policy.info.context,
        )

    def play_student(
        self,
        problems: Sequence[Problem],
        rollouts: int,
        sampling: Sampling,
        *seed: int | str,
        ended: Callable[[], None] | None = None,
    ) -> list[Trajectory]:
        """`rollouts` episodes for each problem, those of a problem next to each other; `ended` is called after each.

        A problem may come several times, as where a task has few: each time its episodes are other ones.
        """
        indices: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)
        episodes = []
        for problem in problems:
            tools = self.toolbox.tools(problem)
            for index in itertools.islice(indices[problem.id], rollouts):
                seed_of_episode = derive_seed(self.seed, *seed, problem.id, index)
                episodes.append(
                    EpisodeRequest(id=f"{problem.id}#{index}", problem=problem, tools=tools, seed=seed_of_episode)
                )
        return run_async(
            run_episodes(
                self.student(sampling),
                episodes,
                task=self.task,
                toolbox=self.toolbox,
                limits=self.limits,
                cut=self.format.truncate,
                ended=ended,
            )
        )

    def export(self, folder: Path, format: str) -> None:
        """Write the student, with its tokenizer, into an empty folder."""
        self.policy.export(folder, format=format)
        self.format.tokenizer.save(folder)

    def teacher_of(self, slot: ComponentSpec | None) -> Teacher:
        """The teacher that a stage's options name, or else the recipe's.

        Raises:
            UsageError: there is none.
        """
        if slot is not None and self.build_teacher is not None:
            return self.build_teacher(slot)
        if self.teacher is None:
            raise UsageError("this stage needs a teacher", hint="add `teacher: {use: scripted}` to the recipe")
        return self.teacher

    def evaluation_of(self, slot: ComponentSpec) -> Evaluation:
        """The evaluation that a recipe names, built once.

        Raises:
            UsageError: this experiment was made without plugins.
        """
        key = slot.to_json()
        if key not in self._evaluations:
            if self.build_evaluation is None:
                raise UsageError(f"evaluation {slot.use!r}: this experiment was assembled without plugins")
            self._evaluations[key] = self.build_evaluation(slot)
        return self._evaluations[key]

    def score(
        self, trajectories: Sequence[Trajectory], problems: Sequence[Problem], *, progress: float = 1.0
    ) -> list[Scored]:
        """Rewards for trajectories of the problems, in order.

        Args:
            trajectories: of any of the problems.
            problems: those.
            progress: the share of the stage that is done, for weights with a schedule.

        Raises:
            UsageError: the recipe has no reward.
        """
        if self.reward is None:
            raise UsageError("this stage needs a reward", hint="add `reward: {use: mentor}` to the recipe")
        by_id = {problem.id: problem for problem in problems}
        problems_of = [by_id[trajectory.problem_id] for trajectory in trajectories]
        shown = [self.demonstrations.of(problem) for problem in problems_of]
        cases = list(zip(trajectories, problems_of, shown, strict=True))
        self.reward.prepare(cases)
        return [Scored(trajectory=case[0], reward=self.reward(*case, progress=progress)) for case in cases]

    def is_rewarded(self, problem_id: str) -> bool:
        """Whether the recipe's reward scores a problem's episodes: if there is a teacher, it has shown it rightly."""
        return self.reward is not None and (self.teacher is None or bool(self.demonstrations.right(problem_id)))

    def measure(self, trajectories: Sequence[Trajectory], problems: Sequence[Problem]) -> list[Scored]:
        """As `score`, for showing and not for learning.

        Right is 1 and wrong is 0 for episodes that the reward does not score (`is_rewarded`).
        """
        shown = [trajectory for trajectory in trajectories if self.is_rewarded(trajectory.problem_id)]
        if not shown:
            return [_plain(trajectory) for trajectory in trajectories]
        scored = {id(item.trajectory): item for item in self.score(shown, problems)}
        return [scored.get(id(trajectory)) or _plain(trajectory) for trajectory in trajectories]


class NoStudent:
    """Stands where the student would: none is loaded where somebody else is evaluated."""

    def __getattr__(self, name: str) -> NoReturn:
        raise UsageError("this run has loaded no student: `evaluate.agent` plays in its place")


def demonstrate(
    experiment: Experiment,
    context: StageContext,
    problems: Sequence[Problem],
    *,
    teacher: Teacher | None = None,
    keep: Keep = "right",
    record: bool = True,
) -> list[Demonstration]:
    """Demonstrations for the problems: those there are already, and the teacher's for the rest.

    What is new and kept is written to the run folder and added to the experiment; without `record` neither,
    and nothing that is there already is looked at. Wrong ones that an earlier stage kept are passed over, not
    asked for again, unless `keep` is all.

    Raises:
        UsageError: there is no teacher.
    """
    teacher = teacher or experiment.teacher_of(None)
    if not record:
        return _ask(teacher, problems, keep)
    missing = {problem.id: problem for problem in problems if not experiment.demonstrations.of(problem)}
    if missing:
        fresh = _ask(teacher, list(missing.values()), keep)
        context.write_demonstrations(fresh)
        for demonstration in fresh:
            experiment.demonstrations.add(demonstration)
    found = (demonstration for problem in problems for demonstration in experiment.demonstrations.of(problem))
    return [demonstration for demonstration in found if keep == "all" or demonstration.correct]


def _plain(trajectory: Trajectory) -> Scored:
    return Scored(trajectory=trajectory, reward=Breakdown(total=float(trajectory.correct)))


def _ask(teacher: Teacher, problems: Sequence[Problem], keep: Keep) -> list[Demonstration]:
    """What the teacher shows and is kept, in the order of the problems, whatever order it answers in."""

    async def gather() -> list[Demonstration]:
        return [found async for found in teacher.demonstrate(problems) if keep == "all" or found.correct]

    order = {problem.id: index for index, problem in enumerate(problems)}
    about = [found.about(problems[order[found.problem_id]]) for found in run_async(gather())]
    return sorted(about, key=lambda demonstration: order[demonstration.problem_id])
