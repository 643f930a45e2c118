"""Caches what a template writes around tool results, so that plain results need no rendering."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mentor_kit.core.frozen_model import Json

#: Results that a template which shows the stand-ins as they are shows as they are: numbers and simple words.
_PLAIN = re.compile(r"[0-9A-Za-z.,+\-]+(?: [0-9A-Za-z.,+\-]+)*")
#: Of all kinds of plain characters, and of several lengths.
_STAND_INS = ("-12.5 Qx{},y+Z", "Word{}")

Form = dict[str, Json]
Render = Callable[[list[Form]], tuple[str, str]]
"""From forms to the stop token before them and the text after it."""


@dataclass(frozen=True)
class ResultTemplate:
    """The text around results, and the stop token before it."""

    stop: str
    pieces: tuple[str, ...]
    """One more than there are results."""

    def filled(self, contents: Sequence[str]) -> str:
        """The text with these results."""
        return "".join(part for pair in zip(self.pieces, (*contents, ""), strict=True) for part in pair)


def plain_results(forms: Sequence[Form]) -> bool:
    """Whether all forms are tool results that a template can show."""
    return all(form["role"] == "tool" and _PLAIN.fullmatch(str(form["content"])) for form in forms)


def result_template(forms: Sequence[Form], render: Render) -> ResultTemplate | None:
    """The template of such results; None if the template does not show each of them once and as it is."""
    found = [_cut(forms, stand_in, render) for stand_in in _STAND_INS]
    return found[0] if all(one == found[0] for one in found) else None


def _cut(forms: Sequence[Form], stand_in: str, render: Render) -> ResultTemplate | None:
    contents = [stand_in.format(index) for index in range(len(forms))]
    stop, rest = render([{**form, "content": content} for form, content in zip(forms, contents, strict=True)])
    pieces = []
    for content in contents:
        piece, seen, rest = rest.partition(content)
        if not seen:
            return None
        pieces.append(piece)
    return None if any(content in rest for content in contents) else ResultTemplate(stop, (*pieces, rest))
