"""Questions, keys and demonstrations of a run's problems, read when they are needed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from mentor_kit.core.errors import DataError
from mentor_kit.core.frozen_model import Json
from mentor_kit.runs import RunFolder
from mentor_kit.runs.jsonl import read_lines

RawMessage: TypeAlias = dict[str, Any]

_ID = {
    "demonstrations.jsonl": re.compile(rb'\{"problem_id":("(?:[^"\\]|\\.)*")'),
    "problems.jsonl": re.compile(rb'\{"id":("(?:[^"\\]|\\.)*")'),
}


class ProblemBook:
    """A run's problems and their demonstrations by id; a line is parsed when its problem is asked for.

    Args:
        folder: the run; a run without `problems.jsonl` has demonstrations alone.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._demonstrations = LineIndex(folder.demonstrations, "problem_id")
        self._problems = LineIndex(folder.problems, "id")

    def page(self, problem: str, opening: Sequence[RawMessage]) -> dict[str, Json]:
        """A problem as the page shows it.

        Args:
            problem: its id.
            opening: the messages it opens with.
        """
        record = next(iter(self._problems.of(problem)), {})
        found: dict[str, Json] = {"id": problem, "opening": [compact_message(message) for message in opening]}
        found |= {name: record[name] for name in ("key", "group", "tools") if record.get(name)}
        found["demonstrations"] = [_demonstration(raw) for raw in self._demonstrations.of(problem)]
        return found

    def tools_used(self, problem: str) -> list[list[str]]:
        """The names of the tools that each demonstration of a problem used, in order."""
        return [list(raw.get("tools_used", ())) for raw in self._demonstrations.of(problem)]


class LineIndex:
    """The lines of an append-only file by one field, read again where the file has grown."""

    def __init__(self, path: Path, field: str) -> None:
        self._path = path
        self._field = field
        self._pattern = _ID[path.name]
        self._lines: dict[str, list[bytes]] = {}
        self._size = -1

    def of(self, key: str) -> list[dict[str, Any]]:
        """The objects whose field has that value, in the file's order.

        Raises:
            DataError: a line is no object with that field.
        """
        self._read()
        return [json.loads(line) for line in self._lines.get(key, ())]

    def _read(self) -> None:
        size = self._path.stat().st_size if self._path.exists() else -1
        if size == self._size:
            return
        self._size = size
        self._lines = {}
        for number, line in enumerate(read_lines(self._path), start=1):
            found = self._pattern.match(line)
            try:
                key = json.loads(found.group(1)) if found is not None else json.loads(line)[self._field]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{self._path}:{number}: has no {self._field}: {error}") from None
            self._lines.setdefault(key, []).append(line)


def opening_of(trajectory: dict[str, Any]) -> int:
    """The number of messages that are the problem's; in a dialogue from elsewhere, those before the first turn."""
    if opening := int(trajectory.get("opening") or 0):
        return opening
    messages = trajectory["messages"]
    return next((place for place, message in enumerate(messages) if message["role"] == "assistant"), len(messages))


def compact_message(message: RawMessage) -> RawMessage:
    """A message without what the page does not show: the strings of calls that could be read, a result said twice."""
    found = {name: value for name, value in message.items() if value and name not in ("tool_calls", "result")}
    found["role"] = message["role"]
    if calls := message.get("tool_calls"):
        found["tool_calls"] = [
            call if call.get("state") == "malformed" else {name: value for name, value in call.items() if name != "raw"}
            for call in calls
        ]
    if result := message.get("result"):
        same = result.get("content") == message.get("content")
        found["result"] = {name: value for name, value in result.items() if not (same and name == "content")}
    return found


def _demonstration(raw: dict[str, Any]) -> dict[str, Json]:
    found: dict[str, Json] = {
        "teacher": raw.get("teacher", ""),
        "correct": bool(raw.get("correct", True)),
        "tools_used": list(raw.get("tools_used", ())),
    }
    if trajectory := raw.get("trajectory"):
        messages = trajectory["messages"][opening_of(trajectory) :]
        found["messages"] = [compact_message(message) for message in messages]
        found |= {name: trajectory.get(name) for name in ("answer", "ending") if trajectory.get(name) is not None}
    return found
