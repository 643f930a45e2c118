"""The token-exact record of one episode, and demonstrations in the same form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mentor_kit.chat.format import ChatFormat
from mentor_kit.core.conversation import Message
from mentor_kit.core.errors import DataError
from mentor_kit.core.tool import Tool
from mentor_kit.core.trajectory import SampledTurn, TokenTrace


class Transcript:
    """A transcript of sampled and inserted tokens; nothing in it is tokenised again.

    Args:
        prompt_ids: the prompt, up to the start of the assistant's turn.
    """

    def __init__(self, prompt_ids: Sequence[int]) -> None:
        self._prompt_length = len(prompt_ids)
        self._ids = list(prompt_ids)
        self._mask: list[int] = []
        self._log_probs: list[float] = []
        self._turns: list[SampledTurn] = []
        self._context: tuple[int, ...] | None = None

    def __copy__(self) -> Transcript:
        """Return a copy that is extended independently."""
        copied = Transcript(())
        copied._prompt_length = self._prompt_length
        copied._ids, copied._mask = list(self._ids), list(self._mask)
        copied._log_probs, copied._turns = list(self._log_probs), list(self._turns)
        return copied

    def sampled(self, ids: Sequence[int], log_probs: Sequence[float], version: int | None = None) -> None:
        """Add what the policy sampled, stop token included, and the version of its weights."""
        if len(ids) != len(log_probs):
            raise ValueError(f"{len(ids)} ids with {len(log_probs)} log-probabilities")
        if version is not None:
            start = len(self._mask)
            self._turns.append(SampledTurn(start=start, end=start + len(ids), version=version))
        self._add(ids, 1, log_probs)

    def inserted(self, ids: Sequence[int]) -> None:
        """Add tokens of other messages and of the template; the policy is not trained on them."""
        self._add(ids, 0, [0.0] * len(ids))

    @property
    def context(self) -> tuple[int, ...]:
        """All ids so far, the prompt included: what the next turn is sampled after."""
        if self._context is None:
            self._context = tuple(self._ids)
        return self._context

    @property
    def response_length(self) -> int:
        """How many ids follow the prompt."""
        return len(self._mask)

    def trace(self, *, temperature: float) -> TokenTrace:
        """Return the transcript as a trajectory's `tokens`.

        Args:
            temperature: at which the log-probabilities were taken.
        """
        return TokenTrace(
            prompt_ids=tuple(self._ids[: self._prompt_length]),
            ids=tuple(self._ids[self._prompt_length :]),
            mask=tuple(self._mask),
            log_probs=tuple(self._log_probs),
            temperature=temperature,
            turns=tuple(self._turns),
        )

    def _add(self, ids: Sequence[int], mask: int, log_probs: Sequence[float]) -> None:
        self._ids.extend(ids)
        self._mask.extend([mask] * len(ids))
        self._log_probs.extend(log_probs)
        self._context = None


def demonstration_tokens(
    format: ChatFormat, messages: Sequence[Message], tools: Mapping[str, Tool], *, opening: int = 0
) -> TokenTrace:
    """Return another agent's dialogue as a transcript, as if the policy had sampled the assistant's turns.

    The mask is 1 on the assistant's turns after the opening messages, stop tokens included; messages after the last
    turn are left out. Log-probabilities are 0, the temperature is 1.

    Args:
        format: the student's.
        messages: the dialogue.
        tools: the dialogue's tools.
        opening: how many messages the problem opened with (`Trajectory.opening`): they are the prompt, as in a rollout.

    Raises:
        DataError: it has no turn of the assistant's.
        ChatError: the template cannot render one of the turns.
    """
    turns = [index for index, message in enumerate(messages) if message.role == "assistant" and index >= opening]
    if not turns:
        raise DataError("a dialogue to imitate has no assistant turn", hint="look at its messages")
    transcript = Transcript(format.open(messages[: turns[0]], tools))
    for before, turn in zip([None, *turns], turns, strict=False):
        if before is not None:
            transcript.inserted(format.bridge(messages[before + 1 : turn], tools=tools))
        ids = format.render_turn(messages[turn], tools)
        transcript.sampled(ids, [0.0] * len(ids))
    return transcript.trace(temperature=1.0)
