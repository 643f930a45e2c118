"""The command line. It holds no logic of its own: commands read arguments, call `mentor_kit.api`, and print."""

from __future__ import annotations


def main() -> None:
    """The entry point `mentorkit`: runs a command and exits with its code (see `mentor_kit.errors.ExitCode`)."""
    from mentor_kit.cli.app import run_app

    raise SystemExit(run_app())
