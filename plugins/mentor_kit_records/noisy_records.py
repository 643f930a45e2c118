"""A question about records as a noisy demonstrator works on it: its likely mistakes.

Where two tables must be joined it reads the first alone, where rows are to be counted it lists them, and where rows are
to be listed or compared it looks one up. It gives what `mentor_kit_tiny.noisy_demonstrator.NoisyWorld` asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mentor_kit_records.operations import OPERATIONS, PARAMETERS, RecordStep
from mentor_kit_records.tables import COLUMNS

FAVOURITE_MISTAKE = {
    "look_up": "filter_rows",
    "filter_rows": "look_up",
    "count_rows": "filter_rows",
    "compare_rows": "look_up",
    "join_rows": "look_up",
}
#: Tools to which the noisy demonstrator prefers its favourite mistake.
WEAK = frozenset({"filter_rows", "count_rows", "compare_rows", "join_rows"})


@dataclass(frozen=True)
class NoisyRecords:
    """A row to start from, and operations on the row reached so far."""

    start: str
    steps: Sequence[RecordStep]
    tools: ClassVar[Sequence[str]] = tuple(PARAMETERS)

    @property
    def guesses(self) -> Sequence[str]:
        """The rows that the question names."""
        return [self.start, *(step.operand for step in self.steps if step.operand)]

    def right(self, step: RecordStep) -> str:
        return OPERATIONS[step.operation].tool

    def favourite(self, step: RecordStep) -> str:
        return FAVOURITE_MISTAKE[self.right(step)]

    def is_weak(self, step: RecordStep) -> bool:
        return self.right(step) in WEAK

    def arguments(self, tool: str, value: str, step: RecordStep) -> dict[str, Any]:
        operation = OPERATIONS[step.operation]
        if tool == operation.tool:
            return operation.arguments(value, step.operand)
        table = operation.takes
        columns = COLUMNS[table]
        column = operation.fixed["column"] if operation.fixed["column"] in columns else next(iter(columns))
        leading = column if columns[column] else next(name for name, other in columns.items() if other)
        target = columns[leading]
        assert target is not None
        given = {
            "table": table,
            "row": value,
            "column": leading if tool == "join_rows" else column,
            "value": value,
            "first": value,
            "second": step.operand or value,
            "then": next(iter(COLUMNS[target])),
        }
        if tool in ("filter_rows", "count_rows"):
            given |= {"table": "people", "column": operation.fixed["column"]}
        return {name: given[name] for name in PARAMETERS[tool]}

    def read(self, result: str) -> str | None:
        return result or None

    def written(self, value: str) -> str:
        return value
