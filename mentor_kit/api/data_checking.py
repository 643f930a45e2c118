"""Says what a file of tool-use data is: its format, how many rows would be taken, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.row_counting import counted
from mentor_kit.api.row_faults import FaultGroup, FaultGroups, counted_rows, group_lines, left_out_lines, total
from mentor_kit.core.conversation import CallState
from mentor_kit.core.data_format import Dialogue
from mentor_kit.core.errors import DataError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import check_call
from mentor_kit.hooks.data_formats import data_formats
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry
from mentor_kit.runs import RunFolder
from mentor_kit.runs.dialogue_rows import AUTO, DataFile, DialogueRow, RowFault


@dataclass(frozen=True)
class DataCheck:
    """What a file of tool-use data is."""

    path: Path
    format: str
    """The name of its format."""
    rows: int
    """How many it has."""
    left_out: tuple[FaultGroup, ...]
    """Rows that would not be taken, by what is wrong with them."""
    remarks: tuple[FaultGroup, ...]
    """Rows that would be taken, with calls that do not fit the tools."""
    with_calls: int
    """How many of the taken rows call tools, in their messages or as their right calls."""
    without_calls: int
    """How many of the taken rows say that nothing is to be called, or have an assistant that calls nothing."""
    tools: int
    """How many tools there are, by name."""
    verdicts: int
    """How many of the taken rows say whether their answer is right."""

    @property
    def taken(self) -> int:
        """How many rows would be taken."""
        return self.rows - total(self.left_out)

    def as_data(self) -> dict[str, Json]:
        """Return the result for programs."""
        return {
            "path": str(self.path),
            "format": self.format,
            "rows": self.rows,
            "taken": self.taken,
            "left_out": [group.as_data() for group in self.left_out],
            "remarks": [group.as_data() for group in self.remarks],
            "with_calls": self.with_calls,
            "without_calls": self.without_calls,
            "tools": self.tools,
            "verdicts": self.verdicts,
        }

    def lines(self) -> list[str]:
        """Return the result as lines."""
        lines = [
            f"{self.path}: format {self.format}",
            f"taken: {self.taken:,} of {self.rows:,} rows",
            f"  {self.with_calls:,} with calls, {self.without_calls:,} without; {self.tools:,} tools"
            + (f"; {self.verdicts:,} say whether their answer is right" if self.verdicts else ""),
        ]
        lines += left_out_lines(self.left_out)
        if self.remarks:
            lines += [f"calls that do not fit: {counted_rows(total(self.remarks))}"]
            lines += group_lines(self.remarks)
        return lines


@checked_arguments
def check_data(
    path: str | Path,
    *,
    format: str = AUTO,
    progress: Callable[[int, int], None] | None = None,
    registry: Registry | None = None,
) -> DataCheck:
    """Read a file of tool-use data, and say what it is.

    Args:
        path: the file, or a folder of files of one format.
        format: the name of its format; `auto` to find it out.
        progress: called with how many rows are done, and 0.
        registry: the plugins.

    Raises:
        DataError: the file cannot be read, or its format is unknown or ambiguous; or it is the folder of a run.
        MissingError: a package is not installed.
    """
    if RunFolder(Path(path)).environment.is_file():
        raise DataError(
            f"{path} is the folder of a run, which has several kinds of records",
            hint="name the records, such as demonstrations.jsonl in it; `mentorkit data convert` takes the run itself",
        )
    formats = data_formats(registry or default_registry())
    opened = DataFile(Path(path), formats, format)
    tally = _Tally()
    for row in counted(opened.rows(), progress):
        tally.add(row)
    if not tally.rows:
        raise DataError(f"{path} has no rows")
    return tally.result(opened)


@dataclass
class _Tally:
    """What the rows so far have."""

    rows: int = 0
    left_out: FaultGroups = field(default_factory=FaultGroups)
    remarks: FaultGroups = field(default_factory=FaultGroups)
    with_calls: int = 0
    without_calls: int = 0
    verdicts: int = 0
    tools: set[str] = field(default_factory=set)

    def add(self, row: DialogueRow | RowFault) -> None:
        self.rows += 1
        if isinstance(row, RowFault):
            self.left_out.add(row)
            return
        dialogue = row.dialogue
        self.tools |= {tool.name for tool in dialogue.tools}
        self.verdicts += dialogue.correct is not None
        answered = any(message.role == "assistant" for message in dialogue.messages)
        if dialogue.calls or any(message.tool_calls for message in dialogue.messages):
            self.with_calls += 1
        elif answered or dialogue.calls is not None:
            self.without_calls += 1
        if (remark := _remark(row.place, dialogue)) is not None:
            self.remarks.add(remark)

    def result(self, opened: DataFile) -> DataCheck:
        return DataCheck(
            path=opened.path,
            format=opened.format_name,
            rows=self.rows,
            left_out=self.left_out.groups(),
            remarks=self.remarks.groups(),
            with_calls=self.with_calls,
            without_calls=self.without_calls,
            tools=len(self.tools),
            verdicts=self.verdicts,
        )


def _remark(place: str, dialogue: Dialogue) -> RowFault | None:
    """The first call of a dialogue that does not fit its tools; None where all do, or it has no tools."""
    if not dialogue.tools:
        return None
    tools = {tool.name: Tool.declared(tool.name, tool.description, tool.parameters) for tool in dialogue.tools}
    places = [
        (f"messages.{index}.tool_calls.{number}", call)
        for index, message in enumerate(dialogue.messages)
        for number, call in enumerate(message.tool_calls)
    ]
    for column, call in [*places, *((f"calls.{number}", call) for number, call in enumerate(dialogue.calls or ()))]:
        checked = check_call(call, tools)
        if checked.state is CallState.UNKNOWN_TOOL:
            return RowFault(place, column, checked.error)
        if checked.state is CallState.INVALID_ARGUMENTS:
            return RowFault(place, column, f"arguments of {call.name!r}: {checked.error}")
    return None
