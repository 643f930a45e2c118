"""Records: questions about small tables, and the five tools that read them; a second domain beside arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.hooks import Register


@hookimpl
def register_tools(register: Register) -> None:
    """The tools `records`."""
    from mentor_kit_records import components

    register(
        "records",
        options=components.RecordToolsOptions,
        build=components.build_tools,
        summary="look up, filter, count, compare and join the rows of a problem's tables",
    )


@hookimpl
def register_tasks(register: Register) -> None:
    """The task `records`."""
    from mentor_kit_records import components

    register(
        "records",
        options=components.RecordsOptions,
        build=components.build_task,
        summary="chains of one to three questions about people, towns and teams in small tables",
    )
