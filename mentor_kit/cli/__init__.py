"""The command line. It holds no logic of its own: commands read arguments, call `mentor_kit.api`, and print."""

from __future__ import annotations

import signal
from contextlib import suppress

from mentor_kit.utils.gc import infrequent_collection


def main() -> None:
    """The entry point `mentorkit`: runs a command and exits with its code (see `mentor_kit.core.errors.ExitCode`)."""
    with infrequent_collection():
        from mentor_kit.cli.app import run_app

        code = run_app()
        with suppress(ValueError):  # outside the main thread
            # a Ctrl-C from now on finds nothing to stop, and must not spoil what is done
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise SystemExit(code)
