"""The steps of a question: operation, operands and value; and the likely mistakes."""

from __future__ import annotations

from typing import Any

from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.core.tool import ToolError
from mentor_kit_math.operations import evaluate

Number = int | float

#: Names of the operand parameters after the running value, by operation.
OPERANDS: dict[str, tuple[str, ...]] = {
    "add": ("b",),
    "subtract": ("b",),
    "multiply": ("b",),
    "divide": ("b",),
    "sum_numbers": ("numbers", "numbers"),
    "floor": (),
    "ceil": (),
    "round_number": ("digits",),
    "power": ("exponent",),
    "sqrt": (),
    "abs_value": (),
    "modulo": ("b",),
}

#: The parameter that takes the running value.
VALUE = {
    **dict.fromkeys(("add", "subtract", "multiply", "divide", "modulo"), "a"),
    **dict.fromkeys(("floor", "ceil", "round_number", "sqrt", "abs_value"), "number"),
    "power": "base",
    "sum_numbers": "numbers",
}

#: The tool the noisy demonstrator prefers to the right one. No two weak operations are each other's: a student that
#: learns one of such a pair by RL unlearns the other, and does not sample it any more (docs/evidence.md).
FAVOURITE_MISTAKE = {
    "add": "subtract",
    "subtract": "add",
    "multiply": "add",
    "divide": "multiply",
    "sum_numbers": "add",
    "floor": "abs_value",
    "ceil": "round_number",
    "round_number": "floor",
    "power": "multiply",
    "sqrt": "divide",
    "abs_value": "subtract",
    "modulo": "subtract",
}

#: Operations on which the noisy demonstrator prefers its favourite mistake.
WEAK = frozenset({"sum_numbers", "floor", "ceil", "round_number", "power", "sqrt", "abs_value", "modulo"})

#: Operations whose favourite mistake may happen to give the right value (the blind answer check).
BLIND = frozenset({"modulo", "ceil", "round_number"})

#: Operations the teacher may do in its head (the capacity gap).
IN_THE_HEAD = frozenset({"add", "subtract", "sum_numbers"})

_DEFAULT = {"b": 2, "exponent": 2, "digits": 0}


class Step(FrozenModel):
    """One operation of a question, and the value after it."""

    operation: str
    operands: tuple[Number, ...] = ()
    value: Number


def arguments(tool: str, value: Number, operands: tuple[Number, ...]) -> dict[str, Any]:
    """How a tool is called on a running value with a step's operands, be it the step's own tool or a wrong one."""
    if tool == "sum_numbers":
        return {"numbers": [value, *operands]}
    names = OPERANDS[tool]
    given = {name: operands[0] if operands else _DEFAULT[name] for name in names}
    return {VALUE[tool]: value, **given}


def result(tool: str, value: Number, operands: tuple[Number, ...]) -> Number | None:
    """What a tool makes of a running value; None where it has no result."""
    try:
        return evaluate(tool, arguments(tool, value, operands))
    except (ToolError, OverflowError):
        return None


def mistake_is_right(step: Step, before: Number) -> bool:
    """Whether the favourite mistake gives a step's value too, from the value before it."""
    return result(FAVOURITE_MISTAKE[step.operation], before, step.operands) == step.value


def written(number: Number) -> str:
    """A number as questions, tools and answers write it."""
    return str(int(number)) if number == int(number) else f"{number:.2f}".rstrip("0").rstrip(".")
