"""The command line. It holds no logic of its own: commands read arguments, call `mentor_kit.api`, and print."""

from __future__ import annotations

from mentor_kit.garbage import garbage_seldom


def main() -> None:
    """The entry point `mentorkit`: runs a command and exits with its code (see `mentor_kit.errors.ExitCode`)."""
    with garbage_seldom():
        from mentor_kit.cli.app import run_app

        raise SystemExit(run_app())
