"""Reads scored trajectories as plain JSON objects, for readers of whole runs: no validation, and tokens on request.

Lines are those that `mentor_kit.runs.records` reads as `Scored`. A trajectory's tokens are most of a line; they are cut
out before the line is parsed where nobody asks for them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from mentor_kit.core.errors import DataError
from mentor_kit.runs.jsonl import read_lines

#: A line's object: `trajectory`, `reward` and, where it was recorded, `advantage`.
RawScored: TypeAlias = dict[str, Any]

#: How a trajectory's tokens begin, the last of its fields; a string in a dialogue has its quotation marks escaped.
_TOKENS = b',"tokens":{"prompt_ids":['
#: What follows the trajectory.
_REWARD = b'},"reward":{'
#: A field before the tokens, which every trajectory has.
_ENDING = b'"ending":'

_TOTAL = re.compile(rb'"reward":\{"total":(-?[\d.]+(?:[eE][-+]?\d+)?)[,}]')
#: How a line begins; ids that need JSON's escapes are left to the parser.
_PROBLEM = re.compile(rb'\{"trajectory":\{"id":"(?:[^"\\]|\\.)*","problem_id":"([^"\\]*)"')


def iterate_scored(path: Path, *, tokens: bool = False, problems: Collection[str] | None = None) -> Iterator[RawScored]:
    """The scored trajectories in a file of rollouts or of an evaluation, as JSON objects.

    Args:
        path: the file.
        tokens: whether trajectories have their tokens; without them reading is many times faster.
        problems: the ids of the problems whose trajectories are wanted; all if left out.

    Raises:
        DataError: a line is not a scored trajectory.
    """
    for number, line in enumerate(read_lines(path), start=1):
        if problems is not None and (problem := _problem(line)) is not None and problem not in problems:
            continue
        try:
            found = json.loads(line if tokens else without_tokens(line))
            trajectory = found["trajectory"]
            found["reward"]["total"], trajectory["problem_id"], trajectory["messages"], trajectory["ending"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}:{number}: not a scored trajectory: {error}") from None
        if not tokens:
            trajectory.pop("tokens", None)
        if problems is None or trajectory["problem_id"] in problems:
            yield found


def iterate_totals(path: Path) -> Iterator[tuple[str, float]]:
    """The problem's id and the total reward of every scored trajectory in a file, in order.

    Raises:
        DataError: a line is not a scored trajectory.
    """
    for number, line in enumerate(read_lines(path), start=1):
        # the reward stands at the line's end, the problem's id near its beginning
        end = line.rfind(b'"reward":{"total":')
        total = _TOTAL.match(line, end) if end >= 0 else None
        problem = _problem(line)
        if total is not None and problem is not None and b'"reward":' not in line[total.end() :]:
            yield problem, float(total.group(1))
            continue
        try:
            found = json.loads(line)
            yield str(found["trajectory"]["problem_id"]), float(found["reward"]["total"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}:{number}: not a scored trajectory: {error}") from None


def _problem(line: bytes) -> str | None:
    """The problem's id of a line that begins as usual; else None."""
    found = _PROBLEM.match(line)
    return None if found is None else found.group(1).decode(errors="replace")


def without_tokens(line: bytes) -> bytes:
    """A line without its trajectory's tokens; the line itself where they are not at their place."""
    start = line.rfind(_TOKENS)
    if start < 0:
        return line
    end = line.find(_REWARD, start)
    # arguments of a call may have fields of these names, too: then the trajectory's own fields come after them
    if end < 0 or line.find(_ENDING, start) >= 0:
        return line
    return line[:start] + line[end:]
