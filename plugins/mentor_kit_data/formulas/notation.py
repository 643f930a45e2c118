r"""Reads mathematical notation into tokens, the same for LaTeX, Unicode and plain strings.

    tokens(r"\dfrac{1}{2}\,\text{cm}")  ->  \frac { 1 } { 2 } cm     the last one of kind `text`

Spaces, sizes of brackets and fonts have no meaning, and are left out. Nothing is guessed: an unknown sign stays a token
that no formula may have.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mentor_kit_data.formulas.vocabulary import (
    ALIASES,
    FONTS,
    FUNCTIONS,
    GREEK,
    GREEK_LETTERS,
    SEPARATORS,
    SILENT,
    TEXTS,
    UNICODE,
    UNITS,
    WORDS,
)


class NotMathematics(ValueError):
    """A text that is no formula as a whole."""


@dataclass(frozen=True)
class Token:
    """A piece of notation."""

    kind: Literal["number", "letter", "command", "mark", "text", "separator"]
    text: str
    spaced: bool = False
    """Whether white space stands before it."""


_TOKEN = re.compile(
    r"""(?P<space>\s+|\\[,;:!>\ ]|~)
      | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+(?![0-9.]))?)
      | (?P<environment>\\(?:begin|end)\s*\{[A-Za-z]+\*?\})
      | (?P<command>\\(?:[A-Za-z]+|.))
      | (?P<letters>[A-Za-z]+)
      | (?P<mark><=|>=|!=|\*\*|.)""",
    re.VERBOSE | re.DOTALL,
)
_THOUSANDS = re.compile(r"(?<![0-9.,}])[1-9][0-9]{0,2}(?:(?:\{,\}|,\\!|\\[,;: ]|~)[0-9]{3})+(?![0-9])")
_COMMAS = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])")
_SCRIPTS = re.compile(r"(?P<upper>[⁰¹²³⁴-⁹⁺⁻]+)|(?P<lower>[₀-₉₊₋]+)")
#: The letter between a number and a power of ten.
_TIMES_TEN = re.compile(r"(?<=[0-9])\s*[xX]\s*(?=10\s*\^)")
#: How many marks may be around one formula.
_LAYERS = 6
_WRAPPED = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))


def tokens(text: str, *, commas: bool = True) -> tuple[Token, ...]:
    """The tokens of a text.

    Args:
        text: as it was written.
        commas: whether a comma before three digits separates thousands; else it separates values.

    Raises:
        NotMathematics: braces do not fit.
    """
    plain = _bare(unicodedata.normalize("NFC", text))
    plain = "".join(_written(letter) for letter in _SCRIPTS.sub(_scripts, plain))
    plain = _TIMES_TEN.sub(r"\\times ", plain.replace(r"\degree", r"^{\circ}"))
    plain = _THOUSANDS.sub(_joined, plain)
    if commas:
        plain = _COMMAS.sub(_joined, plain)
    return tuple(_with_units(_split(plain)))


def _joined(match: re.Match[str]) -> str:
    return re.sub(r"[^0-9]", "", match.group())


def _bare(text: str) -> str:
    """The text without the marks of a formula, a box or a sentence's end around it."""
    for _ in range(_LAYERS):
        inner = _unwrapped(text.strip())
        if inner == text:
            break
        text = inner
    return text


def _unwrapped(text: str) -> str:
    """The text without one layer of such marks."""
    if text.endswith(".") and not text.endswith(".."):
        return text[:-1]
    for start, end in _WRAPPED:
        inner = text[len(start) : -len(end)]
        if len(text) > len(start) + len(end) and text.startswith(start) and text.endswith(end):
            return text if re.search(rf"(?<!\\){re.escape(start)}", inner) or inner.endswith("\\") else inner
    if text.startswith(r"\boxed{") and text.endswith("}") and _end(text, 6) == len(text) - 1:
        return text[7:-1]
    return text


def _written(letter: str) -> str:
    """A letter as LaTeX and ASCII have it."""
    if letter.isascii():
        return letter
    if letter in UNICODE:
        return UNICODE[letter]
    if letter in GREEK_LETTERS:
        return rf"\{GREEK_LETTERS[letter]} "
    name, _, codes = unicodedata.decomposition(letter).partition(" ")
    above, _, below = "".join(chr(int(code, 16)) for code in codes.split() if name == "<fraction>").partition("⁄")
    return rf"\frac{{{above}}}{{{below}}}" if above.isdigit() and below.isdigit() else letter


def _scripts(match: re.Match[str]) -> str:
    """A row of raised or lowered digits, such as `⁻¹²`."""
    digits = unicodedata.normalize("NFKC", match.group()).replace("−", "-")
    return ("_" if match.lastgroup == "lower" else "^") + f"{{{digits}}}"


