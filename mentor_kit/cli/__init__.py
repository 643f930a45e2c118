"""The command line. It holds no logic of its own: commands read arguments, call `mentor_kit.api`, and print."""

from __future__ import annotations

import gc

#: Objects made before Python looks for garbage among them; its own 700 costs a start with large libraries a tenth.
MANY = 50_000


def main() -> None:
    """The entry point `mentorkit`: runs a command and exits with its code (see `mentor_kit.errors.ExitCode`)."""
    gc.set_threshold(MANY)
    from mentor_kit.cli.app import run_app

    try:
        raise SystemExit(run_app())
    finally:
        # what libraries and models consist of need not be searched for garbage when all of it goes
        gc.freeze()
