"""The experiment that a recipe describes: its components, and the verbs that all stages share."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.sampling import Sampler
from mentor_kit.chat.format import ChatFormat
from mentor_kit.core.agent import EpisodeLimits, EpisodeRequest
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.demonstration import Demonstrations
from mentor_kit.core.errors import UsageError
from mentor_kit.core.task import Problem, Task
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks.objectives import build_objective
from mentor_kit.rl.objective import Objective, ObjectiveSpec
from mentor_kit.rl.reward import Breakdown, Reward, Scored
from mentor_kit.rollout import PolicyAgent, Sampling, run_async, run_episodes
from mentor_kit.stages.evaluated_agent import STUDENT, EvaluatedAgent
from mentor_kit.stages.evaluation_plan import EvaluationPlan
from mentor_kit.stages.student import LoadedStudent
from mentor_kit.utils.randomness import derive_seed

#: The seed of evaluation problems: they are the same in every run.
PROBLEM_SEED = 0


@dataclass
class Experiment:
    """The components of a recipe, built."""

    name: str
    seed: int
    student: LoadedStudent | None
    """None where no stage uses the student."""
    task: Task
    toolbox: Toolbox
    limits: EpisodeLimits
    sampling: Sampling
    evaluation: EvaluationPlan
    teacher: Teacher | None = None
    reward: Reward | None = None
    deterministic: bool = True
    """Whether batches of sampling are formed in submission order, so that rollouts are the same in every run."""
    staleness: int = 0
    """How many steps the weights that sample an episode may be behind those that are trained on it."""
    system: str = ""
    """The system message of problems that have none."""
    build_teacher: Callable[[ComponentSpec], Teacher] | None = None
    """Builds a teacher that a stage's own options name."""
    build_evaluation: Callable[[ComponentSpec], object] | None = None
    """Builds an evaluation that `evaluate.on` names; see `mentor_kit.stages.evaluation.evaluation_of`."""
    build_objective: Callable[[ObjectiveSpec], Objective] = build_objective
    """Builds an objective that a stage's own options describe; with this environment's plugins if left out."""
    describe_export: Callable[[Path, str], None] | None = None
    """Writes the card of a student that was exported into a folder in a format."""
    demonstrations: Demonstrations = field(default_factory=Demonstrations)
    """The teacher's demonstrations so far in this run."""
    agent: Teacher | None = None
    """The teacher that is evaluated in the student's place; None for the student."""
    evaluated_agent: EvaluatedAgent = STUDENT
    """A description of the evaluated agent, for reports."""
    _evaluation_problems: dict[tuple[str, int], list[Problem]] = field(default_factory=dict, repr=False)
    _agent: Teacher | None = field(default=None, repr=False)
    """The agent that `with_agent` built."""
    _evaluations: dict[str, object] = field(default_factory=dict, repr=False)

    @property
    def policy(self) -> Policy:
        """The student's policy.

        Raises:
            UsageError: no student is loaded.
        """
        return self._loaded().policy

    @property
    def format(self) -> ChatFormat:
        """The student's chat format.

        Raises:
            UsageError: no student is loaded.
        """
        return self._loaded().format

    def _loaded(self) -> LoadedStudent:
        if self.student is None:
            raise UsageError(
                "this run has loaded no student, as no stage of the recipe needs one",
                hint="a stage that uses the student must say so in its workload: `Workload(student=True)`",
            )
        return self.student

    def problems(self, split: str, seed: int, count: int) -> list[Problem]:
        """The task's first `count` problems of a split, with the recipe's system message where they have none.

        Raises:
            UsageError: the task has no such split.
        """
        self.check_split(split)
        found = self.task.problems(split, seed, count)
        return [p if p.system or not self.system else p.model_copy(update={"system": self.system}) for p in found]

    def check_split(self, split: str) -> None:
        """Check that the task has a split.

        Raises:
            UsageError: it does not.
        """
        self.task.check_split(split)

    def evaluation_problems(self, split: str, count: int) -> list[Problem]:
        """The first problems of a split, the same in every run; they are made once an experiment.

        Raises:
            UsageError: the task has no such split.
        """
        if (split, count) not in self._evaluation_problems:
            self._evaluation_problems[split, count] = self.problems(split, PROBLEM_SEED, count)
        return self._evaluation_problems[split, count]

    def collect_rollouts(
        self,
        problems: Sequence[Problem],
        rollouts: int,
        sampling: Sampling,
        *seed: int | str,
        ended: Callable[[], None] | None = None,
    ) -> list[Trajectory]:
        """Run `rollouts` episodes of the student for each problem, side by side, with the weights it has now.

        Args:
            problems: any number of problems; one that occurs several times gets different episodes each time.
            rollouts: episodes for each occurrence of a problem.
            sampling: temperature, top-p and top-k.
            seed: what the episodes' seeds depend on, beside the experiment's seed, the problem and its episode's index.
            ended: called after each episode.

        Returns:
            The trajectories, those of a problem next to each other, in the order of the problems.
        """
        indices: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)
        requests = []
        for problem in problems:
            tools = self.toolbox.tools(problem)
            for index in itertools.islice(indices[problem.id], rollouts):
                episode_seed = derive_seed(self.seed, *seed, problem.id, index)
                requests.append(
                    EpisodeRequest(id=f"{problem.id}#{index}", problem=problem, tools=tools, seed=episode_seed)
                )
        return run_async(
            run_episodes(
                self.student_agent(sampling),
                requests,
                task=self.task,
                toolbox=self.toolbox,
                limits=self.limits,
                cut=self.format.truncate,
                ended=ended,
            )
        )

    def student_agent(self, sampling: Sampling) -> PolicyAgent:
        """The student as an agent, with the weights it has now."""
        return self.agent_with(self.policy.sampler(deterministic=self.deterministic), sampling)

    def agent_with(self, sampler: Sampler, sampling: Sampling) -> PolicyAgent:
        """The student as an agent that samples by a sampler of its policy."""
        return PolicyAgent(
            name="student",
            format=self.format,
            sampler=sampler,
            sampling=sampling,
            limits=self.limits,
            context=self.policy.info.context,
        )

    def score(
        self, trajectories: Sequence[Trajectory], problems: Sequence[Problem], *, progress: float = 1.0
    ) -> list[Scored]:
        """Rewards for trajectories, in their order.

        Args:
            trajectories: any number for each problem.
            problems: the problems of all trajectories.
            progress: the share of the stage's steps that is done, in [0, 1], for weights with a schedule.

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

    def has_reward(self, problem_id: str) -> bool:
        """Whether the reward applies to a problem's episodes: a teacher, where there is one, has solved it."""
        return self.reward is not None and (self.teacher is None or bool(self.demonstrations.right(problem_id)))

    def score_for_report(self, trajectories: Sequence[Trajectory], problems: Sequence[Problem]) -> list[Scored]:
        """As `score`, for reports: where the reward does not apply, 1 for a right answer and 0 for a wrong one."""
        rewarded = [trajectory for trajectory in trajectories if self.has_reward(trajectory.problem_id)]
        if not rewarded:
            return [correctness(trajectory) for trajectory in trajectories]
        scored = {id(item.trajectory): item for item in self.score(rewarded, problems)}
        return [scored.get(id(trajectory)) or correctness(trajectory) for trajectory in trajectories]

    def export(self, folder: Path, format: str | None = None) -> str:
        """Write the student with its tokenizer and its card into an empty folder.

        Args:
            folder: to write.
            format: one of the backend's, or of another backend; the whole student if left out.

        Returns:
            The format that it was written in, which is another one where the student cannot be written as asked.

        Raises:
            UsageError: no student is loaded, or the backend does not write this format.
        """
        student = self._loaded()
        written = student.export(folder, format, sampling=self.sampling)
        if self.describe_export is not None:
            self.describe_export(folder, written)
        return written

    def teacher_of(self, spec: ComponentSpec | None) -> Teacher:
        """The teacher that a stage's options name, or else the recipe's.

        Raises:
            UsageError: there is none.
        """
        if spec is not None and self.build_teacher is not None:
            return self.build_teacher(spec)
        if self.teacher is None:
            raise UsageError("this stage needs a teacher", hint="add `teacher: {use: scripted}` to the recipe")
        return self.teacher

    def built_evaluation(self, spec: ComponentSpec) -> object:
        """What the plugin built for an evaluation of the recipe, once an experiment; see `evaluation_of`.

        Raises:
            UsageError: the experiment was made without plugins.
        """
        key = spec.to_json()
        if key not in self._evaluations:
            if self.build_evaluation is None:
                raise UsageError(f"evaluation {spec.use!r}: this experiment was assembled without plugins")
            self._evaluations[key] = self.build_evaluation(spec)
        return self._evaluations[key]

    @property
    def agent_name(self) -> str:
        """The name of the evaluated agent."""
        return "student" if self.agent is None else self.agent.name

    def with_agent(self) -> Experiment:
        """The experiment with the agent that the recipe's `evaluate` names in the student's place, if it names one.

        Raises:
            UsageError: that teacher cannot be evaluated.
        """
        spec = self.evaluation.agent
        if spec is None:
            return self
        teacher = self._agent or self.teacher_of(spec)
        if not teacher.has_rollouts:
            raise UsageError(
                f"the teacher {spec.use!r} has recorded demonstrations only, and cannot be evaluated",
                hint="teachers that can: scripted, openai, anthropic, local",
            )
        self._agent = teacher
        found, model = replace(self, agent=teacher), spec.options.get("model")
        name = f"{found.agent_name} {model}" if model else found.agent_name
        found.evaluated_agent = EvaluatedAgent(kind="agent", name=name, model=model)
        return found


def correctness(trajectory: Trajectory) -> Scored:
    """1 for a right answer and 0 for a wrong one, in the place of a reward."""
    return Scored(trajectory=trajectory, reward=Breakdown(total=float(trajectory.correct)))