def _split(text: str) -> list[Token]:
    found: list[Token] = []
    position, spaced = 0, False
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise NotMathematics(text)
        kind, piece = str(match.lastgroup), match.group()
        position = match.end()
        if kind == "space" or piece in SILENT:
            spaced = True
            continue
        if piece in FONTS or piece in TEXTS or piece == r"\mathbb":
            inner, position = _argument(text, position)
            found += _styled(piece, inner, measured=_measured(found))
        elif kind == "letters":
            found += _run(piece, spaced)
        elif kind == "environment":
            found.append(Token("command", re.sub(r"\s", "", piece), spaced))
        elif kind == "number":
            found.append(Token("number", piece, spaced))
        else:
            found.append(_sign(piece, spaced))
        spaced = False
    return found


def _sign(found: str, spaced: bool) -> Token:
    name = ALIASES.get(found, found)
    if name in SEPARATORS:
        return Token("separator", name, spaced)
    if name[1:] in GREEK and name[0] == "\\":
        return Token("letter", name, spaced)
    return Token("command" if name[0] == "\\" else "mark", name, spaced)


def _measured(before: list[Token]) -> bool:
    """Whether a unit may follow: behind a number, another unit, or a sign that joins two units."""
    if not before:
        return False
    joined = before[-1].text in ("*", "/") and any(token.kind == "text" for token in before)
    return joined or before[-1].kind in ("number", "text") or before[-1].text in ("}", ")")


def _styled(command: str, inner: str, *, measured: bool) -> list[Token]:
    r"""What a font's braces hold: `\text{…}` words, `\mathbf{…}` a formula, `\mathbb{…}` the name of a set."""
    if command == r"\mathbb":
        return [Token("command", rf"\mathbb {inner.strip()}")]
    if command in FONTS:
        return _split(inner)
    words = re.findall(r"[^\W\d_]+|[0-9]+(?:\.[0-9]+)?|[^\s.~\\]", inner)
    measured = (measured and not inner.startswith("(")) or (inner[:1] in (" ", "~") and len(words) == 1)
    return [_word(word, measured=measured) for word in words]


def _word(word: str, *, measured: bool) -> Token:
    plain = word.casefold()
    if len(word) == 1 and word.isalpha() and not (measured and plain in UNITS):
        return Token("letter", word, True)
    if plain in SEPARATORS:
        return Token("separator", plain, True)
    if plain in FUNCTIONS:
        return Token("command", rf"\{plain}", True)
    if word[0].isalpha():
        return Token("text", word, True)
    return Token("number" if word[0].isdigit() else "mark", word, True)


def _run(letters: str, spaced: bool) -> list[Token]:
    """A run of letters without a backslash: a word, or a product of letters."""
    plain = letters.casefold()
    if letters in FUNCTIONS or letters in ("pi", "sqrt", "infty"):
        return [_sign(rf"\{letters}", spaced)]
    if plain in ("inf", "infinity"):
        return [Token("command", r"\infty", spaced)]
    if len(letters) > 3 or plain in SEPARATORS | WORDS:
        return [_word(letters, measured=False)]
    return [Token("letter", letter, spaced and index == 0) for index, letter in enumerate(letters)]


def _with_units(found: list[Token]) -> list[Token]:
    """The tokens, with a unit of two or three letters behind a last number (`5 cm`) as text."""
    start = len(found)
    while start and found[start - 1].kind == "letter" and len(found[start - 1].text) == 1:
        start -= 1
    name = "".join(token.text for token in found[start:])
    if start and found[start - 1].kind == "number" and len(name) > 1 and name.casefold() in UNITS:
        return [*found[:start], Token("text", name, True)]
    return found


def _argument(text: str, position: int) -> tuple[str, int]:
    """The braces' content that follows, and where it ends."""
    while position < len(text) and text[position].isspace():
        position += 1
    if text[position : position + 1].isalpha():
        return text[position], position + 1
    if position >= len(text) or text[position] != "{":
        raise NotMathematics(text)
    end = _end(text, position)
    return text[position + 1 : end], end + 1


def _end(text: str, start: int) -> int:
    """Where the brace that opens at `start` closes."""
    depth = 0
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.start()
    raise NotMathematics(text)


class Cursor:
    """A place in a row of tokens, which moves on as they are taken."""

    def __init__(self, found: Sequence[Token]) -> None:
        self._tokens = found
        self._at = 0

    def _next(self) -> str:
        """The next token's text; empty at the end, and for words."""
        token = self._token()
        return "" if token is None or token.kind == "text" else token.text

    def _token(self, ahead: int = 0) -> Token | None:
        place = self._at + ahead
        return self._tokens[place] if place < len(self._tokens) else None

    def _kind(self, ahead: int = 0) -> str:
        token = self._token(ahead)
        return "" if token is None else token.kind

    def _take(self) -> str:
        token = self._token()
        if token is None:
            raise NotMathematics("it ends too early")
        self._at += 1
        return token.text

    def _took(self, *texts: str) -> bool:
        if self._next() not in texts or self._token() is None:
            return False
        self._at += 1
        return True

    def _must(self, *texts: str) -> None:
        if not self._took(*texts):
            raise NotMathematics(f"expected {texts[0]}")

    def expect_end(self) -> None:
        """Raises `NotMathematics` where tokens are left."""
        if self._token() is not None:
            raise NotMathematics(f"{self._next()} cannot stand here")
