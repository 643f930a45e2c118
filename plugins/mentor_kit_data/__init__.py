"""Tasks from data: files of rows, Hugging Face data sets, the MENTOR authors' files, and reasoning-gym's generators."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl
from mentor_kit.hooks.references import missing_package

if TYPE_CHECKING:
    from mentor_kit.core.data_format import DataFormat
    from mentor_kit.hooks import BuildContext, Register


@hookimpl
def register_tasks(register: Register) -> None:
    """`rows`, `datasets`, `conversations`, `mentor-parquet`, `reasoning-gym`, `benchmarks`, `domains`."""
    from mentor_kit_data import (
        authors,
        benchmarks,
        conversation_options,
        conversations,
        domains,
        file_checks,
        gym,
        hub,
        rows_task,
    )

    register(
        "rows",
        options=rows_task.RowsOptions,
        build=rows_task.build,
        look=file_checks.look_at_rows,
        summary="problems from JSONL, CSV or parquet files, by a mapping of columns",
    )
    register(
        "datasets",
        options=hub.HubOptions,
        build=hub.build,
        summary="problems from a Hugging Face data set, by a mapping of columns",
        available=lambda: missing_package("datasets", "hub-data"),
    )
    register(
        "conversations",
        options=conversation_options.ConversationsOptions,
        build=conversations.build,
        look=file_checks.look_at_conversations,
        summary="problems and demonstrations from dialogues of tool use: TRL, OpenAI, ShareGPT, xLAM, ToolACE, …",
    )
    register(
        "mentor-parquet",
        options=authors.AuthorsOptions,
        build=authors.build,
        look=file_checks.look_at_authors,
        summary="problems in the MENTOR authors' parquet format, with tools of their own",
        available=lambda: missing_package("pyarrow", "data"),
    )
    register(
        "reasoning-gym",
        options=gym.GymOptions,
        build=gym.build,
        summary="problems made by reasoning-gym's generators, with exact checking",
        available=lambda: missing_package("reasoning_gym", "reasoning-gym"),
    )
    register(
        "benchmarks",
        options=benchmarks.BenchmarksOptions,
        build=benchmarks.build,
        look=file_checks.look_at_benchmarks,
        summary="AIME, AMC, Minerva, Omni-MATH, Bamboogle, HotpotQA, 2WikiMultihopQA from files as published",
    )
    register(
        "domains",
        options=domains.DomainsOptions,
        build=domains.build,
        summary="several tasks as one: some are trained on, others are the split cross-domain",
    )


@hookimpl
def register_formats(register: Register) -> None:
    """Those of `mentor_kit_data.formats`."""
    from mentor_kit_data.formats import BUILT_IN

    for name, make, summary in BUILT_IN:
        register(name, build=partial(_made, make), summary=summary)


@hookimpl
def register_tools(register: Register) -> None:
    """`problem-tools`."""
    from mentor_kit_tools import isolation_missing

    from mentor_kit_data import problem_tools

    register(
        "problem-tools",
        options=problem_tools.ProblemToolsOptions,
        build=problem_tools.build,
        summary="the tools that a problem brings as Python source, run in worker processes",
        available=isolation_missing,
    )


def _made(make: Callable[[], DataFormat], options: object, context: BuildContext) -> DataFormat:
    return make()
