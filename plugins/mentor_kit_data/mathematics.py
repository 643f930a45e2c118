"""Compares mathematics: numbers and signs directly, expressions in a worker process with a time limit.

`mentor_kit_data.formulas.equality` decides. An expression whose values take too long to compute ends with
its process, and the answer is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from mentor_kit_tools import isolation_missing
from mentor_kit_tools.limits import Limits
from mentor_kit_tools.runner import Runner

from mentor_kit.core.errors import MissingError, PluginError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import ToolError
from mentor_kit.hooks.references import missing_package
from mentor_kit_data.checking import LONGEST, Checker
from mentor_kit_data.copies import is_copied
from mentor_kit_data.formulas.equality import Undecided, same

#: Size of the cache of comparisons: a group often has one answer several times.
_REMEMBERED = 65_536


class MathChecker(Checker):
    """Compares answers as mathematics, in a worker process.

    Args:
        seconds: that a comparison may take.

    Raises:
        MissingError: mpmath is not installed, or this machine cannot isolate processes.
    """

    def __init__(self, seconds: float = 5.0) -> None:
        reason = missing_package("mpmath", "math") or isolation_missing()
        if reason:
            problem, _, hint = reason.partition("\n")
            raise MissingError(f"answers cannot be checked as mathematics: {problem}", hint=hint)
        limits = Limits(seconds=seconds, cpu_seconds=int(seconds) + 1, memory_mb=2048, output_kb=64, file_mb=0)
        try:
            self._runner = Runner(f"{__name__}:serve", None, limits=limits, workers=1)
        except ToolError as error:
            raise PluginError(f"the process that compares expressions cannot be started: {error}") from None
        self._compare = lru_cache(_REMEMBERED)(self._compared)

    def check(self, answer: str, key: str, choices: Sequence[str] = (), question: str = "") -> bool:
        if not answer.strip() or len(answer) > LONGEST:
            return False
        if answer.strip() == key.strip():
            return True
        return self._compare(answer, key) and not is_copied(answer, key, question)

    def close(self) -> None:
        """End the worker."""
        self._runner.close()

    def _compared(self, answer: str, key: str) -> bool:
        try:
            return same(answer, key)
        except Undecided:
            pass
        try:
            return self._runner.call_now("same", {"answer": answer, "key": key}) is True
        except ToolError:
            return False  # too slow, or too large


def serve(setup: Json) -> Comparer:
    """In the worker: what compares expressions, loaded."""
    return Comparer()


class Comparer:
    """A `mentor_kit_tools.worker.Program` that compares two texts."""

    catalogue: Json = None

    def __init__(self) -> None:
        from mentor_kit_data.formulas.evaluation import Evaluator

        self._evaluator = Evaluator()

    def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        return same(str(arguments["answer"]), str(arguments["key"]), self._evaluator)
