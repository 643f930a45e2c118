"""Worked solutions of rows: a column of calls, which the teacher `scripted` plays with the real tools.

column `calls` ──> turns of calls, each played for its result ──> the key as the answer

A row has the calls alone. Their results come from the tools, so that no result is made up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal

from mentor_kit.core.conversation import Message, ToolCall, assistant
from mentor_kit.core.errors import DataError
from mentor_kit.core.frozen_model import FrozenModel, Json
from mentor_kit.core.task import NoSolution, Problem
from mentor_kit.runs.rows import BadRow, DataRow

#: Where a problem keeps its worked solution among its further data.
_KEY = "worked_solution"
_FORM = 'a list of calls, each `{"name": …, "arguments": {…}}`, or a list of such calls for one turn'


class WorkedSolution(FrozenModel):
    """The calls of a problem's solution, and where its row stands."""

    turns: tuple[tuple[ToolCall, ...], ...]
    """The calls of each of the assistant's turns before the answer, in order."""
    place: str
    """The file, row and column, for messages."""


def read_solution(row: DataRow, column: str) -> dict[str, Json]:
    """Return a row's worked solution, as an entry of `Problem.extra`.

    An entry of the column's list is a call, which is a turn of its own, or a list of calls of one turn. The list and a
    call's arguments may be JSON strings. A call may be in OpenAI's form, `{"function": {"name": …, "arguments": …}}`.

    Raises:
        BadRow: the column has something else.
    """
    value = row.get(column)
    entries = _decoded(value)
    if not isinstance(entries, list):
        raise BadRow(column, f"expected {_FORM}; found {value!r}", "a problem without calls has the empty list, `[]`")
    turns = tuple(
        tuple(_call(call, column) for call in (entry if isinstance(entry, list) else [entry])) for entry in entries
    )
    if not all(turns):
        raise BadRow(column, "a turn has no calls: found an empty list within the list")
    return {_KEY: WorkedSolution(turns=turns, place=f"{row.place}, column {column}").model_dump(mode="json")}


def has_solution(problem: Problem) -> bool:
    """Whether a problem has a worked solution."""
    return _KEY in problem.extra


def solve(
    problem: Problem, dialogue: Sequence[Message], *, answer: str, broken: Literal["fail", "skip"] = "fail"
) -> Message:
    """Return the next assistant message of a problem's worked solution.

    Args:
        problem: has a worked solution.
        dialogue: the messages so far, results of tools included.
        answer: the content of the last turn.
        broken: what a call that failed means.

    Raises:
        DataError: a call has failed, and `broken` is fail; names file, row and column.
        NoSolution: a call has failed, and `broken` is skip.
    """
    solution = WorkedSolution.model_validate(problem.extra[_KEY])
    work = dialogue[len(problem.opening()) :]
    calls = [call for turn in solution.turns for call in turn]
    results = [message.result for message in work if message.result is not None]
    for number, (call, result) in enumerate(zip(calls, results, strict=False), start=1):
        if not result.ok:
            reason = result.content.removeprefix("error: ")
            fault = f"{solution.place}: call {number}, {_written(call)}, failed when it was played: {reason}"
            if broken == "skip":
                raise NoSolution(fault)
            hint = "mend the call, or let the recipe skip such rows: `broken: skip`"
            raise DataError(fault, hint=hint)
    turn = sum(message.role == "assistant" for message in work)
    return assistant(calls=solution.turns[turn]) if turn < len(solution.turns) else assistant(answer)


def _call(value: Json, column: str) -> ToolCall:
    found = _decoded(value)
    if isinstance(found, Mapping) and isinstance(found.get("function"), Mapping):
        found = found["function"]
    if not isinstance(found, Mapping) or not isinstance(found.get("name"), str) or not found["name"]:
        raise BadRow(column, f"expected {_FORM}; found {value!r} in the list")
    arguments = _decoded(found.get("arguments"))
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        raise BadRow(column, f"expected the arguments of {found['name']} by name, found {arguments!r}")
    return ToolCall(name=found["name"], arguments=dict(arguments))


def _decoded(value: Json) -> Json:
    """The value of a JSON string; anything else unchanged."""
    if not isinstance(value, str):
        return value
    try:
        decoded: Json = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return decoded


def _written(call: ToolCall) -> str:
    text = f"{call.name}({json.dumps(call.arguments, ensure_ascii=False)})"
    return text if len(text) <= 120 else text[:117] + "..."
