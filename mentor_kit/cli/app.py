"""The application: its commands, those of plugins, and what becomes of errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from mentor_kit.cli import environment, recipes, results
from mentor_kit.errors import ExitCode, MentorKitError
from mentor_kit.secret import hide

#: Set to anything, it shows the traceback of an unexpected error.
DEBUG = "MENTORKIT_DEBUG"

app = typer.Typer(
    name="mentorkit",
    help="Teach small language models to use tools, with a teacher's trajectory as a dense reward.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from mentor_kit.version import __version__

        typer.echo(__version__)
        raise typer.Exit


recipes.add_to(app)
results.add_to(app)
environment.add_to(app)


def run_app(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code. Nothing but a bug leaves a traceback, and that only on request."""
    _add_plugin_commands()
    try:
        code = app(args=arguments, standalone_mode=False)
        return code if isinstance(code, int) else ExitCode.DONE
    except MentorKitError as error:
        _complain(error.message, error.hint)
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        _complain("stopped", None)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as stop:
        # the command line's own library ends like this when it cannot write
        if isinstance(stop.__context__, BrokenPipeError):
            return _reader_left()
        raise
    except Exception as error:  # noqa: BLE001 (the last resort: a person gets a sentence, not a traceback)
        return _other(error)


def _reader_left() -> int:
    """Whoever read the output has left: there is nothing more to say, not even at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.DONE


def _other(error: Exception) -> int:
    """A mistake on the command line, or a bug."""
    show = getattr(error, "show", None)
    if show is not None:
        show()
        return int(getattr(error, "exit_code", ExitCode.USAGE))
    if os.environ.get(DEBUG):
        raise error
    _complain(
        f"an error in mentor-kit itself: {type(error).__name__}: {error}",
        f"{DEBUG}=1 shows where; please report it",
    )
    return ExitCode.FAILED


def _add_plugin_commands() -> None:
    """Let plugins add commands; one that fails costs its own."""
    from mentor_kit.hooks.loader import load_plugins

    for implementation in load_plugins().manager.hook.register_commands.get_hookimpls():
        try:
            implementation.function(app)
        except Exception as error:  # noqa: BLE001 (a plugin's fault must not cost the other commands)
            _complain(f"plugin {implementation.plugin_name!r} could not add its commands: {error}", None)


def _complain(message: str, hint: str | None) -> None:
    """An error on standard error; one of several lines is several errors. Secrets of the recipe stay hidden."""
    for line in hide(message).splitlines():
        typer.echo(f"error: {line}", err=True)
    if hint:
        typer.echo(f"  {hide(hint)}", err=True)
