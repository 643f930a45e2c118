"""The dialogues that runs record, as data: demonstrations, training rollouts, evaluated episodes.

records of a run ──problems, tools of its recipe──> dialogues with their tools, keys and verdicts

A record has no tools: they are those of the recipe, and of the problem. No student and no teacher is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from mentor_kit.core.data_format import Dialogue, as_data
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError, UsageError, did_you_mean
from mentor_kit.core.frozen_model import FrozenModel, Json
from mentor_kit.core.task import TRAIN, DeclaredTool, Problem
from mentor_kit.core.tool import announced
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.assembly import Components, assemble_components
from mentor_kit.recipe.attribution import attributed
from mentor_kit.recipe.loading import RecipeLike, load_recipe
from mentor_kit.report.rescore.problems import Problems, problem_of_record
from mentor_kit.rl.reward import Scored
from mentor_kit.runs import Run
from mentor_kit.runs.dialogue_rows import DialogueRow, RowFault
from mentor_kit.runs.folder import OUTCOMES
from mentor_kit.runs.jsonl import read_lines

#: Names that stand for all rollouts, or all evaluations, of a run.
ALL = "all"

#: The recipe without what data does not need, so that a missing key or package of these matters to nobody.
_TOOLS_ONLY: Mapping[str, Json] = MappingProxyType(
    {"train": [], "teacher": None, "trackers": [], "evaluate": {}, "checkpoints": {}, "reward": None}
)

Rows = Iterator[DialogueRow | RowFault]


class RecordedDialogues:
    """Makes dialogues of records; `close` frees the tools.

    Args:
        run: the run that the records are of; None for records from elsewhere.
        recipe: the recipe whose tools they have; the run's own if left out.
        tools: whether the dialogues have tools; without them no recipe is read.
        registry: the plugins.

    Raises:
        MentorKitError: the recipe cannot be read, or its task or tools cannot be built on this machine.
    """

    def __init__(
        self, run: Run | None, *, recipe: RecipeLike | None = None, tools: bool = True, registry: Registry
    ) -> None:
        self._run = run
        self._recorded = {} if run is None else run.problems()
        self._components: Components | None = None
        self._known: dict[str, tuple[DeclaredTool, ...]] = {}
        """The tools of problems, by the problems' ids."""
        source = recipe if recipe is not None or run is None else run.folder.recipe
        if tools and source is not None:
            loaded = load_recipe(source, _TOOLS_ONLY)
            with attributed(loaded, registry):
                self._components = assemble_components(loaded, registry)
            self._problems = Problems(loaded, self._components.task, run)

    def close(self) -> None:
        """Free what the recipe's tools and task hold."""
        if self._components is not None:
            self._components.close()

    def demonstrations(self) -> Rows:
        """Yield the run's demonstrations."""
        run = self._need_run()
        if not run.folder.demonstrations.is_file():
            raise UsageError(
                f"{run.path} has no demonstrations", hint="take its rollouts or evaluations: --rollouts, --evaluation"
            )
        yield from self._file(run.folder.demonstrations, run.folder.demonstrations.name)

    def rollouts(self, between: tuple[int, int] | None = None) -> Rows:
        """Yield the training rollouts of all steps, or of those from the first to the last that are named.

        Raises:
            UsageError: none were recorded.
        """
        run, found = self._need_run(), 0
        for stage, step, scored in run.rollouts_by_step(between=between):
            found += 1
            yield from self._scored(scored, f"{stage}, step {step}", TRAIN)
        if not found:
            steps = [step for _, step in run.recorded_steps]
            known = f"the recorded steps are {min(steps)} to {max(steps)}" if steps else "none were recorded"
            asked = "" if between is None else f" of the steps {between[0]} to {between[1]}"
            raise UsageError(f"{run.path} has no rollouts{asked}; {known}")

    def evaluation(self, name: str) -> Rows:
        """Yield the episodes of an evaluation, or of `all`.

        Raises:
            UsageError: there is none of that name.
        """
        run = self._need_run()
        splits = {report["name"]: str(report.get("split", TRAIN)) for report in run.evaluations}
        kept = [known for known in splits if run.folder.episodes_of(known).is_file()]
        if not kept or name not in (ALL, *kept):
            raise UsageError(
                f"{run.path} has no evaluation {name!r}{did_you_mean(name, kept)}",
                hint=f"its evaluations are: {', '.join(kept)}" if kept else "none was recorded with its episodes",
            )
        for known in kept if name == ALL else [name]:
            yield from self._scored(run.evaluated(known), f"evaluation {known}", splits[known])

    def file(self, path: Path) -> Rows:
        """Yield the records of a file."""
        return self._file(path, str(path))

    def _file(self, path: Path, name: str) -> Rows:
        for number, line in enumerate(read_lines(path), start=1):
            place = f"{name}, row {number}"
            try:
                record = read_record(line)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                yield RowFault(place, ".".join(map(str, first["loc"])), str(first["msg"]))
                continue
            if isinstance(record, Demonstration) and record.trajectory is None:
                yield RowFault(place, "trajectory", "there is no dialogue, only the names of tools")
            elif isinstance(record, Demonstration) and record.trajectory is not None:
                verdict = record.trajectory.model_copy(update={"correct": record.correct})
                yield from self._rows([verdict], [place])
            elif isinstance(record, Scored):
                yield from self._rows([record.trajectory], [place], [record.reward.total], self._split_of(path))
            elif isinstance(record, Trajectory):
                yield from self._rows([record], [place])

    def _scored(self, scored: Sequence[Scored], place: str, split: str) -> Rows:
        trajectories = [item.trajectory for item in scored]
        places = [f"{place}, episode {item.id}" for item in trajectories]
        yield from self._rows(trajectories, places, [item.reward.total for item in scored], split)

    def _rows(
        self,
        trajectories: Sequence[Trajectory],
        places: Sequence[str],
        rewards: Iterable[float | None] = (),
        split: str = "",
    ) -> Rows:
        found = list(rewards) or [None] * len(trajectories)
        problems = self._problems_of(trajectories, split)
        for trajectory, place, reward in zip(trajectories, places, found, strict=True):
            problem = problems[id(trajectory)]
            dialogue = Dialogue(
                messages=tuple(map(as_data, trajectory.messages)),
                tools=self._tools(problem),
                id=trajectory.problem_id,
                group=problem.group or None,
                key=problem.answer or None,
                correct=trajectory.correct,
            )
            yield DialogueRow(place, dialogue, reward)

    def _problems_of(self, trajectories: Sequence[Trajectory], split: str) -> dict[int, Problem]:
        if self._components is not None:
            return self._problems.of(trajectories, split or self._split(trajectories[0].problem_id))
        return {id(one): problem_of_record(one, self._recorded.get(one.problem_id)) for one in trajectories}

    def _split(self, problem: str) -> str:
        """The split that a demonstration's problem was recorded with; training problems where that is unknown."""
        return self._recorded[problem].split if problem in self._recorded else TRAIN

    def _split_of(self, path: Path) -> str:
        """The split of a file of an evaluation, by its report; empty for another file."""
        if self._run is None or path.parent.name != self._run.folder.evaluation.name:
            return ""
        name = path.name.partition(".jsonl")[0]
        return next((str(report.get("split", "")) for report in self._run.evaluations if report["name"] == name), "")

    def _tools(self, problem: Problem) -> tuple[DeclaredTool, ...]:
        if self._components is None:
            return ()
        if problem.id not in self._known:
            offered = announced(self._components.toolbox.tools(problem)).values()
            self._known[problem.id] = tuple(
                DeclaredTool(name=tool.name, description=tool.description, parameters=dict(tool.parameters))
                for tool in offered
            )
        return self._known[problem.id]

    def _need_run(self) -> Run:
        if self._run is None:
            raise UsageError("no run is named, so there are no rollouts and no evaluations to take")
        return self._run


def read_record(line: bytes) -> FrozenModel:
    """Return the record that a line holds: a demonstration, a scored trajectory, or a trajectory alone.

    Raises:
        ValidationError: it is none of these.
    """
    try:
        keys = json.loads(line).keys()
    except (ValueError, AttributeError, RecursionError):
        keys = ()  # the record's own validation says what is wrong
    kind: type[FrozenModel] = Demonstration if "teacher" in keys else Scored if "reward" in keys else Trajectory
    return kind.from_json(line)


def holds_records(path: Path) -> bool:
    """Whether a file of JSON lines begins with a record of a run."""
    if OUTCOMES in path.name or not path.name.removesuffix(".gz").removesuffix(".zst").endswith(".jsonl"):
        return False
    try:
        first = next(iter(read_lines(path)), None)
        return first is not None and read_record(first) is not None
    except (ValidationError, DataError):
        return False


def run_around(path: Path) -> Run | None:
    """Return the run in whose folder a file lies; None for a file of no run."""
    for folder in path.resolve().parents:
        if (folder / "recipe.yaml").is_file() and (folder / "environment.json").is_file():
            return Run(folder)
    return None
