"""Writes the page of one or more runs into one file, within its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mentor_kit.core.errors import UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.report.page.document import chunk_line, pack, write_head, write_tail
from mentor_kit.report.page.evaluations import evaluation_episodes, evaluation_problems
from mentor_kit.report.page.limits import PageLimits, spread
from mentor_kit.report.page.page_data import document_index
from mentor_kit.report.page.rollouts import (
    StepFile,
    entry,
    episode_files,
    every_nth,
    step_files,
    step_rollouts,
    step_tokens,
    token_ids,
    worst_groups,
)
from mentor_kit.report.page.run_page import RunPage
from mentor_kit.report.page.tokenizer import tokenizer_folder
from mentor_kit.report.page.tokens import read_vocabulary
from mentor_kit.runs import Run
from mentor_kit.runs.files import storage_errors
from mentor_kit.utils.files import NEW

#: Of a run's share of the file, what evaluations, and evaluations and rollouts together, may take; tokens get the rest.
EVALUATIONS, ROLLOUTS = 0.5, 0.8


@dataclass(frozen=True)
class WrittenPage:
    """A page that was written."""

    path: Path
    bytes: int
    rollouts: int
    """How many rollouts are in it."""
    episodes: int
    """How many evaluated episodes are in it."""
    notes: tuple[str, ...]
    """What the limits left out, in sentences that also stand in the page."""

    def to_json(self) -> dict[str, Json]:
        """The same as JSON."""
        return {
            "page": str(self.path),
            "bytes": self.bytes,
            "rollouts": self.rollouts,
            "episodes": self.episodes,
            "notes": list(self.notes),
        }


def write_page(
    runs: Sequence[Run], path: Path, limits: PageLimits | None = None, episodes: Sequence[Path] = ()
) -> WrittenPage:
    """Write the page of runs.

    Memory holds one step's rollouts at a time, and the runs' demonstrations.

    Args:
        runs: in the order of the page; with several, evaluations are paired by problem.
        path: the file; an old one is replaced when the new one is whole.
        limits: which rollouts are kept, and the size; all that fit into 20 MB if left out.
        episodes: files of scored episodes, shown among the first run's rollouts, whose limits do not apply to them.

    Raises:
        UsageError: there is no run, or the path is a folder.
        DataError: a file of a run cannot be read.
        MentorKitError: the file cannot be written.
    """
    if not runs:
        raise UsageError("a page is of one run or several, not of none")
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint="name a file to write, such as run.html")
    limits = limits or PageLimits()
    temporary = path.with_name(NEW + path.name)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                written = [_RunWriter(RunPage(run), file, str(key), limits) for key, run in enumerate(runs)]
                written[0].extra = episode_files(episodes)
                _write(file, written, limits)
                size = file.tell()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    notes = tuple(note for run in written for note in run.notes)
    return WrittenPage(path, size, sum(run.rollouts for run in written), sum(run.episodes for run in written), notes)


def _write(file: BinaryIO, runs: Sequence[_RunWriter], limits: PageLimits) -> None:
    write_head(file)
    indexes = [run.page.index() for run in runs]
    # room for the scripts, and for the index with what is counted while the chunks are written
    reserved = file.tell() + 200_000 + 1.5 * sum(len(pack(index)) for index in indexes)
    share = (limits.bytes - reserved) / len(runs)
    for run, index in zip(runs, indexes, strict=True):
        run.write(index, share)
    version = "-".join(run.page.version for run in runs)
    file.write(chunk_line("index", document_index([run.page for run in runs], indexes, version)))
    write_tail(file)


@dataclass
class _RunWriter:
    """Writes one run's chunks, and completes its index."""

    page: RunPage
    file: BinaryIO
    key: str
    limits: PageLimits
    extra: list[StepFile] = field(default_factory=list)
    """Files of episodes beside the run's own."""
    chunks: dict[str, str] = field(default_factory=dict)
    """The elements' ids by the chunks' names."""
    notes: list[str] = field(default_factory=list)
    used: int = 0
    rollouts: int = 0
    episodes: int = 0
    _index: dict[str, Json] = field(default_factory=dict)

    def write(self, index: dict[str, Json], share: float) -> None:
        """Write the chunks that fit into a share of the file's bytes."""
        self._index = index
        run = self.page.run
        self._evaluations(run, EVALUATIONS * share)
        self._rollouts(run, ROLLOUTS * share, share)
        index["chunks"] = self.chunks
        index["notes"] = self.notes

    def _evaluations(self, run: Run, room: float) -> None:
        for plan in self._index["evaluations"]["plans"]:
            name = f"problems/{plan['name']}"
            kept = self._put(name, evaluation_problems(run, plan["name"], self.page.book), room)
            left_out = 0
            for checkpoint in spread(plan["checkpoints"]):
                if not (kept and checkpoint["recorded"]):
                    continue
                found = evaluation_episodes(run, checkpoint["name"], self.page.book)
                if self._put(f"evaluation/{checkpoint['name']}", found, room):
                    self.episodes += sum(map(len, found["problems"].values()))
                else:
                    checkpoint["recorded"], left_out = False, left_out + 1
            if left_out or not kept:
                of = f"{left_out} of {len(plan['checkpoints'])}" if kept else "all"
                self._note(f"the episodes of {of} evaluations of {plan['name']} are left out: {self._limit}")

    def _rollouts(self, run: Run, room: float, room_with_tokens: float) -> None:
        files = step_files(run.folder)
        only = worst_groups(files, self.limits.count) if self.limits.kind == "worst" else {}
        chosen = self._chosen(files) if self.limits.kind != "worst" else [file for file in files if file.key in only]
        counts: dict[str, Json] = {}
        kept: list[StepFile] = []
        for file in (*self.extra, *spread(chosen)):
            found = step_rollouts(file, self.page.book, only.get(file.key))
            if not self._put(f"rollouts/{file.key}", found, room):
                break
            kept.append(file)
            attempts = sum(len(problem["attempts"]) for problem in found["problems"])
            self.rollouts += attempts
            counts[file.key] = {"flags": found["flags"], "problems": len(found["problems"]), "attempts": attempts}
        self._index["rollouts"] = {
            "steps": [entry(file) | counts[file.key] for file in (*files, *self.extra) if file.key in counts],
            "recorded": len(files) + len(self.extra),
        }
        self._note_rollouts(len(files), len(chosen), sum(file in chosen for file in kept))
        self._tokens(run, kept, only, room_with_tokens)

    def _tokens(self, run: Run, files: Sequence[StepFile], only: dict[str, set[str]], room: float) -> None:
        ids: set[int] = set()
        kept = recorded = 0
        for file in files:
            found = step_tokens(file, only.get(file.key))
            of_step = token_ids(found)
            if not of_step:
                continue
            recorded += 1
            if not self._put(f"tokens/{file.key}", found, room):
                break
            kept += 1
            ids |= of_step
        if ids:
            self._put("vocabulary", dict(read_vocabulary(tokenizer_folder(run), ids)), float("inf"))
        if recorded > kept:
            self._note(f"the tokens of {kept} of {len(files)} steps are kept: {self._limit}")

    def _chosen(self, files: Sequence[StepFile]) -> list[StepFile]:
        if self.limits.kind == "none":
            return []
        return every_nth(files, self.limits.count) if self.limits.kind == "every" else list(files)

    def _note_rollouts(self, recorded: int, chosen: int, kept: int) -> None:
        if self.limits.kind == "none" and recorded:
            self._note("no rollouts are kept (--rollouts none)")
        elif self.limits.kind == "worst":
            count = self.limits.count
            self._note(
                f"of the rollouts the {count} groups with the lowest mean reward are kept (--rollouts worst={count})"
            )
        elif chosen < recorded:
            every = f"--rollouts every={self.limits.count}"
            self._note(f"the rollouts of {chosen} of {recorded} recorded steps are kept ({every})")
        if kept < chosen:
            self._note(f"the rollouts of {kept} of {chosen} steps are kept, spread evenly: {self._limit}")

    def _put(self, name: str, data: dict[str, Json], room: float) -> bool:
        """Write a chunk if the run's bytes stay within `room`; whether it was written."""
        element = f"chunk-{self.key}-{len(self.chunks)}"
        line = chunk_line(element, data)
        if self.used + len(line) > room:
            return False
        self.file.write(line)
        self.used += len(line)
        self.chunks[name] = element
        return True

    def _note(self, sentence: str) -> None:
        self.notes.append(sentence)

    @property
    def _limit(self) -> str:
        return f"the page has at most {self.limits.megabytes:g} MB (--megabytes)"
