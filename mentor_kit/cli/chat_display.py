"""Shows a chat: words as they come, calls with their results; columns side by side where the terminal is wide."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from mentor_kit.api import chat_events as events
from mentor_kit.cli.chat_text import (
    Piece,
    call_line,
    demonstration_pieces,
    ending_line,
    printable,
    result_line,
    score_pieces,
    token_pieces,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

#: From so many columns on, answers stand side by side.
WIDE = 100
#: Seconds between two drawings of the columns.
_INTERVAL = 0.08


class ChatDisplay(ABC):
    """Base class of displays."""

    @abstractmethod
    def show(self, event: events.ChatEvent) -> None:
        """Show an event."""

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Around all that one line of the user brings about."""
        yield


def display(*, as_json: bool, plain: bool) -> ChatDisplay:
    """The display for standard output.

    Args:
        as_json: a line of JSON for each event.
        plain: plain lines even on a terminal.
    """
    from rich.console import Console

    if as_json:
        return JsonChat()
    on_terminal = sys.stdout.isatty() and not plain
    return TextChat(Console(highlight=False, markup=False, emoji=False, no_color=not on_terminal), on_terminal)


class JsonChat(ChatDisplay):
    """Prints events as lines of JSON."""

    def show(self, event: events.ChatEvent) -> None:
        """Print an event."""
        typer.echo(event.line())
        sys.stdout.flush()


class TextChat(ChatDisplay):
    """Prints words as they come, with a heading for each agent where there are several."""

    def __init__(self, console: Console, on_terminal: bool) -> None:
        self._console = console
        self._on_terminal = on_terminal
        self._several = False
        self._agent: str | None = None
        """Whose words came last; None at the beginning of an answer."""
        self._fresh = True
        """Whether the next character begins a line."""
        self._columns: AnswerColumns | None = None
        self._scores: list[tuple[str, list[Piece]]] = []
        """Those of a problem that is not over yet."""

    @contextmanager
    def answering(self) -> Iterator[None]:
        self._agent = None
        if self._several and self._wide:
            self._columns = AnswerColumns(self._console)
        try:
            yield
        finally:
            self._end_columns()
            self._end_line()

    def show(self, event: events.ChatEvent) -> None:
        """Print an event."""
        match event:
            case events.Opened():
                self._opened(event)
            case events.Words():
                self._say(event.agent, [Piece(printable(event.text), "dim italic" if event.reasoning else "")])
            case events.CallStarted():
                self._line(event.agent, call_line(event.call))
            case events.CallEnded():
                self._result(event)
            case events.AnswerEnded():
                if line := ending_line(event):
                    self._line(event.agent, [Piece(line, "yellow")])
                self._finish_line(event.agent)
            case events.ProblemOpened():
                self._note(f"problem {event.id} ({event.split})", "bold")
                for message in event.messages:
                    self._note(f"{message.role}: {printable(message.content)}", "cyan")
            case events.Judged():
                self._scores.append((event.agent, score_pieces(event)))
            case events.Demonstrated():
                self._judge(event)
            case events.Tokens():
                self._note(f"{event.agent}: {len(event.tokens)} tokens", "bold")
                self._line("", token_pieces(event.tokens))
            case events.EpisodesSaved():
                self._note(f"{event.episodes} episodes written to {event.path} ({event.form})", "")
            case events.Note():
                self._note(printable(event.text), "dim")
            case events.Failed():
                self._note(f"error: {printable(event.message)}", "red")
                if event.hint:
                    self._note(f"  {printable(event.hint)}", "red")
            case _:
                pass

    @property
    def _wide(self) -> bool:
        return self._on_terminal and self._console.width >= WIDE

    def _opened(self, event: events.Opened) -> None:
        self._several = len(event.agents) > 1
        for name, description in zip(event.agents, event.descriptions, strict=True):
            self._note(f"{name}: {description}", "bold")
        temperature = "" if event.temperature is None else f"temperature {event.temperature:g}; "
        self._note(f"{temperature}{len(event.tools)} tools: {', '.join(event.tools) or 'none'}", "")
        self._note("type a question, or /problem; /help lists the commands", "dim")

    def _result(self, event: events.CallEnded) -> None:
        if event.agent:
            self._say(event.agent, result_line(event.call, event.result))
            self._finish_line(event.agent)
        else:
            self._line("", [*call_line(event.call), *result_line(event.call, event.result)])

    def _judge(self, event: events.Demonstrated) -> None:
        self._end_columns()
        self._end_line()
        blocks = [*self._scores, ("the teacher's demonstration", demonstration_pieces(event.demonstration))]
        self._scores = []
        if self._wide:
            self._console.print(_side_by_side([(title, _text(pieces)) for title, pieces in blocks]))
            return
        for title, pieces in blocks:
            self._note(f"{title}:", "bold")
            self._console.print(_text(pieces))

    def _say(self, agent: str, pieces: Sequence[Piece]) -> None:
        """Go on in an agent's line."""
        if self._columns is not None and agent:
            self._columns.add(agent, pieces)
            return
        if self._several and agent and agent != self._agent:
            self._end_line()
            self._console.print(f"{agent}:", style="bold")
        self._agent = agent or self._agent
        for piece in pieces:
            self._console.print(piece.text, style=piece.style or None, end="", soft_wrap=True)
            self._fresh = piece.text.endswith("\n") if piece.text else self._fresh
        sys.stdout.flush()

    def _line(self, agent: str, pieces: Sequence[Piece]) -> None:
        """Begin a line of an agent's."""
        self._finish_line(agent)
        self._say(agent, pieces)

    def _finish_line(self, agent: str) -> None:
        if self._columns is not None and agent:
            self._columns.end_line(agent)
        else:
            self._end_line()

    def _note(self, text: str, style: str) -> None:
        """A line of its own, of nobody's."""
        if self._columns is not None:
            self._columns.pause()
        self._end_line()
        self._console.print(text, style=style or None, soft_wrap=True)

    def _end_line(self) -> None:
        if not self._fresh:
            self._console.print("")
            self._fresh = True

    def _end_columns(self) -> None:
        if self._columns is not None:
            self._columns.close()
            self._columns = None


