"""Comparing mathematics with math-verify, in a worker process with a hard limit from outside.

math-verify's own limit is a signal that works in a program's main thread alone, and does not stop a computation
in C: `9**9**9**9` would hold the trainer. Here the process is killed, and the answer is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from mentor_kit_tools import isolation_missing
from mentor_kit_tools.limits import Limits
from mentor_kit_tools.runner import Runner

from mentor_kit.errors import MissingError, PluginError
from mentor_kit.record import Json
from mentor_kit.tool import ToolError
from mentor_kit_data import missing
from mentor_kit_data.checking import LONGEST

#: Comparisons that are remembered: an answer of a group is often given several times.
_REMEMBERED = 65_536


class MathChecker:
    """A `mentor_kit_data.checking.Checker` with a worker process.

    Args:
        seconds: that a comparison may take.

    Raises:
        MissingError: math-verify is not installed, or this machine cannot isolate processes.
    """

    def __init__(self, seconds: float = 5.0) -> None:
        reason = missing("math_verify", "math") or isolation_missing()
        if reason:
            problem, _, hint = reason.partition("\n")
            raise MissingError(f"answers cannot be checked as mathematics: {problem}", hint=hint)
        limits = Limits(seconds=seconds, cpu_seconds=int(seconds) + 1, memory_mb=2048, output_kb=64, file_mb=0)
        try:
            self._runner = Runner(f"{__name__}:serve", None, limits=limits, workers=1)
        except ToolError as error:
            raise PluginError(f"math-verify cannot be started: {error}") from None
        self._compare = lru_cache(_REMEMBERED)(self._verified)

    def check(self, answer: str, key: str, choices: Sequence[str] = ()) -> bool:
        if not answer.strip() or len(answer) > LONGEST or not _balanced(answer):
            return False
        return answer.strip() == key.strip() or self._compare(answer, key)

    def close(self) -> None:
        """End the worker."""
        self._runner.close()

    def _verified(self, answer: str, key: str) -> bool:
        try:
            return self._runner.call_now("verify", {"answer": answer, "key": key}) is True
        except ToolError:
            return False  # too slow, too large, or no mathematics


def _balanced(text: str) -> bool:
    """Whether every brace that opens is closed, those after a backslash apart: math-verify would guess."""
    depth = 0
    for brace in re.findall(r"\\.|[{}]", text, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace, 0)
        if depth < 0:
            return False
    return depth == 0


def serve(setup: Json) -> Verifier:
    """In the worker: math-verify, loaded."""
    return Verifier()


class Verifier:
    """A `mentor_kit_tools.worker.Program` that compares two texts."""

    catalogue: Json = None

    def __init__(self) -> None:
        import logging

        from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

        logging.disable(logging.CRITICAL)  # it reports every text it cannot parse
        self._parse, self._verify = parse, verify
        self._configuration = [LatexExtractionConfig(), ExprExtractionConfig()]
        self.call("verify", {"answer": "\\frac{1}{2}", "key": "0.5"})  # what it loads on first use

    def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        key, answer = self._read(arguments["key"]), self._read(arguments["answer"])
        return bool(key and answer and self._verify(key, answer, timeout_seconds=None))

    def _read(self, text: str) -> list[Any]:
        # in a box of its own, so that it is taken as a whole; else math-verify takes a text's last number
        parsed: list[Any] = self._parse(
            text if "\\boxed" in text else rf"\boxed{{{text}}}",
            extraction_config=self._configuration,
            parsing_timeout=None,
        )
        return parsed
