"""Tables of strings, for the terminal, plain lines, Markdown and CSV; and the format of numbers in them."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.table import Table

from mentor_kit.utils.statistics import Interval


@dataclass(frozen=True)
class Sheet:
    """A table of strings; the first `left` columns hold words, the others numbers."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1

    def table(self) -> Table:
        """The table as one of rich, for a terminal."""
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for place, head in enumerate(self.heads):
            table.add_column(head, justify="left" if place < self.left else "right")
        previous = ""
        for row in self.rows:
            if previous and row[0] != previous and self.left > 1:
                table.add_section()
            previous = row[0]
            table.add_row(*row)
        return table

    def text(self, width: int | None = None) -> str:
        """Plain lines in aligned columns.

        Args:
            width: columns of the lines; as many as the table needs if left out. A table that needs more is transposed,
                or else cut into tables below each other that each begin with the columns of words.
        """
        parts = [self] if width is None else self.fitting(width)
        title = self.title if width is None else textwrap.fill(self.title, max(width, 20))
        return f"{title}\n" + "\n".join(part._lines() for part in parts)

    def fitting(self, width: int, *, gap: int = 2) -> list[Sheet]:
        """The table as it is, transposed, or in pieces: the first of these that fits into `width` columns."""
        if self._width(gap) <= width or len(self.heads) <= 2:
            return [self]
        transposed = self.transposed()
        if transposed._width(gap) <= width:
            return [transposed]
        pieces: list[list[int]] = []
        for place in range(self.left, len(self.heads)):
            if pieces and self._of([*pieces[-1], place])._width(gap) <= width:
                pieces[-1].append(place)
            else:
                pieces.append([*range(self.left), place])
        found = [self._of(places) for places in pieces]
        if all(piece._width(gap) <= width for piece in found):
            return found
        # not even a single column fits beside the words: a row is a table of its own
        return [replace(self, rows=(row,)).transposed() for row in self.rows]

    def transposed(self) -> Sheet:
        """The table with rows and columns exchanged."""
        first, *others = zip(self.heads, *self.rows, strict=True)
        return Sheet(self.title, first, tuple(others))

    def _of(self, places: Sequence[int]) -> Sheet:
        """Those columns of the table."""
        rows = tuple(tuple(row[place] for place in places) for row in self.rows)
        return replace(self, heads=tuple(self.heads[place] for place in places), rows=rows)

    def _widths(self) -> list[int]:
        return [max(map(len, column)) for column in zip(self.heads, *self.rows, strict=True)]

    def _width(self, gap: int) -> int:
        widths = self._widths()
        return sum(widths) + gap * (len(widths) - 1)

    def _lines(self) -> str:
        widths = self._widths()
        lines = [self._line(self.heads, widths), "  ".join("-" * width for width in widths)]
        return "\n".join([*lines, *(self._line(row, widths) for row in self.rows)]) + "\n"

    def markdown(self) -> str:
        """A Markdown table."""
        rule = [" --- " if place < self.left else " ---: " for place in range(len(self.heads))]
        rows = [self.heads, *self.rows]
        cells = ["|" + "|".join(f" {cell.replace('|', chr(92) + '|')} " for cell in row) + "|" for row in rows]
        return "\n".join([cells[0], "|" + "|".join(rule) + "|", *cells[1:]]) + "\n"

    def _line(self, row: tuple[str, ...], widths: list[int]) -> str:
        cells = zip(row, widths, range(len(row)), strict=True)
        return "  ".join(
            cell.ljust(width) if place < self.left else cell.rjust(width) for cell, width, place in cells
        ).rstrip()


def wrapped(text: str, width: int | None) -> str:
    """Words in lines of at most `width` columns, all but the first indented; longer words (paths) stay whole."""
    if width is None:
        return text
    return textwrap.fill(text, max(width, 20), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def csv_text(heads: list[str], rows: list[list[object]]) -> str:
    """CSV with a row of heads; None is an empty cell."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    return buffer.getvalue()


def percent(value: float | None) -> str:
    """A share of 0.873 as `87.3 %`."""
    return "–" if value is None else f"{100 * value:.1f} %"


def percent_within(value: float | None, interval: Interval | None) -> str:
    """A share with its interval, such as `87.3 (81.0 to 91.9)`, in percent."""
    if value is None:
        return "–"
    text = f"{100 * value:.1f}"
    return text if interval is None else f"{text} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def points(value: float) -> str:
    """A difference of shares, signed, in percentage points; with two places where one would make 0 of it."""
    shown = f"{100 * value:+.1f}"
    return f"{100 * value:+.2f}" if value and float(shown) == 0 else shown


def share(value: float | None) -> str:
    """A number from 0 to 1 with two places."""
    return "–" if value is None else f"{value:.2f}"
