"""A run's data for the page, as JSON: an index that says what there is, and chunks that are loaded when looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property

from mentor_kit.core.errors import DataError, UsageError
from mentor_kit.core.event import Event
from mentor_kit.core.frozen_model import Json
from mentor_kit.report.page.evaluations import evaluation_episodes, evaluation_index, evaluation_problems
from mentor_kit.report.page.overview import overview, started
from mentor_kit.report.page.problems import ProblemBook
from mentor_kit.report.page.rollouts import StepFile, entry, step_files, step_rollouts, step_tokens
from mentor_kit.report.page.tokenizer import tokenizer_folder
from mentor_kit.report.page.tokens import read_vocabulary
from mentor_kit.report.rescore.kept import kept_rescored
from mentor_kit.runs import Run
from mentor_kit.utils.paths import without_home

#: What a run's index has beside its rollouts, by the key under which a tab of the page finds it; None hides the tab.
SECTIONS: Mapping[str, Callable[[Run], Json]] = {
    "overview": overview,
    "evaluations": evaluation_index,
    "rescore": kept_rescored,
}


class Snapshot(Run):
    """A run as it is at one moment: its events and evaluations are read once."""

    @cached_property
    def events(self) -> list[Event]:
        """All events so far, oldest first."""
        return super().events

    @cached_property
    def evaluations(self) -> list[dict[str, Json]]:
        """All evaluation reports so far."""
        return super().evaluations


class RunPage:
    """One run for the page; it reads the folder alone, so that it may be used beside the process that writes there.

    Chunks have names, which the index lists:

        rollouts/<stage>/<step>    a step's problems and attempts (`rollouts.step_rollouts`)
        tokens/<stage>/<step>      their tokens (`rollouts.step_tokens`)
        vocabulary                 the strings of token ids
        evaluation/<name>          the episodes of an evaluation (`evaluations.evaluation_episodes`)
        problems/<plan>            the problems of all evaluations of a name (`evaluations.evaluation_problems`)
    """

    def __init__(self, run: Run) -> None:
        self._folder = run.folder
        self.book = ProblemBook(run.folder)

    @property
    def run(self) -> Run:
        """The run as it is now."""
        return Snapshot(self._folder)

    @property
    def version(self) -> str:
        """A string that changes when there is more to show."""
        folder = self._folder
        files = [
            folder.events,
            folder.recipe,
            *folder.path.glob("evaluation/[!.]*.json"),
            *folder.path.glob("rescore/*"),
        ]
        found = sorted((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files if path.exists())
        return f"{hash_of([*found, self.run.outcome])}"

    def index(self) -> dict[str, Json]:
        """What there is of the run: the sections, and the names of the steps with rollouts.

        The page is made to be shared, so paths in settings and notes begin with `~` for the user's home.
        """
        run = self.run
        index: dict[str, Json] = _about(run)
        steps = [entry(file) for file in step_files(run.folder)]
        index["rollouts"] = {"steps": steps, "recorded": len(steps)}
        found = index | {name: section(run) for name, section in SECTIONS.items()}
        return {name: _without_home(value) for name, value in found.items()}

    def chunk(self, name: str) -> dict[str, Json]:
        """A chunk by its name.

        Raises:
            UsageError: there is none of that name.
        """
        kind, _, rest = name.partition("/")
        run = self.run
        if kind in ("rollouts", "tokens"):
            file = self._step_file(rest)
            if file is not None:
                return step_rollouts(file, self.book) if kind == "rollouts" else step_tokens(file)
        if kind == "evaluation" and rest in {report["name"] for report in run.evaluations}:
            return evaluation_episodes(run, rest, self.book)
        if kind == "problems":
            return evaluation_problems(run, rest, self.book)
        if name == "vocabulary":
            return dict(read_vocabulary(tokenizer_folder(run)))
        raise UsageError(f"the run has no {name!r} to show")

    def _step_file(self, key: str) -> StepFile | None:
        return next((file for file in step_files(self._folder) if file.key == key), None)


def hash_of(value: Json) -> str:
    """A short hash of a JSON value."""
    import hashlib

    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _without_home(value: Json) -> Json:
    """A JSON value with `~` for the user's home in all of its strings."""
    if isinstance(value, str):
        return without_home(value)
    if isinstance(value, list):
        return [_without_home(item) for item in value]
    return {key: _without_home(item) for key, item in value.items()} if isinstance(value, dict) else value


def _about(run: Run) -> dict[str, Json]:
    recipe = run.recipe
    student = recipe.get("student")
    events = run.events
    return {
        "name": run.name,
        "id": run.folder.id,
        "outcome": run.outcome,
        "seed": recipe.get("seed", 0),
        "student": student.get("model") if isinstance(student, dict) else student,
        "started": started(run),
        "last": events[-1].time if events else None,
        "recipe": _recipe_text(run),
        "environment": _environment(run),
    }


def _recipe_text(run: Run) -> str:
    """The recipe as it was written, without the folder on the disk that it came from."""
    try:
        lines = run.folder.recipe.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{run.folder.recipe} cannot be read: {error}") from None
    return "\n".join(line for line in lines if not line.startswith("folder:")) + "\n"


def _environment(run: Run) -> Json:
    try:
        return json.loads(run.folder.environment.read_bytes())
    except (OSError, ValueError):
        return {}
