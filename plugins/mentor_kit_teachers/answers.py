"""The file of paid answers, by content hash: an answered request is never sent again.

An SQLite file: safe against a kill at any moment, shared by several runs at once, and its sums are the ledger.
It has responses and hashes of requests, and never a key.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mentor_kit.core.errors import DataError
from mentor_kit.core.frozen_model import Json

#: Seconds to wait while another run writes.
_PATIENCE = 60.0

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    hash TEXT PRIMARY KEY, teacher TEXT NOT NULL, time REAL NOT NULL, reply TEXT NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cost REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS answered (form TEXT PRIMARY KEY);
"""


@dataclass(frozen=True)
class Usage:
    """Tokens and cost of an answer."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    """In dollars, by the recipe's prices."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens, self.cost + other.cost
        )


@dataclass(frozen=True)
class StoredAnswer:
    """One answer of a server."""

    reply: dict[str, Json]
    """The response's JSON, unchanged."""
    usage: Usage
    fresh: bool
    """Whether this call paid for it."""


class Answers:
    """The file of answers.

    Raises:
        DataError: it cannot be opened, or is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise self._fault(error) from error

    def find(self, key: str) -> StoredAnswer | None:
        """The answer to the request of that hash, if it was ever received."""
        row = self._one("SELECT reply, input_tokens, output_tokens, cost FROM answers WHERE hash = ?", key)
        return None if row is None else StoredAnswer(json.loads(row[0]), Usage(*row[1:]), fresh=False)

    def keep(self, key: str, teacher: str, answer: StoredAnswer) -> None:
        """Store an answer; it survives a kill and a power cut once this returns."""
        usage = answer.usage
        values = (key, teacher, time.time(), json.dumps(answer.reply))
        counts = (usage.input_tokens, usage.output_tokens, usage.cost)
        self._write("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", *values, *counts)

    def has_answered(self, form: str) -> bool:
        """Whether requests of that form (a hash of the teacher and its parameters) were ever answered."""
        return self._one("SELECT 1 FROM answered WHERE form = ?", form) is not None

    def keep_answered(self, form: str) -> None:
        """Record that a request of that form was answered."""
        self._write("INSERT OR IGNORE INTO answered VALUES (?)", form)

    def spent(self, teacher: str) -> Usage:
        """Return the tokens and cost of all answers of a teacher in this file."""
        row = self._one(
            "SELECT COALESCE(SUM(input_tokens), 0), COALESCE(SUM(output_tokens), 0), COALESCE(SUM(cost), 0.0) "
            "FROM answers WHERE teacher = ?",
            teacher,
        )
        return Usage(*row) if row else Usage()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _one(self, statement: str, *values: object) -> tuple[Json, ...] | None:
        try:
            with closing(self._database.execute(statement, values)) as cursor:
                row: tuple[Json, ...] | None = cursor.fetchone()
                return row
        except sqlite3.Error as error:
            raise self._fault(error) from error

    def _write(self, statement: str, *values: object) -> None:
        try:
            self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> DataError:
        return DataError(
            f"{self.path}, the file of a teacher's answers, cannot be used: {error}",
            hint="give another file with `teacher.with.cache`; what is in this one was paid for: do not delete it",
        )


def content_hash(content: Mapping[str, Json]) -> str:
    """Return a hash that is equal for equal content, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def default_file() -> Path:
    """Return the default folder of answers: the user's folder for caches."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mentor-kit" / "teachers.sqlite"
