"""Builds the checker that a recipe names; imports mathematics only if it is used."""

from __future__ import annotations

from mentor_kit_data.checking import Check, Checker, ChoiceChecker, NumberChecker, PhraseChecker, TextChecker


def checker(options: Check) -> Checker:
    """The checker that options describe.

    Raises:
        MissingError: mathematics is asked for, and mpmath is not installed.
    """
    if options.use == "number":
        return NumberChecker(options.tolerance)
    if options.use == "text":
        return TextChecker(ignore_case=options.ignore_case, ignore_space=options.ignore_space)
    if options.use == "phrase":
        return PhraseChecker()
    if options.use == "choice":
        return ChoiceChecker()
    from mentor_kit_data.mathematics import MathChecker

    return MathChecker(options.seconds)
