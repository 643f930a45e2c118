"""The application: its commands, those of plugins, and the handling of errors."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer

from mentor_kit.cli import chat, data, environment, exporting, new, recipes, results, viewing
from mentor_kit.core.errors import ExitCode, Interrupted, MentorKitError, MissingError, UsageError, disk_error
from mentor_kit.core.posix import WSL, posix_missing
from mentor_kit.core.secret import hide

#: Set to anything, it shows the traceback of an unexpected error.
DEBUG = "MENTORKIT_DEBUG"

app = typer.Typer(
    name="mentorkit",
    help="Teach small language models to use tools, with a teacher's trajectory as a dense reward.",
    epilog="Example: mentorkit run quickstart; what there is: mentorkit recipes, mentorkit COMMAND --help",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 120},
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from mentor_kit.utils.version import __version__

        typer.echo(__version__)
        raise typer.Exit


recipes.add_to(app)
results.add_to(app)
data.add_to(app)
exporting.add_to(app)
viewing.add_to(app)
chat.add_to(app)
new.add_to(app)
environment.add_to(app)


def run_app(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. Only a bug shows a traceback, and only on request.

    With `--json` among the arguments, an error is a last line on standard output, too: a JSON object whose `kind` is
    `error`, with the error's class, message, hint and exit code.
    """
    _add_plugin_commands()
    try:
        code = app(args=arguments, standalone_mode=False)
        sys.stdout.flush()  # what cannot be written is said here, and not by Python at its end
        return code if isinstance(code, int) else ExitCode.DONE
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as stop:
        # typer raises this when it cannot write
        if isinstance(stop.__context__, BrokenPipeError):
            return _reader_left()
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (a person gets a sentence, not a traceback)
        if type(error).__name__ == "NoArgsIsHelpError":
            # a group of commands without one: its message is its help
            typer.echo(getattr(error, "format_message", str)(), err=True)
            return ExitCode.USAGE
        failed = _as_error(error)
        _complain(failed.message, failed.hint)
        if "--json" in (sys.argv[1:] if arguments is None else arguments):
            with suppress(OSError):  # the output may be what failed
                _complain_to_programs(failed.as_data(), failed.exit_code)
            _give_up_output()
        return failed.exit_code


def _reader_left() -> int:
    """Discard further output, at exit too: its reader has closed the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.DONE


def _give_up_output() -> None:
    """Discard buffered output at exit where the output cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        _reader_left()


def _as_error(error: BaseException) -> MentorKitError:
    """Return an exception as a `MentorKitError`: a wrong command line, Ctrl-C, or a bug.

    Raises:
        Exception: the bug itself, where `DEBUG` asks for it.
    """
    if isinstance(error, MentorKitError):
        if os.environ.get(DEBUG) and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        return error
    if isinstance(error, typer.Abort | KeyboardInterrupt):
        return Interrupted("stopped")
    if (describe := getattr(error, "format_message", None)) is not None:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "mentorkit"
        return UsageError(describe().rstrip("."), hint=f"`{command} --help` lists what it takes")
    if (disk := disk_error(error)) is not None:
        _give_up_output()
        return disk
    if (found := _of_a_plugin(error)) is not None:
        return found
    if os.environ.get(DEBUG):
        raise error
    if posix_missing():
        return MissingError(f"this does not work on Windows itself: {type(error).__name__}: {error}", hint=WSL)
    return MentorKitError(
        f"an error in mentor-kit itself: {type(error).__name__}: {error}",
        hint=f"{DEBUG}=1 shows where; please report it",
    )


def _of_a_plugin(error: BaseException) -> MentorKitError | None:
    """Return the error as that of a plugin, such as of its command; None where no plugin is at fault."""
    from mentor_kit.hooks.blame import blamed
    from mentor_kit.hooks.loader import default_registry

    found = blamed(error, default_registry())
    if found is not None and os.environ.get(DEBUG):
        traceback.print_exception(error)
    return found


def _add_plugin_commands() -> None:
    """Add the commands of plugins; one that fails loses its own alone."""
    from mentor_kit.hooks.loader import load_plugins

    for implementation in load_plugins().manager.hook.register_commands.get_hookimpls():
        try:
            implementation.function(app)
        except Exception as error:  # noqa: BLE001 (a plugin's fault must not cost the other commands)
            _complain(f"plugin {implementation.plugin_name!r} could not add its commands: {error}", None)


def _complain(message: str, hint: str | None) -> None:
    """Print an error to standard error; one of several lines is several errors. Secrets of the recipe are hidden."""
    for line in hide(message).splitlines():
        typer.echo(f"error: {line}", err=True)
    if hint:
        typer.echo(f"  {hide(hint)}", err=True)


def _complain_to_programs(error: Mapping[str, Any], code: int) -> None:
    """Print an error as a line of JSON to standard output. Secrets of the recipe are hidden."""
    hidden = {key: hide(value) if isinstance(value, str) else value for key, value in error.items()}
    typer.echo(json.dumps({"kind": "error", **hidden, "code": int(code)}))
