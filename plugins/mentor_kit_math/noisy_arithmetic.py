"""An arithmetic question as the noisy demonstrator works on it (`mentor_kit_tiny.noisy_demonstrator.NoisyWorld`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mentor_kit_math.number_reading import read_number
from mentor_kit_math.operations import OPERATIONS
from mentor_kit_math.steps import FAVOURITE_MISTAKE, WEAK, Number, Step, arguments, written


@dataclass(frozen=True)
class NoisyArithmetic:
    """A start and operations on the running number."""

    start: Number
    steps: Sequence[Step]
    tools: ClassVar[Sequence[str]] = tuple(OPERATIONS)

    @property
    def guesses(self) -> Sequence[Number]:
        """The numbers of the question."""
        return [self.start, *(operand for step in self.steps for operand in step.operands)]

    def right(self, step: Step) -> str:
        return step.operation

    def favourite(self, step: Step) -> str:
        return FAVOURITE_MISTAKE[step.operation]

    def is_weak(self, step: Step) -> bool:
        return step.operation in WEAK

    def arguments(self, tool: str, value: Number, step: Step) -> dict[str, Any]:
        return arguments(tool, value, step.operands)

    def read(self, result: str) -> Number | None:
        value = read_number(result)
        return None if value is None else int(value) if value == int(value) else value

    def written(self, value: Number) -> str:
        return written(value)
