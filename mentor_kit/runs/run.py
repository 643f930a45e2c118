"""A run read from its folder: metrics, evaluations, trajectories, demonstrations and student."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError, MissingError
from mentor_kit.core.event import RUN_END, RUN_RESUME, RUN_START, Event
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.tracker import Outcome
from mentor_kit.rl.reward import Scored
from mentor_kit.runs.checkpoints import Checkpoints, Keep, complete
from mentor_kit.runs.events import read_events
from mentor_kit.runs.folder import OUTCOMES, RunFolder
from mentor_kit.runs.lock import is_locked
from mentor_kit.runs.problems import RecordedProblem, read_problems
from mentor_kit.runs.records import read_demonstrations, read_scored
from mentor_kit.utils.paths import expanded_path

if TYPE_CHECKING:
    from pandas import DataFrame


class Run:
    """A finished or running run. Every property reads the run folder when it is used.

    Example:
        >>> run = Run.open("runs/quickstart/20261124-134501-a3f9")  # doctest: +SKIP
        >>> run.metrics[["step", "reward", "accuracy"]]  # doctest: +SKIP
    """

    def __init__(self, folder: RunFolder | Path) -> None:
        self.folder = folder if isinstance(folder, RunFolder) else RunFolder.open(folder)

    @staticmethod
    def open(run: str | Path, root: Path = Path("runs"), suits: Callable[[Run], bool] | None = None) -> Run:
        """The run a user names: by its folder, as `name/id`, or by a name for its newest run.

        Args:
            run: a folder, `name/id` or a name.
            root: the folder of all runs.
            suits: the runs that a name can mean; where none of that name suits, it means the newest.

        Raises:
            UsageError: there is none.
        """
        return Run(RunFolder.find(run, root, None if suits is None else lambda folder: suits(Run(folder))))

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @cached_property
    def recipe(self) -> dict[str, Json]:
        """The expanded recipe, without secrets.

        Raises:
            DataError: it cannot be read.
        """
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        try:
            found = YAML(typ="safe", pure=True).load(self.folder.recipe.read_text(encoding="utf-8"))
        except (OSError, ValueError, YAMLError) as error:
            raise DataError(f"{self.folder.recipe} cannot be read: {error}") from None
        if not isinstance(found, dict):
            raise DataError(f"{self.folder.recipe} is no recipe: expected a mapping")
        return found

    @property
    def recipe_folder(self) -> Path:
        """The folder that relative paths in its recipe start from.

        Raises:
            DataError: the recipe cannot be read.
        """
        folder = self.recipe.get("folder")
        return (self.path / expanded_path(folder if isinstance(folder, str) else "")).resolve()

    @property
    def trains(self) -> bool:
        """Whether a stage of it trains the student; runs that only collect or evaluate train nothing.

        A run that has not started trains nothing yet.
        """
        starts = [event for event in self.events if event.kind in (RUN_START, RUN_RESUME)]
        return bool(starts and starts[-1].values.get("trains"))

    @property
    def has_started(self) -> bool:
        """Whether it got as far as its first event, so that it can be resumed."""
        return any(event.kind in (RUN_START, RUN_RESUME) for event in self.events)

    @property
    def has_checkpoint(self) -> bool:
        """Whether it has a complete checkpoint."""
        return bool(complete(self.folder.checkpoints))

    @property
    def name(self) -> str:
        """The recipe's name."""
        return str(self.recipe.get("name", self.folder.name))

    @property
    def seed(self) -> int:
        """The recipe's seed.

        Raises:
            DataError: it is no whole number, or the recipe cannot be read.
        """
        found = self.recipe.get("seed", 0)
        if not isinstance(found, int):
            raise DataError(f"{self.folder.recipe}: the seed is no whole number: {found!r}")
        return found

    @property
    def events(self) -> list[Event]:
        """All events so far, oldest first."""
        return read_events(self.path)

    @property
    def outcome(self) -> Outcome | Literal["running", "killed"]:
        """How the run ended; `running` where it has not, `killed` where it ended without recording how."""
        if is_locked(self.path):
            return "running"
        # notes on trackers that could not be closed come after the end
        bounds = [event for event in self.events if event.kind in (RUN_START, RUN_RESUME, RUN_END)]
        if not bounds or bounds[-1].kind != RUN_END:
            return "killed"
        outcome: Outcome = bounds[-1].values["outcome"]
        return outcome

    @property
    def steps(self) -> list[dict[str, Json]]:
        """The metrics of every training step, with its stage and step, oldest first."""
        return [
            {"stage": event.stage, "step": event.step, "time": event.time} | event.values
            for event in self.events
            if event.kind == "step"
        ]

    @property
    def metrics(self) -> DataFrame:
        """`steps` as a data frame, a row a step.

        Raises:
            MissingError: pandas is not installed.
        """
        return data_frame(self.steps)

    @property
    def evaluations(self) -> list[dict[str, Json]]:
        """All evaluation reports, in the order of stages and steps, each with its `name`.

        Raises:
            DataError: one cannot be read.
        """
        found = []
        for path in sorted(self.folder.evaluation.glob("[!.]*.json"), key=lambda path: natural(path.stem)):
            try:
                report = json.loads(path.read_bytes())
            except (OSError, ValueError) as error:
                raise DataError(f"{path} cannot be read: {error}") from None
            if not isinstance(report, dict):
                raise DataError(f"{path} is no evaluation report: expected an object")
            found.append({"name": path.stem} | report)
        return found

    def rollouts(self, stage: str | None = None, step: int | None = None) -> Iterator[Scored]:
        """The training trajectories that were kept, with their rewards; of one stage or step, or all."""
        for _, _, scored in self._rollouts(stage, step):
            yield from scored

    @property
    def recorded_steps(self) -> list[tuple[str, int]]:
        """The stage and the step of all training trajectories that were kept, in order."""
        return [(stage, step) for stage, step, _ in self._rollout_files()]

    def rollouts_by_step(self, *, between: tuple[int, int] | None = None) -> Iterator[tuple[str, int, list[Scored]]]:
        """The stage, the step and the trajectories of each step that was kept, in order; one step is read at a time.

        Args:
            between: the first and the last step to read; all if left out.
        """
        yield from self._rollouts(None, None, between)

    def trajectories(self, stage: str | None = None, step: int | None = None) -> DataFrame:
        """The same as a data frame, a row a trajectory; the column `scored` holds the `Scored` itself.

        Raises:
            MissingError: pandas is not installed.
        """
        return data_frame(
            [
                _row(found_stage, found_step, item)
                for found_stage, found_step, scored in self._rollouts(stage, step)
                for item in scored
            ]
        )

    def evaluated(self, name: str) -> list[Scored]:
        """The trajectories of the evaluation of that `name`, greedy ones first."""
        path = self.folder.episodes_of(name)
        if not path.is_file():
            raise DataError(
                f"{self.path} has no evaluation {name!r}", hint="see `[e['name'] for e in run.evaluations]`"
            )
        return read_scored(path)

    def outcomes(self, name: str) -> list[dict[str, Json]]:
        """A flat row for each episode of the evaluation of that `name`; `pandas.DataFrame` takes them.

        Raises:
            DataError: there is no such evaluation, or it has no rows.
        """
        path = self.folder.evaluation / f"{name}{OUTCOMES}"
        if not path.is_file():
            raise DataError(f"{self.path} has no outcomes of an evaluation {name!r}", hint=f"expected {path}")
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        # runs of earlier versions have `played` for `decoding`
        return [{"decoding" if key == "played" else key: value for key, value in row.items()} for row in rows]

    def problems(self) -> dict[str, RecordedProblem]:
        """The problems of rollouts and evaluations by id; none in runs of versions that did not keep them.

        Raises:
            DataError: a line is not a problem.
        """
        return read_problems(self.folder.problems)

    def demonstrations(self) -> list[Demonstration]:
        """The teacher's demonstrations."""
        return read_demonstrations(self.folder.demonstrations)

    def checkpoints(self, keep: Keep | None = None) -> Checkpoints:
        """The checkpoints that were kept; `keep` defines which is `best`."""
        return Checkpoints(self.folder.checkpoints, keep)

    @property
    def student(self) -> Path:
        """The folder of the trained student.

        Raises:
            DataError: the run has written none (yet).
        """
        if not self.folder.student.is_dir():
            raise DataError(f"{self.path} has no student yet", hint=f"`mentorkit export {self.path}` writes one")
        return self.folder.student

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _rollouts(
        self, stage: str | None, step: int | None, between: tuple[int, int] | None = None
    ) -> Iterator[tuple[str, int, list[Scored]]]:
        for found_stage, found_step, path in self._rollout_files():
            if between is not None and not between[0] <= found_step <= between[1]:
                continue
            if stage in (None, found_stage) and step in (None, found_step):
                yield found_stage, found_step, read_scored(path)

    def _rollout_files(self) -> Iterator[tuple[str, int, Path]]:
        paths = self.folder.rollouts.glob("[!.]*/step-*.jsonl*")
        for path in sorted(paths, key=lambda path: (natural(path.parent.name), natural(path.name))):
            yield path.parent.name, int(path.name.removeprefix("step-").partition(".")[0]), path


def data_frame(rows: list[dict[str, Any]]) -> DataFrame:
    """Rows as a data frame.

    Raises:
        MissingError: pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError:
        raise MissingError("data frames need pandas", hint="pip install 'mentor-kit[report]'") from None
    frame: DataFrame = pandas.DataFrame(rows)
    return frame


def _row(stage: str, step: int, scored: Scored) -> dict[str, Any]:
    trajectory, reward = scored.trajectory, scored.reward
    return {
        "stage": stage,
        "step": step,
        "id": trajectory.id,
        "problem": trajectory.problem_id,
        "reward": reward.total,
        "gate": reward.gate,
        **{f"reward/{name}": term.value for name, term in reward.terms.items()},
        "advantage": scored.advantage,
        "correct": trajectory.correct,
        "answer": trajectory.answer,
        "ending": str(trajectory.ending),
        "turns": len(trajectory.turns),
        "tools_used": trajectory.tools_used,
        "tokens": trajectory.tokens.sampled if trajectory.tokens is not None else None,
        "final_text": trajectory.final_text,
        "scored": scored,
    }


def natural(text: str) -> list[tuple[int, str]]:
    """A sorting key under which 2 comes before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]
