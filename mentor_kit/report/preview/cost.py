"""Estimates what it costs to collect the demonstrations of a recipe, in tokens, dollars and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mentor_kit.core.teacher import Teacher
from mentor_kit.report.preview.model import CollectionCost
from mentor_kit.stages.workload import Workload

#: An episode that no demonstration was measured for: this many turns, each of so many tokens and with such a result.
ASSUMED_TURNS, ASSUMED_TURN_TOKENS, ASSUMED_RESULT_TOKENS = 3, 120, 40
#: Tokens that a server writes a second for one request.
TOKENS_PER_SECOND = 50.0
#: Seconds until a server's first token.
LATENCY = 1.0


@dataclass(frozen=True)
class EpisodeTokens:
    """The tokens of a teacher's episode, as a server counts them: each turn is a request with all that precedes it."""

    requests: int
    input_tokens: int
    output_tokens: int

    @staticmethod
    def of_spans(prompt: int, spans: Sequence[tuple[int, bool]]) -> EpisodeTokens:
        """The tokens of a known episode.

        Args:
            prompt: tokens of the prompt.
            spans: numbers of consecutive tokens after it, and whether the assistant wrote them.
        """
        before, requests, sent, received = prompt, 0, 0, 0
        for tokens, written in spans:
            if written:
                requests, sent, received = requests + 1, sent + before, received + tokens
            before += tokens
        return EpisodeTokens(requests, sent, received)

    @staticmethod
    def assumed(prompt: int) -> EpisodeTokens:
        """The tokens of an episode that nobody has seen yet."""
        turn = [(ASSUMED_TURN_TOKENS, True), (ASSUMED_RESULT_TOKENS, False)]
        return EpisodeTokens.of_spans(prompt, turn * ASSUMED_TURNS)


@dataclass(frozen=True)
class Rates:
    """Prices and speed that a person gives for the estimate."""

    price_in: float | None = None
    """Dollars per million tokens sent; the teacher's own if left out."""
    price_out: float | None = None
    """Dollars per million tokens received; the teacher's own if left out."""
    tokens_per_second: float = TOKENS_PER_SECOND

    def dollars(self, teacher: Teacher, sent: int, received: int) -> float | None:
        """The price of tokens; None where neither the person nor the teacher knows prices."""
        if self.price_in is None and self.price_out is None:
            return teacher.cost(sent, received)
        return _dollars(self.price_in, sent, teacher.cost(sent, 0)) + _dollars(
            self.price_out, received, teacher.cost(0, received)
        )


def _dollars(price: float | None, tokens: int, own: float | None) -> float:
    """Tokens at a price per million, or at the teacher's own; nothing where neither is known."""
    return (own or 0.0) if price is None else price * tokens / 1e6


def problems_to_demonstrate(works: Mapping[str, Workload]) -> int:
    """How many problems need demonstrations at most: those of the stage that needs most, as others use them again.

    A stage needs them to imitate, or for its reward.
    """
    needed = (work.problems * (work.steps or 1) for work in works.values() if work.demonstrations or work.reward)
    return max(needed, default=0)


def collection_cost(
    teacher: Teacher, problems: int, episodes: Sequence[EpisodeTokens], *, rates: Rates, measured: bool
) -> CollectionCost:
    """The cost of one episode for each problem.

    Args:
        teacher: who is asked.
        problems: how many problems need a demonstration.
        episodes: the sample that the mean is taken over; not empty.
        rates: prices and speed.
        measured: whether the episodes were seen, rather than assumed.
    """
    per_problem = problems / len(episodes)
    requests, sent, received = (
        round(per_problem * sum(counts))
        for counts in zip(*((e.requests, e.input_tokens, e.output_tokens) for e in episodes), strict=True)
    )
    at_once = max(1, min(teacher.concurrency, problems or 1))
    seconds = (requests * LATENCY + received / rates.tokens_per_second) / at_once
    return CollectionCost(
        problems=problems,
        requests=requests,
        input_tokens=sent,
        output_tokens=received,
        dollars=rates.dollars(teacher, sent, received),
        seconds=round(seconds, 1),
        assumptions=tuple(_assumptions(len(episodes), rates, at_once, measured)),
    )


def _assumptions(sample: int, rates: Rates, at_once: int, measured: bool) -> list[str]:
    episode = (
        f"an episode is the mean of {sample} seen here"
        if measured
        else f"an episode has {ASSUMED_TURNS} turns of {ASSUMED_TURN_TOKENS} tokens, with results of "
        f"{ASSUMED_RESULT_TOKENS}; --ask measures it"
    )
    return [
        episode,
        "every problem takes one attempt; nothing is found in the file of answers or in a server's cache",
        "tokens are counted by the student's tokenizer",
        f"{at_once} requests at once, {rates.tokens_per_second:g} tokens a second for each, "
        f"{LATENCY:g} s until the first token",
    ]
