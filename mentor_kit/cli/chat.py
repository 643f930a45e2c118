"""The command `chat`: reads questions and commands, and shows what happens."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mentor_kit.api.chat_session import ChatSession
    from mentor_kit.cli.chat_display import ChatDisplay
    from mentor_kit.cli.chat_input import Questions

#: The panel of the command in `mentorkit --help`.
PANEL = "Looking at runs"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=PANEL)(chat)


def chat(
    subject: Annotated[
        str,
        typer.Argument(metavar="RUN|RECIPE", help="A run folder, name/id, a name for its newest run, or a recipe."),
    ],
    settings: Annotated[list[str] | None, typer.Option("--set", help="A setting, such as rollout.max_turns=9.")] = None,
    checkpoint: Annotated[str, typer.Option(help="`last`, `best`, or a checkpoint's name.")] = "last",
    untrained: Annotated[bool, typer.Option("--untrained", help="The student as it was before the run.")] = False,
    agent: Annotated[
        str | None,
        typer.Option(help="A teacher in the student's place, such as openai; `teacher`: the recipe's."),
    ] = None,
    options: Annotated[list[str] | None, typer.Option("--with", help="An option of --agent: model=NAME.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Who answers beside: `teacher`, `untrained`, or another run.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="0 is greedy; the recipe's rollout.temperature if left out.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all draws.")] = 0,
    root: Annotated[Path, typer.Option("--runs", help="The folder of all runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each event, for programs.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines, as without a terminal.")] = False,
) -> None:
    """Talk to a run's student, with its recipe's real tools."""
    from mentor_kit import api
    from mentor_kit.cli.chat_display import display
    from mentor_kit.cli.chat_input import questions
    from mentor_kit.core.errors import UsageError
    from mentor_kit.recipe.settings import parse_settings

    if options and agent is None:
        raise UsageError("--with is an option of --agent", hint="for example --agent openai --with model=NAME")
    shown = display(as_json=as_json, plain=plain)
    with api.chat(
        subject,
        shown.show,
        overrides=parse_settings(settings or []),
        checkpoint=checkpoint,
        untrained=untrained,
        agent=None if agent is None else {"use": agent, "with": parse_settings(options or [], "--with")},
        against=against,
        temperature=temperature,
        seed=seed,
        output=root,
    ) as session:
        _talk(session, shown, questions(quiet=as_json))


def _talk(session: ChatSession, shown: ChatDisplay, lines: Questions) -> None:
    """Read and answer until the end of the input, /quit, or Ctrl-C at the prompt."""
    from mentor_kit.cli.chat_commands import Leave, obey

    while True:
        try:
            line = lines.read()
        except (EOFError, KeyboardInterrupt):
            lines.end()
            return
        try:
            with shown.answering():
                obey(session, line)
        except Leave:
            return
        except KeyboardInterrupt:
            # it came between two pieces of work
            sys.stderr.write("\n")
