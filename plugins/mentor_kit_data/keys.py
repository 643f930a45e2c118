r"""Validates answer keys: a key that no answer matches is an error of its row.

Every key must be right for itself, by the task's own check, and must survive being written into a `\boxed{}`.
"""

from __future__ import annotations

from collections.abc import Sequence

from mentor_kit.core.task import Problem, boxed_answer
from mentor_kit.runs.rows import BadRow
from mentor_kit_data.checking import (
    LONGEST,
    Check,
    Checking,
    ChoiceChecker,
    PhraseChecker,
    TextChecker,
    read_number,
)

_BOX_PATTERN = r"answer_pattern: '\\boxed\{(.*)\}'"
_MISSING = frozenset(["nan", "none", "null", "n/a", "<na>"])


def keys_of(problem: Problem) -> Sequence[str]:
    """Every right answer of a problem."""
    return problem.extra.get("keys") or [problem.answer]


class KeyRule:
    """Finds keys that nothing can match.

    Args:
        checking: how answers are found and compared.
        column: where keys are, for messages.
    """

    def __init__(self, checking: Checking, column: str = "answer") -> None:
        self._check = checking.check
        self._boxed = checking.answer == "box"
        self._column = column

    def examine(self, problem: Problem) -> None:
        """Raises `BadRow` for a key that no answer can match, with the option that would help."""
        choices = problem.extra.get("choices") or ()
        for key in keys_of(problem):
            reason, hint = self._fault(key, choices)
            if reason:
                raise BadRow(self._column, reason, hint)

    def _fault(self, key: str, choices: Sequence[str]) -> tuple[str, str]:
        """Return the fault of a key, and a hint; both are empty for a good one."""
        use = self._check.use
        if "####" in key:
            return f"no answer can be {key!r}", "the key is a part of it: `answer_pattern: '#### (.*)'`"
        if use in ("number", "math") and key.strip().casefold() in _MISSING:
            return f"the key is missing: {key!r}", ""
        if use == "number" and read_number(key) is None:
            return f"no number can be {key!r}, by `check: number`", _for_no_number(key)
        if use == "choice":
            return _choice_fault(key, choices)
        if use == "math" and r"\boxed" in key.strip().strip("$.")[1:]:
            return f"no answer can be {key!r}", f"the key is a part of it: `{_BOX_PATTERN}`"
        if use == "math" and len(key) > LONGEST:
            return f"the key has {len(key)} characters; answers have at most {LONGEST}", _part_of(key)
        if use in ("text", "phrase"):
            return self._text_fault(key)
        return "", ""

    def _text_fault(self, key: str) -> tuple[str, str]:
        if not _text_checker(self._check).check(key.strip(), key):
            return f"no answer can be {key!r}", "write it without white space at its ends, or set `ignore_space: true`"
        if not self._boxed or boxed_answer(rf"\boxed{{{key}}}") == key.strip():
            return "", ""
        if r"\boxed" in key:
            return f"no answer in a \\boxed{{}} can be {key!r}", f"the key is a part of it: `{_BOX_PATTERN}`"
        return (
            f"no answer in a \\boxed{{}} can be {key!r}: its braces do not fit",
            "take the whole turn: `answer: text`",
        )


def _text_checker(check: Check) -> TextChecker | PhraseChecker:
    if check.use == "phrase":
        return PhraseChecker()
    return TextChecker(ignore_case=check.ignore_case, ignore_space=check.ignore_space)


def _choice_fault(key: str, choices: Sequence[str]) -> tuple[str, str]:
    if ChoiceChecker().letter(key, choices) is not None:
        return "", ""
    if not choices:
        return (
            f"no choice can be {key!r}: it is no letter",
            "name the column with the texts of the choices, `columns: {choices: …}`, or set `check: text`",
        )
    last = chr(ord("A") + len(choices) - 1)
    same = [choice for choice in choices if TextChecker().check(choice, key)]
    if len(same) > 1:
        return f"{key!r} is the text of {len(same)} choices", f"give its letter, A to {last}, or its index from 0"
    return (
        f"{key!r} is not among the choices: {', '.join(map(repr, choices))}",
        f"expected a letter, A to {last}, the text of a choice, or its index from 0 as a number",
    )


def _for_no_number(key: str) -> str:
    """The option that would make a key of `check: number` one that can be met."""
    if r"\boxed" in key:
        return f"the key is a part of it: `{_BOX_PATTERN}`"
    if len(key.strip("() .:")) == 1 and key.strip("() .:").isalpha():
        return "for letters of choices set `check: choice`"
    if any(sign in key for sign in "\\^=_{}"):
        return "for mathematics set `check: math`"
    if any(read_number(word) is not None for word in key.split()):
        return _part_of(key) + ", or set `check: text`, or `math`, which knows units"
    return "for words set `check: text`, for phrases `check: phrase`"


def _part_of(key: str) -> str:
    return r"if the key is a part of it, name that part: `answer_pattern: '([-+]?[\d.,]+)'`"
