"""Writes dialogues in the format of other programs: of runs, of their files, and of data in any format that is read.

run, recorded file, data file ──> dialogues ──only right, best──> rows of a format ──> file or folder
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.dialogue_sources import DialogueSource
from mentor_kit.api.locations import RUNS
from mentor_kit.api.recorded_dialogues import Rows
from mentor_kit.api.row_counting import counted
from mentor_kit.api.row_faults import FaultGroup, FaultGroups, left_out_lines
from mentor_kit.core.data_format import DataFormat, DataFormatError
from mentor_kit.core.errors import DataError, UsageError, did_you_mean
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.data_formats import data_formats
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.loading import RecipeLike
from mentor_kit.runs import Run
from mentor_kit.runs.dialogue_rows import AUTO, DialogueRow, RowFault
from mentor_kit.runs.files import write_folder
from mentor_kit.runs.row_files import check_ending, write_rows
from mentor_kit.runs.rows import read_rows

#: Which dialogues are written: all, those with a right answer, or of each problem the right one with the most reward.
Only = Literal["all", "right", "best"]
#: Whether a row that cannot be read or written ends the conversion, or is left out.
Broken = Literal["fail", "skip"]

_ANOTHER = "name another one, or replace it: --overwrite"
_NO_NAME = re.compile(r"[^\w.\-]+")


@dataclass(frozen=True)
class Converted:
    """What was written."""

    path: Path
    """The file, or the folder of a format with a file for each dialogue."""
    source_format: str
    """The format of the source: the name of one, or `run` for records of a run."""
    format: str
    dialogues: int
    """How many were written."""
    left_out: tuple[FaultGroup, ...]
    """Rows that could not be read or written, by what is wrong with them."""
    not_chosen: int
    """How many were not among those that were asked for: right ones, the best of each problem."""
    limits: tuple[str, ...]
    """What the format cannot express."""

    def as_data(self) -> dict[str, Json]:
        """Return the result for programs."""
        return {
            "path": str(self.path),
            "source_format": self.source_format,
            "format": self.format,
            "dialogues": self.dialogues,
            "not_chosen": self.not_chosen,
            "left_out": [group.as_data() for group in self.left_out],
            "limits": list(self.limits),
        }

    def lines(self) -> list[str]:
        """Return the result as lines."""
        dialogues = "1 dialogue" if self.dialogues == 1 else f"{self.dialogues:,} dialogues"
        others = f"; {self.not_chosen:,} others are not those asked for" if self.not_chosen else ""
        lines = [f"written: {self.path}", f"{dialogues}, format {self.format}{others}"]
        lines += left_out_lines(self.left_out)
        return [*lines, f"{self.format} cannot express: {'; '.join(self.limits)}"] if self.limits else lines


@checked_arguments
def convert_data(
    source: str | Path | Run,
    target: str | Path,
    *,
    to: str,
    format: str = AUTO,
    only: Only = "all",
    rollouts: tuple[int, int] | Literal["all"] | None = None,
    evaluation: str | None = None,
    recipe: RecipeLike | None = None,
    tools: bool = True,
    broken: Broken = "fail",
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    output: str | Path = RUNS,
    registry: Registry | None = None,
) -> Converted:
    """Write dialogues in another format.

    Args:
        source: a file in any format that can be read, or a folder of such files; or a run, its folder, `name/id`, or a
            recipe's name for its newest run: then its demonstrations, unless `rollouts` or `evaluation` is given.
        target: the file to write, `.jsonl`, `.json` or `.parquet`; a folder for a format with a file for each dialogue.
        to: the format to write, such as `trl`.
        format: the format of the source's rows; `auto` to find it out.
        only: all dialogues; those with a right answer; or of each problem the right one with the most reward, the
            first where several have it.
        rollouts: the training rollouts of a run: `all`, or those from the first to the last step that are given.
        evaluation: the episodes of an evaluation of a run, by its name, or of `all`.
        recipe: the recipe whose tools recorded dialogues have; that of their run if left out.
        tools: whether recorded dialogues have tools.
        broken: whether a row that cannot be read, or written in the format, ends it, or is left out.
        overwrite: whether to replace what is there.
        progress: called with how many rows are done, and how many there are; 0 where that is unknown.
        output: the folder of all runs.
        registry: the plugins.

    Raises:
        UsageError: the target is there already, has no known ending, or there is no such format, run or evaluation.
        DataError: a row cannot be read or written, and `broken` is fail; or nothing is left to write.
        MissingError: a package is not installed.
        MentorKitError: the file cannot be written, or the tools of a recipe cannot be built on this machine.
    """
    registry = registry or default_registry()
    formats = data_formats(registry)
    writer = _writer(to, formats)
    path = _target(Path(target), writer, to, overwrite=overwrite)
    with DialogueSource(source, output, recipe=recipe, tools=tools, registry=registry) as opened:
        rows = counted(opened.rows(formats, format, rollouts, evaluation), progress)
        work = _Conversion(opened, to, writer, only, broken)
        written = work.write(path, rows)
    return Converted(
        path=path,
        source_format=opened.format,
        format=to,
        dialogues=written,
        left_out=work.faults.groups(),
        not_chosen=work.not_chosen,
        limits=tuple(writer.limits),
    )


def _writer(name: str, formats: Mapping[str, DataFormat]) -> DataFormat:
    writable = [known for known, one in formats.items() if one.can_write]
    if name not in writable:
        raise UsageError(
            f"no format that can be written is called {name!r}{did_you_mean(name, writable)}",
            hint=f"formats that are written: {', '.join(writable)}",
        )
    return formats[name]


def _target(path: Path, writer: DataFormat, name: str, *, overwrite: bool) -> Path:
    """The file or folder to write.

    Raises:
        UsageError: it is there already, or of the wrong kind.
    """
    if writer.one_per_file:
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file; {name} has a file for each dialogue", hint="name a folder to make")
        if path.exists() and (inside := list(path.iterdir())):
            if other := next((file for file in inside if not _is_written(file, writer)), None):
                raise UsageError(f"{path} has other files than {name}'s: {other.name}", hint="name another folder")
            if not overwrite:
                raise UsageError(f"{path} exists already and is not empty", hint=_ANOTHER)
        return path
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint="name a file to write, such as train.jsonl in it")
    check_ending(path)
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already", hint=_ANOTHER)
    return path


def _is_written(file: Path, writer: DataFormat) -> bool:
    """Whether a file is one that a conversion to this format may replace."""
    if not file.is_file() or not file.name.endswith(".jsonl"):
        return False
    first = next(read_rows(file), None)
    return first is not None and isinstance(first.values, Mapping) and writer.recognizes(first.values)


class _Conversion:
    """Chooses dialogues, and writes them."""

    def __init__(self, source: DialogueSource, to: str, writer: DataFormat, only: Only, broken: Broken) -> None:
        self._source = source
        self._to = to
        self._writer = writer
        self._only = only
        self._broken = broken
        self.faults = FaultGroups()
        self.not_chosen = 0

    def write(self, path: Path, rows: Rows) -> int:
        """Write the dialogues; returns how many there are."""
        found = self._some(self._written(self._chosen(self._read(rows))))
        if not self._writer.one_per_file:
            return write_rows(path, found)
        sessions = list(found)
        write_folder(path, lambda folder: self._write_files(folder, sessions))
        return len(sessions)

    def _read(self, rows: Rows) -> Iterator[DialogueRow]:
        for row in rows:
            if isinstance(row, RowFault):
                self._leave_out(row)
            else:
                yield row

    def _chosen(self, rows: Iterator[DialogueRow]) -> Iterator[DialogueRow]:
        """Yield those of the rows that are asked for."""
        if self._only == "all":
            yield from rows
            return
        best: dict[str | None, DialogueRow] = {}
        known = False
        for number, row in enumerate(rows):
            known |= row.dialogue.correct is not None
            if not row.dialogue.correct:
                self.not_chosen += 1
            elif self._only == "right":
                yield row
            else:
                problem = row.dialogue.id if row.dialogue.id is not None else str(number)
                former = best.setdefault(problem, row)
                if former is not row:
                    self.not_chosen += 1
                    if (row.reward or 0.0) > (former.reward or 0.0):
                        best[problem] = row
        if not known and self.not_chosen:
            raise UsageError(
                f"{self._source.name}: no row says whether its answer is right, so none can be chosen by that",
                hint="leave `--only` out; rows of runs have verdicts, others in a column `correct`",
            )
        yield from best.values()

    def _written(self, rows: Iterator[DialogueRow]) -> Iterator[Mapping[str, Json]]:
        for row in rows:
            try:
                yield self._writer.write(row.dialogue)
            except DataFormatError as error:
                reason = f"{self._to} cannot express this: {error.reason}"
                self._leave_out(RowFault(row.place, error.column, reason, error.hint or ""))

    def _some(self, rows: Iterator[Mapping[str, Json]]) -> Iterator[Mapping[str, Json]]:
        """The rows themselves.

        Raises:
            DataError: there are none.
        """
        first = next(rows, None)
        if first is None:
            reasons = [f"{self.not_chosen:,} of the dialogues are not {self._only}"] if self.not_chosen else []
            reasons += [group.text() for group in self.faults.groups()]
            raise DataError(
                f"{self._source.name} has no dialogue to write{': ' if reasons else ''}{'; '.join(reasons)}",
                hint="nothing was written",
            )
        yield first
        yield from rows

    def _leave_out(self, fault: RowFault) -> None:
        if self._broken == "fail":
            hint = f"{fault.hint}; or leave" if fault.hint else "leave"
            raise DataError(fault.error.message, hint=f"{hint} such rows out: --broken skip")
        self.faults.add(fault)

    def _write_files(self, folder: Path, rows: list[Mapping[str, Json]]) -> None:
        """Write a file for each row, named after its id; rows of one id get a number each."""
        names: dict[str, int] = {}
        for row in rows:
            session: dict[str, Any] = dict(row)
            name = str(row.get("id", "row"))
            names[name] = names.get(name, 0) + 1
            if names[name] > 1:
                session["id"] = f"{name}#{names[name]}"
            file = _NO_NAME.sub("-", str(session.get("id", "row"))).strip("-.")[:120] or "row"
            path = folder / f"{file}.jsonl"
            while path.exists():
                path = folder / f"{path.stem}-{len(names)}.jsonl"
            write_rows(path, self._writer.lines(session))
