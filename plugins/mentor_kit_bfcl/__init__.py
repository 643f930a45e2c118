"""BFCL, the Berkeley function-calling leaderboard, with the checkers and data of its package bfcl-eval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.hooks import Register


@hookimpl
def register_tasks(register: Register) -> None:
    """`bfcl`."""
    from mentor_kit_bfcl import options, package

    def build(chosen: options.BfclOptions, context: object) -> object:
        from mentor_kit_bfcl.task import BfclTask

        return BfclTask(chosen)

    register(
        "bfcl",
        options=options.BfclOptions,
        build=build,
        available=package.missing,
        summary="the Berkeley function-calling leaderboard, a split for each category",
    )


@hookimpl
def register_tools(register: Register) -> None:
    """`bfcl`."""
    from mentor_kit_tools import isolation_missing

    from mentor_kit_bfcl import options, package

    def build(chosen: options.BfclToolsOptions, context: object) -> object:
        from mentor_kit_bfcl.tools import BfclTools

        return BfclTools(chosen)

    register(
        "bfcl",
        options=options.BfclToolsOptions,
        build=build,
        available=lambda: package.missing() or isolation_missing(),
        summary="the simulated services that BFCL's conversations of several turns are about",
    )
