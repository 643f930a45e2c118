"""A run's training rollouts for the page: a chunk a step."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from mentor_kit.core.frozen_model import Json
from mentor_kit.report.page.attempts import count_flags, group_attempts
from mentor_kit.report.page.problems import ProblemBook
from mentor_kit.report.page.tokens import compact_tokens
from mentor_kit.runs import RunFolder
from mentor_kit.runs.raw_records import iterate_scored, iterate_totals
from mentor_kit.runs.run import natural


@dataclass(frozen=True)
class StepFile:
    """The recorded rollouts of a step, or a file of episodes from elsewhere, such as a chat's."""

    stage: str
    step: int
    path: Path
    label: str = ""
    """What it is called where it is no step."""

    @property
    def key(self) -> str:
        """The step's name among a run's steps: `<stage>/<step>`."""
        return f"{self.stage}/{self.step}"


def step_files(folder: RunFolder) -> list[StepFile]:
    """The steps whose rollouts were recorded, in order of stages and steps."""
    found = [
        StepFile(path.parent.name, int(number), path)
        for path in folder.rollouts.glob("[!.]*/step-*.jsonl*")
        if (number := path.name.removeprefix("step-").split(".")[0]).isdecimal()
    ]
    return sorted(found, key=lambda file: (natural(file.stage), file.step))


def entry(file: StepFile) -> dict[str, Json]:
    """A step in the list of a run's steps."""
    named = {"label": file.label} if file.label else {}
    return {"key": file.key, "stage": file.stage, "step": file.step, **named}


def episode_files(paths: Sequence[Path]) -> list[StepFile]:
    """Files of scored episodes that are shown like steps."""
    return [StepFile("episodes", place, path, path.name) for place, path in enumerate(paths, start=1)]


def step_rollouts(file: StepFile, book: ProblemBook, only: Collection[str] | None = None) -> dict[str, Json]:
    """A step's problems with their attempts.

    Args:
        file: the step.
        book: the run's problems.
        only: the ids of the problems that are kept; all if left out.
    """
    problems = group_attempts(iterate_scored(file.path, problems=only), book)
    return {"stage": file.stage, "step": file.step, "problems": problems, "flags": count_flags(problems)}


def step_tokens(file: StepFile, only: Collection[str] | None = None) -> dict[str, Json]:
    """A step's tokens: for every problem its `prompt` and the tokens of its `attempts`, in the order of the file.

    An attempt without recorded tokens is null; so is a step without any.
    """
    found: dict[str, dict[str, Json]] = {}
    for raw in iterate_scored(file.path, tokens=True, problems=only):
        trajectory = raw["trajectory"]
        trace = trajectory.get("tokens")
        problem = found.setdefault(trajectory["problem_id"], {"prompt": None, "attempts": []})
        if trace is not None and problem["prompt"] is None:
            problem["prompt"] = trace["prompt_ids"]
        problem["attempts"].append(None if trace is None else compact_tokens(trace))
    return {"stage": file.stage, "step": file.step, "problems": found}


def token_ids(tokens: dict[str, Json]) -> set[int]:
    """All token ids of what `step_tokens` returned."""
    ids: set[int] = set()
    for problem in tokens["problems"].values():
        ids.update(problem["prompt"] or ())
        for attempt in problem["attempts"]:
            ids.update(attempt["ids"] if attempt is not None else ())
    return ids


def worst_groups(files: Sequence[StepFile], count: int) -> dict[str, set[str]]:
    """The groups with the lowest mean reward, later ones first among equals: the problems' ids by the step's key."""
    means = [
        (mean, -place, file.key, problem) for place, file in enumerate(files) for problem, mean in _means(file).items()
    ]
    found: dict[str, set[str]] = {}
    for _, _, key, problem in sorted(means)[:count]:
        found.setdefault(key, set()).add(problem)
    return found


def _means(file: StepFile) -> dict[str, float]:
    totals: dict[str, list[float]] = {}
    for problem, total in iterate_totals(file.path):
        totals.setdefault(problem, []).append(total)
    return {problem: sum(found) / len(found) for problem, found in totals.items()}


def every_nth(files: Sequence[StepFile], every: int) -> list[StepFile]:
    """Every so-many-th of the steps, counted backwards from the last."""
    last = len(files) - 1
    return [file for place, file in enumerate(files) if (last - place) % every == 0]
