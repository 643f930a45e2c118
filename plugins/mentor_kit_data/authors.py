"""The task `mentor-parquet`: problems in the format of MENTOR's authors.

    question                            the user's words
    data_source                         where it is from; the problem's group
    reward_model{ground_truth, style}   the key
    extra_info{func_schemas, env,       JSON schemas of the problem's tools, their Python source,
               tool_calls_used, index}  the tools that the teacher used (the teacher `recorded` reads it), a number

The tools are run by the tools `problem-tools`, from their source, in worker processes.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence

from jsonschema import Draft202012Validator, SchemaError
from pydantic import Field, field_validator

from mentor_kit.core.errors import MentorKitError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.options import TaskOptions
from mentor_kit.core.task import Problem
from mentor_kit.core.tool import Tool
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.recipe.shorthand import one_or_several
from mentor_kit.runs.rows import BadRow, DataRow
from mentor_kit_data.checking import Check
from mentor_kit_data.keys import KeyRule
from mentor_kit_data.rows_task import BrokenRows, RowsTask, rows_of_splits, rows_task

#: The keys of a problem's tools in its `extra`, for `problem-tools`.
SCHEMAS, SOURCE = "func_schemas", "env"

#: Names of types that such schemas take from Python, and JSON schema's.
_TYPES = {"dict": "object", "float": "number", "int": "integer", "str": "string", "bool": "boolean"}
_TYPES |= {"list": "array", "tuple": "array"}


class AuthorsOptions(BrokenRows, TaskOptions):
    """Problems in the MENTOR authors' parquet format."""

    files: dict[str, tuple[str, ...]] = Field(min_length=1)
    """The parquet files of every split, or patterns such as `train-*.parquet`: `train`, and others such as
    `in-domain`."""
    check: Check = Check(use="math")
    """As for the task `rows`; mathematics if left out."""
    system: str = ""
    """A system message for every problem."""
    _one_or_several = field_validator("files", mode="before", json_schema_input_type=dict[str, str | tuple[str, ...]])(
        one_or_several
    )

    @property
    def task_splits(self) -> Sequence[str]:
        """The task's splits."""
        return tuple(self.files)


def build(options: AuthorsOptions, context: BuildContext) -> RowsTask:
    """The task; its files are read now, so that their faults show before a model is loaded.

    Raises:
        DataError: a file cannot be read, or a row is broken and `broken` is `fail`.
    """

    def make(row: DataRow, split: str) -> Problem:
        return problem_of(row, split).model_copy(update={"system": options.system})

    rule = KeyRule(options, "reward_model.ground_truth")
    return rows_task(rows_of_splits(options.files, context.recipe_folder), make, options, rule)


def problem_of(row: DataRow, split: str) -> Problem:
    """The problem of a row.

    Raises:
        BadRow: a column is missing or wrong.
    """
    question = row.text("question")
    source = row.get("data_source")
    if source is not None and not isinstance(source, str):
        raise BadRow("data_source", f"expected a text, found {source!r}")
    index = row.get("extra_info.index")
    if isinstance(index, bool) or not isinstance(index, int | str):
        raise BadRow("extra_info.index", f"expected a number or a text, found {index!r}")
    tools = [_tool(schema) for schema in _schemas(row)]
    env = row.get("extra_info.env")
    if tools:
        _check_source(env, [tool.name for tool in tools])
    return Problem(
        id=f"{split}/{index}",
        question=question,
        answer=row.text("reward_model.ground_truth").strip(),
        split=split,
        group=source or "",
        extra={SCHEMAS: [tool.schema["function"] for tool in tools], SOURCE: env or ""} if tools else {},
    )


def _schemas(row: DataRow) -> list[Json]:
    """The schemas, which may be JSON text as a whole or one by one."""
    column = "extra_info.func_schemas"
    value = _json(column, row.get(column))
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRow(column, f"expected a list of schemas, found {value!r}")
    return [_json(column, item) for item in value]


def _json(column: str, value: Json) -> Json:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else None
    except (ValueError, RecursionError) as error:
        raise BadRow(column, f"this is no JSON: {error}: {value[:80]!r}") from None


def _tool(schema: Json) -> Tool:
    column = "extra_info.func_schemas"
    inner = schema.get("function", schema) if isinstance(schema, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise BadRow(column, f"expected a function with a name, found {schema!r}")
    parameters = _plain(inner.get("parameters") or {"type": "object", "properties": {}})
    try:
        Draft202012Validator.check_schema(parameters)
        tool = Tool.declared(inner["name"], str(inner.get("description") or ""), parameters)
        tool.check({})
    except SchemaError as error:
        place = ".".join(map(str, error.absolute_path))
        raise BadRow(column, f"{inner['name']!r}: no JSON schema: parameters.{place}: {error.message}") from None
    except (MentorKitError, TypeError, ValueError) as error:
        raise BadRow(column, f"{inner['name']!r}: {getattr(error, 'message', error)}") from None
    return tool


def _plain(schema: Json, *, names: bool = False) -> Json:
    """The schema without what parquet and Python put in: nulls of columns that other rows have, types' names."""
    if isinstance(schema, Mapping):
        kept = {key: value for key, value in schema.items() if value is not None}
        if not names and kept.get("type") == "any":
            del kept["type"]
        if not names and isinstance(kept.get("items"), list):  # a tuple, as drafts before 2020 have it
            kept["prefixItems"] = kept.pop("items")
        return {
            key: _TYPES.get(value, value)
            if key == "type" and not names and isinstance(value, str)
            else _plain(value, names=not names and key == "properties")
            for key, value in kept.items()
        }
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema


def _check_source(source: Json, names: list[str]) -> None:
    """Raises `BadRow` where the source is no Python, or lacks a function; nothing of it is run."""
    column = "extra_info.env"
    if not isinstance(source, str):
        raise BadRow(column, f"expected Python source, found {source!r}")
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadRow(column, f"this is no Python: {error}") from None
    bound = _bound(body)
    absent = [name for name in names if name not in bound]
    if absent and "*" not in bound:
        raise BadRow(column, f"it does not define {', '.join(absent)}, of extra_info.func_schemas")


def _bound(body: list[ast.stmt]) -> set[str]:
    """The names that a module's source binds, wherever it does; `*` where it imports whatever there is."""
    found: set[str] = set()
    for node in (inner for statement in body for inner in ast.walk(statement)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(alias.asname or alias.name for alias in node.names)
    return found
