"""Reads a chat's lines: with history and completion where prompt_toolkit is installed, else as they come."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import typer

PROMPT = "> "


class Questions:
    """Lines that a person or a program types.

    Args:
        line: reads one; raises EOFError at the end.
        newline: whether the terminal's cursor stands behind a prompt at the end.
    """

    def __init__(self, line: Callable[[], str], *, newline: bool) -> None:
        self._line = line
        self._newline = newline

    def read(self) -> str:
        """The next line that is not empty.

        Raises:
            EOFError: there are no more.
            KeyboardInterrupt: the user pressed Ctrl-C.
        """
        while not (line := self._line().strip()):
            pass
        return line

    def end(self) -> None:
        """The input is over."""
        if self._newline:
            typer.echo("")


def questions(*, quiet: bool) -> Questions:
    """The lines of standard input.

    Args:
        quiet: without a prompt.
    """
    if not sys.stdin.isatty():
        return Questions(_piped, newline=False)
    if quiet:
        return Questions(input, newline=False)
    if find_spec("prompt_toolkit") is not None and sys.stdout.isatty():
        return Questions(_prompt_toolkit(), newline=False)
    with suppress(ImportError):
        import readline  # noqa: F401 (input() edits lines by it)
    return Questions(lambda: input(PROMPT), newline=True)


def history_file() -> Path | None:
    """Where the lines of earlier chats are kept; None where that cannot be written."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    folder = Path(state).expanduser() / "mentorkit"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder / "chat_history"


def _piped() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def _prompt_toolkit() -> Callable[[], str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    from mentor_kit.cli.chat_commands import COMMANDS

    file = history_file()
    session: PromptSession[str] = PromptSession(
        history=InMemoryHistory() if file is None else FileHistory(str(file)),
        completer=WordCompleter([f"/{name}" for name in COMMANDS], sentence=True),
        complete_while_typing=False,
    )
    return lambda: session.prompt(PROMPT)
