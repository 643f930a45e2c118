r"""Checks answers: as a number, a string, a phrase, one of several choices, or mathematics.

    Checker.check(answer, key) -> bool     never raises, whatever the answer; quick on any text

The answer is what stands in the last turn's `\boxed{}`, or the whole of that turn (`answer: text`).
"""

from __future__ import annotations

import re
import string
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from mentor_kit.core.option_model import OptionModel
from mentor_kit.recipe.shorthand import FromName
from mentor_kit_data.copies import is_copied

#: Longer answers are wrong: no key is as long, and comparing them is slow.
LONGEST = 4096

_NUMBER = re.compile(
    r"(?P<sign>[+-]?)\s*(?P<currency>(?:\\?\$|€|£|¥|₹)?)\s*(?P<inner>[+-]?)\s*"
    r"(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+|(?=\.[0-9]))(?P<part>\.[0-9]+)?(?:[eE](?P<exponent>[+-]?[0-9]{1,3}))?"
    r"\.?\s*(?:\\?%)?\.?"
)
_RATIO = re.compile(r"(.+?)\s*/\s*(.+)")
_LATEX_RATIO = re.compile(r"([+-]?)\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_PUNCTUATION = frozenset(string.punctuation)


class Checker(ABC):
    """Base class of checkers, which compare answers with keys."""

    @abstractmethod
    def check(self, answer: str, key: str, choices: Sequence[str] = (), question: str = "") -> bool:
        """Whether the answer is right.

        Args:
            answer: the student's answer.
            key: the right answer.
            choices: those that the question offers, where it does.
            question: its text, where it is known: an expression copied from there is no number.
        """

    def close(self) -> None:
        """Free what the checker holds, such as a worker process. May be called twice."""
        return None


_STRICT = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Check(FromName):
    r"""How answers are compared.

    number: the same number, exactly: `1,234.50` is `1234.5`, `3/4` is `0.75`, `$5` is `5`, `50%` is `50`.
    text: the same text.
    phrase: the same words, as SQuAD compares them: without upper case, punctuation, and the articles a, an and the.
    choice: the same choice: its letter (`B`, `(b)`, `B.`, `B: Rome`), or its text where the question offers choices.
    math: the same mathematics: `\frac12` is `0.5`, `4.5 \times 10^{33}` is `4.5e33`, `\{2, 1\}` is `\{1, 2\}`, `x+1` is
        `1+x`; no arithmetic that is left to do, no equation of numbers, nothing that cannot be read as a whole.
    """

    model_config = _STRICT

    use: Literal["number", "text", "phrase", "choice", "math"] = "number"
    """The kind of check."""
    tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """number: how far the answer may be from the key."""
    ignore_case: bool = True
    """text: whether upper and lower case are the same."""
    ignore_space: bool = True
    """text: whether runs of white space count as one blank, and outer ones not at all."""
    seconds: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """math: time a comparison may take; an answer that takes longer is wrong."""

    @model_validator(mode="after")
    def _options_belong(self) -> Self:
        for name in self.model_fields_set & _BELONGS.keys():
            if _BELONGS[name] != self.use:
                raise ValueError(f"`{name}` is an option of the check {_BELONGS[name]}, not of {self.use}")
        return self


#: The check that an option belongs to.
_BELONGS = {"tolerance": "number", "ignore_case": "text", "ignore_space": "text", "seconds": "math"}


class Checking(OptionModel):
    """How answers are found and compared; the base of the options of tasks."""

    model_config = _STRICT

    check: Check = Check()
    """number, text, phrase, choice or math; or one of them with options, such as `{use: number, tolerance: 0.01}`."""
    answer: Literal["box", "text"] = "box"
    r"""Where the answer is: in `\boxed{}`, or the last turn's whole text."""


class NumberChecker(Checker):
    """Compares exactly, as fractions, up to a tolerance."""

    def __init__(self, tolerance: float = 0.0) -> None:
        # as written: the float 0.3 is slightly smaller
        self._tolerance = Fraction(str(tolerance))

    def check(self, answer: str, key: str, choices: Sequence[str] = (), question: str = "") -> bool:
        found, wanted = read_number(answer), read_number(key)
        if found is None or wanted is None or abs(found - wanted) > self._tolerance:
            return False
        return not is_copied(answer, key, question)


class TextChecker(Checker):
    """Compares texts, in Unicode's composed form."""

    def __init__(self, *, ignore_case: bool = True, ignore_space: bool = True) -> None:
        self._ignore_case = ignore_case
        self._ignore_space = ignore_space

    def check(self, answer: str, key: str, choices: Sequence[str] = (), question: str = "") -> bool:
        return len(answer) <= LONGEST + len(key) and self._plain(answer) == self._plain(key)

    def _plain(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text)
        if self._ignore_space:
            text = " ".join(text.split())
        return text.casefold() if self._ignore_case else text


class PhraseChecker(Checker):
    """Compares words, as the evaluation of SQuAD does (Rajpurkar et al., arXiv 1606.05250, section 6.1)."""

    _ARTICLES = re.compile(r"\b(?:a|an|the)\b")

    def check(self, answer: str, key: str, choices: Sequence[str] = (), question: str = "") -> bool:
        if len(answer) > LONGEST + len(key):
            return False
        plain = self._plain(answer)
        # a key that is nothing but articles or punctuation is compared as it stands
        return plain == self._plain(key) if plain else answer.strip() == key.strip()

    def _plain(self, text: str) -> str:
        lowered = unicodedata.normalize("NFC", text).lower()
        bare = "".join(letter for letter in lowered if letter not in _PUNCTUATION)
        return " ".join(self._ARTICLES.sub(" ", bare).split())


class ChoiceChecker(Checker):
    """Compares choices. A text that is two choices' is no answer."""

    #: Behind a letter: another one, or words between several.
    _MORE = re.compile(r"(?:or|and)\b.*|[,;/&|].*|\(?[A-Z]\)?[.:)]*", re.DOTALL | re.IGNORECASE)
    _LETTER = re.compile(r"\(?([A-Za-z])\)?(?:[.:)]\s*(.*))?", re.DOTALL)

    def __init__(self) -> None:
        self._text = TextChecker()

    def check(self, answer: str, key: str, choices: Sequence[str] = (), question: str = "") -> bool:
        found, wanted = self.letter(answer, choices), self.letter(key, choices)
        return found is not None and found == wanted

    def letter(self, text: str, choices: Sequence[str]) -> str | None:
        """The letter of the choice that a text means, or None."""
        if len(text) > LONGEST:
            return None
        match = self._LETTER.fullmatch(text.strip())
        if match is not None and self._fits(match.group(1), match.group(2), choices):
            return match.group(1).upper()
        same = [letter_of(index) for index, choice in enumerate(choices) if self._text.check(text, choice)]
        return same[0] if len(same) == 1 else None

    def _fits(self, letter: str, rest: str | None, choices: Sequence[str]) -> bool:
        """Whether there is a choice of that letter, with the text that stands behind it."""
        index = ord(letter.upper()) - ord("A")
        if not choices:
            return not rest or self._MORE.fullmatch(rest) is None
        return index < len(choices) and (not rest or self._text.check(rest, choices[index]))


def letter_of(index: int) -> str:
    """A for 0, B for 1, and so on."""
    return chr(ord("A") + index)


def read_number(text: str) -> Fraction | None:
    r"""A number as people and models write one, exactly, or None. Quick on any text.

    Takes thousands' commas, a sign, a leading currency, a trailing `%` or `.`, `a/b`, `\frac{a}{b}`, and
    exponents.
    """
    if len(text) > 200:
        return None
    plain = text.strip().replace("−", "-").strip("$ ").replace("\\!", "").replace("{,}", ",")
    match = _LATEX_RATIO.fullmatch(plain)
    if match is not None:
        above = _ratio(match.group(2), match.group(3))
        return None if above is None else -above if match.group(1) == "-" else above
    match = _RATIO.fullmatch(plain)
    return _ratio(match.group(1), match.group(2)) if match is not None else _plain_number(plain)


def _ratio(above: str, below: str) -> Fraction | None:
    numerator, denominator = _plain_number(above), _plain_number(below)
    return numerator / denominator if numerator is not None and denominator else None


def _plain_number(text: str) -> Fraction | None:
    match = _NUMBER.fullmatch(text.strip())
    if match is None or (match["sign"] and match["inner"]):
        return None
    digits = (match["whole"] or "0").replace(",", "") + (match["part"] or "")
    value = Fraction(digits) * Fraction(10) ** int(match["exponent"] or 0)
    return -value if "-" in (match["sign"], match["inner"]) else value
