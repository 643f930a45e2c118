"""The wordings of arithmetic questions: two of training and two others for every operation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wordings:
    """Clauses for an operation; `{x}` and `{y}` are its operands."""

    known: tuple[str, str]
    """Of training and the in-domain split."""
    other: tuple[str, str]
    """Of the out-of-domain split alone."""


WORDINGS: dict[str, Wordings] = {
    "add": Wordings(("Then add {x}.", "Add {x} to it."), ("Increase it by {x}.", "Put {x} on top of it.")),
    "subtract": Wordings(("Then subtract {x}.", "Take away {x}."), ("Lower it by {x}.", "Reduce it by {x}.")),
    "multiply": Wordings(
        ("Then multiply by {x}.", "Take it {x} times."), ("Scale it by {x}.", "Make it {x} times as large.")
    ),
    "divide": Wordings(
        ("Then divide by {x}.", "Next split it into {x} equal parts."),
        ("Share it equally among {x}.", "Cut it into {x} equal pieces."),
    ),
    "sum_numbers": Wordings(
        ("Find the total of it, {x} and {y}.", "Sum it up with {x} and {y}."),
        ("Combine it with {x} and {y}.", "Put it together with {x} and {y}."),
    ),
    "floor": Wordings(
        ("Round it down.", "Go to the whole number below."),
        ("Drop to the nearest whole number under it.", "Take the largest whole number not above it."),
    ),
    "ceil": Wordings(
        ("Round it up.", "Go to the whole number above."),
        ("Rise to the nearest whole number over it.", "Take the smallest whole number not below it."),
    ),
    "round_number": Wordings(
        ("Round it to {x} digits.", "Keep {x} digits after the point."),
        ("Give it with {x} decimals.", "Shorten it to {x} places."),
    ),
    "power": Wordings(
        ("Raise it to the power of {x}.", "Take it to the power {x}."),
        ("Bring it to the exponent {x}.", "Use it {x} times as a factor."),
    ),
    "sqrt": Wordings(
        ("Take the square root.", "Find its square root."),
        ("Find the number whose square it is.", "Undo a squaring of it."),
    ),
    "abs_value": Wordings(
        ("Take the absolute value.", "Drop the sign."), ("Make it positive.", "Find its distance from zero.")
    ),
    "modulo": Wordings(
        ("Find the remainder after dividing by {x}.", "Take it modulo {x}."),
        ("Keep what is left over from groups of {x}.", "Give the rest when {x} goes into it."),
    ),
}

OPENING = "Start with {start}."
ENDING = "What is the result?"
