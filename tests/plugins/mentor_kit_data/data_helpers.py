"""Builds this plugin's parts as a recipe does, and writes files in the authors' format."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import assistant, user
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks.loader import load_plugins
from mentor_kit.hooks.registry import BuildContext, Registry

REGISTRY = Registry(load_plugins())


def built(kind: Any, use: str, folder: Path, **options: Any) -> Any:
    spec = ComponentSpec.model_validate({"use": use, "with": options})
    return REGISTRY.build(kind, spec, BuildContext(REGISTRY, recipe_folder=folder))


def said(text: str) -> Trajectory:
    """A trajectory whose last turn has this text."""
    return Trajectory(id="t", problem_id="p", agent="a", messages=(user("?"), assistant(text)), ending=Ending.ANSWERED)


def json_lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def csv_file(path: Path, *rows: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return path


def parquet_file(path: Path, *rows: dict[str, Any]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


ENV = """
import math

CALLS = []

def add(a, b):
    CALLS.append("add")
    return a + b

def hypotenuse(a: float, b: float) -> float:
    return math.sqrt(a * a + b * b)

def calls():
    return CALLS

def zero():
    return 0
"""


def schema(name: str, **types: str) -> dict[str, Any]:
    """A tool's schema, as function-calling data sets write it."""
    properties = {key: {"type": kind, "description": f"the {key}"} for key, kind in types.items()}
    parameters = {"type": "object", "properties": properties, "required": list(types)}
    return {"type": "function", "function": {"name": name, "description": f"{name}s", "parameters": parameters}}


SCHEMAS = [
    schema("add", a="number", b="number"),
    schema("hypotenuse", a="number", b="number"),
    schema("calls"),
    schema("zero"),
]


def authors_row(index: Any = 7, question: str = "What is 2 + 3?", truth: str = "5", **changes: Any) -> dict[str, Any]:
    """A row in the authors' format; `changes` are of `extra_info`."""
    extra = {"func_schemas": json.dumps(SCHEMAS), "env": ENV, "tool_calls_used": ["add", "add"], "index": index}
    return {
        "question": question,
        "data_source": "math-forge",
        "reward_model": {"ground_truth": truth, "style": "rule"},
        "extra_info": {**extra, **changes},
    }
