"""Five rows in the authors' parquet format, as the method's description has it: questions, twelve tools with source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data_helpers import parquet_file, schema

ENV = """
import math

def add(a, b):
    return a + b

def subtract(a, b):
    return a - b

def multiply(a, b):
    return a * b

def divide(a, b):
    return a / b

def sum_numbers(numbers):
    return sum(numbers)

def floor(x):
    return math.floor(x)

def ceil(x):
    return math.ceil(x)

def round_number(x, digits=0):
    return round(x, digits)

def power(base, exponent):
    return base ** exponent

def sqrt(x):
    return math.sqrt(x)

def abs_value(x):
    return abs(x)

def modulo(a, b):
    return a % b
"""
PAIRS = ["add", "subtract", "multiply", "divide", "modulo"]
SINGLE = ["floor", "ceil", "sqrt", "abs_value", "round_number"]
SCHEMAS = [
    *(schema(name, a="number", b="number") for name in PAIRS),
    *(schema(name, x="number") for name in SINGLE),
    schema("power", base="number", exponent="number"),
    schema("sum_numbers", numbers="array"),
]
#: Questions as the tiny student knows them, the truth worked by hand, and the tools a teacher used.
ROWS: list[tuple[str, str, list[str]]] = [
    ("Start with 412. Then add 88. What is the result?", "500", ["add"]),
    ("Start with 90. Then multiply by 3. What is the result?", "270", ["multiply"]),
    ("Start with 500. Then subtract 123. What is the result?", "377", ["subtract"]),
    ("Start with 84. Then divide by 4. What is the result?", "21", ["divide"]),
    ("Start with 21. Then add 300. Then subtract 20. What is the result?", "301", ["add", "subtract"]),
]


def write_sample(folder: Path) -> None:
    """train.parquet and test.parquet with the five rows."""
    for name in ("train", "test"):
        parquet_file(folder / f"{name}.parquet", *map(_row, range(len(ROWS)), ROWS))


def _row(index: int, row: tuple[str, str, list[str]]) -> dict[str, Any]:
    question, truth, used = row
    extra = {"func_schemas": json.dumps(SCHEMAS), "env": ENV, "tool_calls_used": used, "index": index}
    return {
        "question": question,
        "data_source": "math-forge",
        "reward_model": {"ground_truth": truth, "style": "rule"},
        "extra_info": extra,
    }
