"""Base classes of options that know about their component before it is built, so that `check` finds more faults."""

from __future__ import annotations

from collections.abc import Sequence

from mentor_kit.core.option_model import OptionModel


class TaskOptions(OptionModel):
    """Base class of a task's options; optional."""

    @property
    def task_splits(self) -> Sequence[str] | None:
        """The splits of the task; None where they are not known before it is built."""
        return None


class ToolOptions(OptionModel):
    """Base class of the options of tools; optional."""

    @property
    def tool_names(self) -> Sequence[str]:
        """The names of the tools; empty where they are not known before they are built."""
        return ()
