"""Options and builders of this plugin's components."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ConfigDict

from mentor_kit.core.options import TaskOptions, ToolOptions
from mentor_kit.hooks.registry import BuildContext
from mentor_kit_records.operations import PARAMETERS
from mentor_kit_records.records_task import RecordsTask
from mentor_kit_records.tools import RecordToolSource


class RecordToolsOptions(ToolOptions):
    """Five tools that read a problem's tables."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def tool_names(self) -> Sequence[str]:
        """The names of the tools."""
        return list(PARAMETERS)


class RecordsOptions(TaskOptions):
    """Questions about people, towns and teams in small tables."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def task_splits(self) -> Sequence[str]:
        """The splits of the task."""
        return RecordsTask.splits


def build_tools(options: RecordToolsOptions, context: BuildContext) -> RecordToolSource:
    """The tools."""
    return RecordToolSource()


def build_task(options: RecordsOptions, context: BuildContext) -> RecordsTask:
    """The task."""
    return RecordsTask()