class AnswerColumns:
    """What several agents say, side by side, drawn anew as it grows."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, Text] = {}
        self._live: Live | None = None
        self._drawn = 0.0

    def add(self, agent: str, pieces: Sequence[Piece]) -> None:
        """More words of an agent."""
        from rich.live import Live
        from rich.text import Text

        said = self._said.setdefault(agent, Text())
        for piece in pieces:
            said.append(piece.text, style=piece.style or None)
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        if time.monotonic() - self._drawn > _INTERVAL:
            self._live.update(self._table(), refresh=True)
            self._drawn = time.monotonic()

    def end_line(self, agent: str) -> None:
        """The agent's next words begin a line."""
        said = self._said.get(agent)
        if said is not None and said.plain and not said.plain.endswith("\n"):
            said.append("\n")

    def pause(self) -> None:
        """Let something else be printed: what was said so far stays above it."""
        self.close()
        self._said = {}

    def close(self) -> None:
        """Print what was said, for good."""
        if self._live is not None:
            self._live.update("")
            self._live.stop()
            self._live = None
            self._console.print(self._table())

    def _table(self) -> RenderableType:
        return _side_by_side(list(self._said.items()))


def _side_by_side(blocks: Sequence[tuple[str, Text]]) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, expand=True)
    cells = []
    for title, text in blocks:
        table.add_column(Text(title), ratio=1, overflow="fold")
        shown = text.copy()
        shown.rstrip()
        cells.append(shown)
    table.add_row(*cells)
    return table


def _text(pieces: Sequence[Piece]) -> Text:
    from rich.text import Text

    found = Text()
    for piece in pieces:
        found.append(piece.text, style=piece.style or None)
    found.rstrip()
    return found
