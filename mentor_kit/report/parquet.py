"""Writes the outcomes of evaluations as parquet, for data frames and databases."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mentor_kit.core.frozen_model import Json
from mentor_kit.runs import Run
from mentor_kit.runs.files import storage_errors

#: Columns that may hold nothing but nulls or empty lists, by type.
_LISTS = ("tools", "teacher_tools")
_TEXTS = ("answer",)
_NUMBERS = ("tokens",)


def write_outcomes(run: Run) -> list[Path]:
    """`<name>.outcomes.parquet` beside the rows of every evaluation; nothing where pyarrow is not installed."""
    if find_spec("pyarrow") is None:
        return []
    from pyarrow import Table
    from pyarrow.parquet import write_table

    written = []
    for file in sorted(run.folder.evaluation.glob("[!.]*.outcomes.jsonl")):
        rows = run.outcomes(file.name.removesuffix(".outcomes.jsonl"))
        table = Table.from_pylist(rows, schema=_schema(rows))
        target = file.with_suffix(".parquet")
        temporary = target.with_name(f".new-{target.name}")
        with storage_errors(target):
            try:
                write_table(table, temporary)
                written.append(temporary.replace(target))
            finally:
                temporary.unlink(missing_ok=True)
    return written


def _schema(rows: list[dict[str, Json]]) -> Any:
    """Types inferred from the values, or given by name where a column may be empty, so that two runs' files agree."""
    import pyarrow as pa

    known = dict.fromkeys(_LISTS, pa.list_(pa.string())) | dict.fromkeys(_TEXTS, pa.string())
    known |= dict.fromkeys(_NUMBERS, pa.int64())
    inferred = pa.Table.from_pylist(rows).schema
    return pa.schema([(name, known.get(name, inferred.field(name).type)) for name in inferred.names])
