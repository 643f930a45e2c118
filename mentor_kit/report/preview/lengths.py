"""Measures the lengths of prompts and demonstrations against the limits of the student's episodes."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator

from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.trajectory import TokenTrace
from mentor_kit.report.preview.model import Measured

PROMPT, TURN, TURNS, INSERTED, RESPONSE, WHOLE = (
    "prompt",
    "turn",
    "turns",
    "inserted after a turn",
    "response",
    "prompt and response",
)


class Lengths:
    """Lengths in tokens, and numbers of turns.

    Args:
        limits: of the student's episodes.
        context: the student's context length in tokens; None where it is not known.
    """

    def __init__(self, limits: EpisodeLimits, context: int | None) -> None:
        self._limits: dict[str, int | None] = {
            PROMPT: context,
            TURN: limits.max_turn_tokens,
            TURNS: limits.max_turns,
            INSERTED: None,
            RESPONSE: limits.max_response_tokens,
            WHOLE: context,
        }
        self._found: defaultdict[str, list[int]] = defaultdict(list)

    def prompt(self, tokens: int) -> None:
        """Add a prompt's length."""
        self._found[PROMPT].append(tokens)

    def demonstration(self, trace: TokenTrace) -> list[str]:
        """Add a demonstration's lengths, and return which limits the student would exceed with it, in sentences."""
        runs = [(mask, len(list(run))) for mask, run in itertools.groupby(trace.mask)]
        turns = [length for mask, length in runs if mask]
        lengths = {
            TURN: turns,
            TURNS: [len(turns)],
            INSERTED: [length for mask, length in runs if not mask],
            RESPONSE: [len(trace.ids)],
            WHOLE: [len(trace.prompt_ids) + len(trace.ids)],
        }
        for name, values in lengths.items():
            self._found[name] += values
        return list(self._exceeded(lengths))

    def measured(self) -> tuple[Measured, ...]:
        """All lengths so far against their limits; names without a sample are left out."""
        return tuple(
            Measured(
                name=name,
                limit=limit,
                mean=sum(values) / len(values),
                largest=max(values),
                above=0 if limit is None else sum(value > limit for value in values),
                samples=len(values),
            )
            for name, limit in self._limits.items()
            if (values := self._found[name])
        )

    def _exceeded(self, lengths: dict[str, list[int]]) -> Iterator[str]:
        for name, values in lengths.items():
            limit = self._limits[name]
            if limit is not None and values and max(values) > limit:
                unit = "" if name == TURNS else " tokens"
                yield f"{name}: {max(values)}{unit}, and the student's limit is {limit}"
