"""The commands of a chat, which begin with a slash."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from mentor_kit.api.chat_events import Failed, Note
from mentor_kit.api.chat_session import ChatSession
from mentor_kit.core.errors import UsageError, did_you_mean


class Leave(Exception):
    """The chat is over."""


@dataclass(frozen=True)
class ChatCommand:
    """A command."""

    usage: str
    """Its arguments."""
    summary: str
    run: Callable[[ChatSession, str], None]
    """Runs it with what follows its name; raises `UsageError` for wrong arguments."""


def obey(session: ChatSession, line: str) -> None:
    """Run a command, or ask a question; `//` begins a question that begins with a slash.

    Raises:
        Leave: the user leaves.
    """
    if not line.startswith("/") or line.startswith("//"):
        session.ask(line[1:] if line.startswith("//") else line)
        return
    name, _, rest = line[1:].partition(" ")
    try:
        if name not in COMMANDS:
            close = did_you_mean(f"/{name}", [f"/{known}" for known in COMMANDS])
            raise UsageError(f"there is no command /{name}{close}", hint="/help lists them")
        COMMANDS[name].run(session, rest.strip())
    except UsageError as error:
        session.show(Failed.of(error))


def _problem(session: ChatSession, rest: str) -> None:
    session.problem(rest or None)


def _tool(session: ChatSession, rest: str) -> None:
    name, _, given = rest.partition(" ")
    example = 'such as /tool NAME {"argument": 1}; /tools lists the tools'
    if not name:
        raise UsageError("/tool needs a tool's name, and its arguments as JSON", hint=example)
    try:
        arguments = json.loads(given or "{}")
    except ValueError as error:
        raise UsageError(f"the arguments of {name!r} are no JSON: {error}", hint=example) from None
    if not isinstance(arguments, dict):
        raise UsageError(f"the arguments of {name!r} are no JSON object: {given}", hint=example)
    session.tool(name, arguments)


def _tools(session: ChatSession, rest: str) -> None:
    _nothing("tools", rest)
    for tool in session.tools.values():
        parameters = ", ".join(tool.parameters.get("properties", {}))
        session.show(Note(text=f"{tool.name}({parameters})  {' '.join(tool.description.split())}".rstrip()))


def _temperature(session: ChatSession, rest: str) -> None:
    if not rest:
        now = session.temperature
        session.show(Note(text="no student is sampled here" if now is None else f"temperature {now:g}"))
        return
    try:
        value = float(rest)
    except ValueError:
        raise UsageError(f"temperature {rest!r} is no number", hint="/temperature 0.7, or 0 for greedy") from None
    session.set_temperature(value)


def _save(session: ChatSession, rest: str) -> None:
    path, _, form = rest.rpartition(" ") if rest.endswith((" demonstrations", " scored")) else (rest, "", "scored")
    if not path.strip():
        raise UsageError("/save needs a file", hint="/save chat.jsonl, or /save chat.jsonl demonstrations")
    session.save(path.strip(), "demonstrations" if form == "demonstrations" else "scored")


def _help(session: ChatSession, rest: str) -> None:
    _nothing("help", rest)
    width = max(len(f"/{name} {command.usage}") for name, command in COMMANDS.items())
    for name, command in COMMANDS.items():
        session.show(Note(text=f"{f'/{name} {command.usage}':{width}}  {command.summary}"))
    session.show(Note(text="Ctrl-C stops an answer; at the prompt it ends the chat, as Ctrl-D does"))


def _quit(session: ChatSession, rest: str) -> None:
    raise Leave


def _plain(name: str, run: Callable[[ChatSession], None]) -> Callable[[ChatSession, str], None]:
    def checked(session: ChatSession, rest: str) -> None:
        _nothing(name, rest)
        run(session)

    return checked


def _nothing(name: str, rest: str) -> None:
    if rest:
        raise UsageError(f"/{name} takes no arguments: {rest!r}")


COMMANDS = {
    "problem": ChatCommand("[ID|SPLIT]", "solve a problem of the task, and show the score by term", _problem),
    "retry": ChatCommand(
        "", "the last question or problem again, with other random numbers", _plain("retry", ChatSession.retry)
    ),
    "new": ChatCommand("", "begin a fresh dialogue", _plain("new", ChatSession.new)),
    "temperature": ChatCommand("[X]", "sample at another temperature; 0 is greedy", _temperature),
    "tools": ChatCommand("", "list the tools", _tools),
    "tool": ChatCommand("NAME JSON", "call a tool yourself; the student does not see it", _tool),
    "raw": ChatCommand("", "the tokens of the last turn, with log-probabilities", _plain("raw", ChatSession.raw)),
    "save": ChatCommand("FILE [demonstrations]", "write the episodes so far, one a line", _save),
    "help": ChatCommand("", "this list", _help),
    "quit": ChatCommand("", "leave", _quit),
}
