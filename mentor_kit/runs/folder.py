"""The folder of a run.

runs/<name>/<id>/
    recipe.yaml             expanded, without secrets
    environment.json        versions, platform, commit, the settings it was started with
    changes.jsonl           changes of the recipe when the run was resumed, append-only
    events.jsonl            the run's events, append-only
    demonstrations.jsonl    the teacher's demonstrations, append-only
    problems.jsonl          the problems of rollouts and evaluations, with their answer keys, append-only
    rollouts/<stage>/step-000010.jsonl
    rollouts/<stage>/.recorded/       those after the last checkpoint, while a resumed run trains on them again
    checkpoints/<stage>-step-000020/
    evaluation/             a report (.json), the trajectories (.jsonl) and a row each (.outcomes.jsonl)
                            (rollouts and trajectories end with .gz or .zst where the recipe compresses them)
    student/                the trained student, for transformers and others
    trackers/               what trackers that come with mentor-kit have of the run, and what they printed
    report.html             the page that shows the run, where the recipe asks for it
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from mentor_kit.core.errors import DataError, UsageError, did_you_mean
from mentor_kit.core.event import utc_now
from mentor_kit.core.frozen_model import Json
from mentor_kit.runs.compression import existing
from mentor_kit.runs.environment import environment
from mentor_kit.runs.files import remove_folder, storage_errors, tidy, write_folder, write_text
from mentor_kit.runs.jsonl import JsonlFile, read_lines
from mentor_kit.utils.strict_json import to_json

#: The key of a run's settings in its environment and changes.
SETTINGS = "settings"

#: The settings of a run without any.
NONE: Mapping[str, Json] = MappingProxyType({})

#: The suffix of the file with an evaluation's rows.
OUTCOMES = ".outcomes.jsonl"
#: The folder of a stage's rollouts that are trained on again.
RECORDED = ".recorded"

#: Whether a run is one that a name can mean.
Suits = Callable[["RunFolder"], bool]

_NAME = re.compile(r"[\w][\w .+@=-]*")


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run and the paths in it, whether or not there is something at them yet."""

    path: Path
    made: tuple[Path, ...] = field(default=(), compare=False, repr=False)
    """The folders around it that were made with it, the innermost first."""

    @staticmethod
    def create(
        root: Path,
        name: str,
        recipe: str | Callable[[Path], str],
        *,
        settings: Mapping[str, Json] = NONE,
        now: datetime | None = None,
    ) -> RunFolder:
        """A fresh folder `root/name/<id>` with the recipe and the environment in it.

        Args:
            root: the folder of all runs.
            name: the recipe's name.
            recipe: the expanded recipe as YAML, without secrets; or a function that returns it for the new folder.
            settings: the recipe's overrides, such as `{"train.0.steps": 9}`.
            now: the time in the id; this moment if left out.

        Raises:
            UsageError: the name cannot be a folder's.
            MentorKitError: the folder cannot be written to.
        """
        check_name(name)
        made = tuple(around for around in (root / name, root) if not around.exists())
        stamp = (now or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S")
        with storage_errors(root / name, kept="nothing was written"):
            while True:
                path = root / name / f"{stamp}-{secrets.token_hex(2)}"
                try:
                    path.mkdir(parents=True)
                    break
                except FileExistsError:
                    if not path.is_dir():
                        raise
        folder = RunFolder(path, made)
        try:
            folder._describe(recipe if isinstance(recipe, str) else recipe(path), settings)
        except BaseException:
            folder.discard()
            raise
        return folder

    def discard(self) -> None:
        """Remove the folder, and those that were made with it unless other runs are in them by now."""
        remove_folder(self.path)
        for around in self.made:
            with suppress(OSError):
                around.rmdir()

    def _describe(self, recipe: str, settings: Mapping[str, Json]) -> None:
        write_text(self.environment, to_json(environment() | {SETTINGS: dict(settings)}, indent=2) + "\n")
        # the recipe is last: a folder with one is a run
        write_text(self.recipe, recipe)

    @staticmethod
    def open(path: Path) -> RunFolder:
        """The run in an existing folder.

        Raises:
            UsageError: there is no run in it.
        """
        folder = RunFolder(path)
        if not folder.recipe.is_file():
            raise UsageError(f"{path} is not a run folder: it has no recipe.yaml", hint="a run is runs/<name>/<id>")
        return folder

    @staticmethod
    def all(root: Path, name: str) -> list[RunFolder]:
        """All runs of a recipe, oldest first."""
        found = [RunFolder(recipe.parent) for recipe in (root / name).glob("*/recipe.yaml")]
        return sorted(found, key=lambda run: run.age)

    @staticmethod
    def last(root: Path, name: str, suits: Suits | None = None) -> RunFolder:
        """The newest run of a recipe; of those that suit, if any does.

        Raises:
            UsageError: there is none.
        """
        if found := RunFolder.all(root, name):
            return next((run for run in reversed(found) if suits is not None and suits(run)), found[-1])
        known = sorted({recipe.parent.parent.name for recipe in root.glob("*/*/recipe.yaml")})
        listed = f"; there are runs of: {', '.join(known)}" if known else ""
        raise UsageError(f"there is no run of {name!r} in {root}{did_you_mean(name, known)}{listed}")

    @staticmethod
    def find(run: str | Path, root: Path, suits: Suits | None = None) -> RunFolder:
        """The run that a user names: by its folder, as `name/id`, or by a name for its newest run that suits.

        Raises:
            UsageError: there is none.
        """
        for path in (Path(run), root / run):
            if (path / "recipe.yaml").is_file():
                return RunFolder.open(path)
        path = Path(run)
        if path.is_dir() and any(path.glob("*/recipe.yaml")):
            return RunFolder.last(path.absolute().parent, path.absolute().name, suits)
        if len(path.parts) == 1:
            return RunFolder.last(root, str(run), suits)
        return RunFolder.open(path)

    @property
    def id(self) -> str:
        """Such as `20261124-134501-a3f9`: UTC time and four random digits; sorts by time."""
        return self.path.absolute().name

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.path.absolute().parent.name

    @property
    def age(self) -> tuple[str, int, str]:
        """A sorting key of runs, from the oldest to the newest."""
        # ids are sorted by the second; within one, the recipe was written when the run was made
        return self.id[:15], self.recipe.stat().st_mtime_ns, self.id

    @property
    def key(self) -> str:
        """`name/id`, which is unique among all runs."""
        return f"{self.name}/{self.id}"

    @property
    def recipe(self) -> Path:
        """The expanded recipe."""
        return self.path / "recipe.yaml"

    @property
    def environment(self) -> Path:
        """Versions, platform, commit."""
        return self.path / "environment.json"

    @property
    def changes(self) -> Path:
        """Later changes of the recipe."""
        return self.path / "changes.jsonl"

    @property
    def events(self) -> Path:
        """The run's events."""
        return self.path / "events.jsonl"

    @property
    def demonstrations(self) -> Path:
        """The teacher's demonstrations."""
        return self.path / "demonstrations.jsonl"

    @property
    def problems(self) -> Path:
        """The problems of rollouts and evaluations."""
        return self.path / "problems.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def rollouts(self) -> Path:
        """The folder of the training rollouts, with a folder for each stage."""
        return self.path / "rollouts"

    @property
    def evaluation(self) -> Path:
        """The folder of the evaluations."""
        return self.path / "evaluation"

    @property
    def student(self) -> Path:
        """The folder of the trained student."""
        return self.path / "student"

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.path / "report.html"

    def settings(self) -> dict[str, Json]:
        """The overrides of the run's recipe so far: those it was started with, then those it was resumed with.

        Raises:
            DataError: a file cannot be read.
        """
        try:
            first = json.loads(self.environment.read_bytes()).get(SETTINGS, {})
            later = [json.loads(line)[SETTINGS] for line in read_lines(self.changes)]
            found = [pair for settings in (first, *later) for pair in settings.items()]
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise DataError(f"the settings of the run {self.path} cannot be read: {error}") from None
        settings: dict[str, Json] = {}
        for key, value in found:
            settings.pop(key, None)  # of two with one key the later counts, and takes its place in the order
            settings[key] = value
        return settings

    def change_recipe(self, recipe: str, settings: Mapping[str, Json], changes: Mapping[str, Json]) -> None:
        """Replace the recipe by a changed one, and record the changes."""
        with JsonlFile(self.changes) as file:
            file.append([to_json({"time": utc_now(), SETTINGS: dict(settings), "changes": dict(changes)})], sync=True)
        write_text(self.recipe, recipe)

    def rollouts_of(self, stage: str, step: int) -> Path:
        """The rollouts of a stage's step, without the suffix of a compression."""
        return self.rollouts / stage / f"step-{step:06d}.jsonl"

    def recorded_rollouts_of(self, stage: str, step: int) -> Path:
        """The rollouts of a step after the last checkpoint, from before the run was resumed: the file that there is."""
        return existing(self.rollouts / stage / RECORDED / self.rollouts_of(stage, step).name)

    def episodes_of(self, evaluation: str) -> Path:
        """The trajectories of an evaluation: the file that there is, compressed or not."""
        return existing(self.evaluation / f"{evaluation}.jsonl")

    def write_folder(self, name: str, fill: Callable[[Path], object]) -> Path:
        """Write a folder inside the run, whole or not at all; an existing one is replaced.

        Raises:
            UsageError: the name is that of something else in the run, or no name for a folder.
        """
        check_name(name)
        if name in ("rollouts", "checkpoints", "evaluation"):
            raise UsageError(f"the run keeps its own {name} in the folder of that name", hint="choose another one")
        return write_folder(self.path / name, fill)

    def tidy(self) -> None:
        """Remove what a killed process left behind. Only for the process that has the folder's lock."""
        stages = self.rollouts.iterdir() if self.rollouts.is_dir() else ()
        for folder in (self.path, self.checkpoints, self.evaluation, *stages):
            tidy(folder)


def check_name(name: str) -> None:
    """Refuse a name that cannot be a folder's on every system, or would lead out of its parent.

    Raises:
        UsageError: the name is empty, or has slashes, a leading dot or control characters in it.
    """
    if not _NAME.fullmatch(name) or len(name) > 200:
        raise UsageError(
            f"{name!r} cannot be the name of a folder",
            hint="use up to 200 letters, digits, spaces and - _ . + @ =, starting with a letter or digit",
        )
