r"""Detects an answer that repeats the question's own expression: `\sqrt{8}` that is to be simplified."""

from __future__ import annotations

import math
import re

_SILENT = re.compile(r"\\left(?![A-Za-z])|\\right(?![A-Za-z])|\\[,;:! ]|\\?\$")
_PIECE = re.compile(r"\\[A-Za-z]+|\S")
_WORK = re.compile(r"[-+*/^=!×·÷√]|\\(?:frac|sqrt|cdot|times|div|binom|log|ln|sin|cos|tan|sum|int)")
_RATIO = re.compile(r"[-+]?(?:\\frac\{-?([0-9]+)\}\{-?([0-9]+)\}|([0-9]+)/([0-9]+))")


def is_copied(answer: str, key: str, question: str) -> bool:
    """Whether an answer that has the key's value only repeats what the question asks to work out.

    The key itself does not stand in the question then, and the answer is neither a number nor a fraction in its lowest
    terms.
    """
    text = "".join(_pieces(answer))
    if not _WORK.search(text.lstrip("+-")) or _is_reduced(text):
        return False
    asked = _plain(question)
    return _stands_in(answer, asked) and not _stands_in(key, asked)


def _plain(text: str) -> str:
    return _SILENT.sub(" ", text).replace("dfrac", "frac").replace("tfrac", "frac")


def _pieces(text: str) -> list[str]:
    """Return a string's tokens, without white space, marks of formulas, and a full stop."""
    return _PIECE.findall(_plain(text).strip().removesuffix("."))


def _is_reduced(text: str) -> bool:
    match = _RATIO.fullmatch(text)
    if match is not None:
        above, below = (int(part) for part in match.groups() if part)
        return math.gcd(above, below) == 1 and below > 1
    return re.fullmatch(r"[-+]?[0-9.,]+(?:[eE][-+]?[0-9]+)?", text) is not None


def _stands_in(text: str, question: str) -> bool:
    """Return whether it occurs as a whole: `x+1` does not occur in `2x+1`."""
    edge = r"[A-Za-z0-9\\^_]"
    pattern = r"\s*".join(map(re.escape, _pieces(text)))
    return re.search(rf"(?<!{edge}){pattern}(?!{edge}|\.[0-9])", question) is not None
