"""The words in which a chat shows calls, results, scores and tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from mentor_kit.api.chat_events import AnswerEnded, Judged, SampledToken
from mentor_kit.core.conversation import CallState, Message, ToolCall, ToolResult
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.trajectory import Ending

#: Why an answer has no end of its own, by its ending.
_ENDINGS = {
    "stopped": "stopped; the question is taken back (/retry asks it again)",
    Ending.MAX_TURNS: "no turns left for this question; ask on, or raise rollout.max_turns",
    Ending.LENGTH: "the turn was cut off at its limit of tokens (rollout.max_turn_tokens)",
    Ending.CONTEXT_FULL: "the question does not fit into the model's context and is taken back; /new begins afresh",
    Ending.REFUSED: "the server refuses this dialogue, and the question is taken back",
}
#: From this share of the context on, how full it is stands behind each answer.
_FULL = 0.5


@dataclass(frozen=True)
class Piece:
    """A string with a style of rich."""

    text: str
    style: str = ""


def printable(text: str) -> str:
    """The text without control characters, which could steer the terminal: each becomes a visible escape."""
    return "".join(
        character if character in "\n\t" or character.isprintable() else ascii(character)[1:-1] for character in text
    )


def call_line(call: ToolCall) -> list[Piece]:
    """A call as code: `add(a=1, b=2)`."""
    arguments = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in call.arguments.items())
    written = f"{call.name}({arguments})" if call.name else call.raw or "a call"
    return [Piece("  "), Piece(printable(written), "cyan")]


def result_line(call: ToolCall, result: ToolResult) -> list[Piece]:
    """A result, with the call's state where it is not executed."""
    if call.state is CallState.EXECUTED:
        return [Piece(" → "), Piece(printable(result.content), "green")]
    state = call.state.value.replace("_", " ")
    return [Piece(f" ✗ {state}: ", "red"), Piece(printable(result.content.removeprefix("error: ")), "red")]


def ending_line(event: AnswerEnded) -> str:
    """What there is to say about how an answer ended; empty for one that simply ended."""
    line = _ENDINGS.get(event.ending, "")
    if event.reason:
        line = f"{line}: {printable(event.reason)}" if line else printable(event.reason)
    if event.ending == Ending.CONTEXT_FULL and event.tokens is not None:
        return f"({line}; the dialogue has {event.tokens} of {event.context} tokens)"
    if event.tokens is not None and event.context and event.tokens > _FULL * event.context:
        line = "; ".join(filter(None, (line, f"the dialogue has {event.tokens} of {event.context} tokens")))
    return f"({line})" if line else ""


def score_pieces(event: Judged) -> list[Piece]:
    """The verdict, and the reward by gate and term."""
    verdict = Piece("right", "green") if event.correct else Piece("wrong", "red")
    answer = "no answer" if event.answer is None else printable(event.answer)
    found = [verdict, Piece(f": {answer}   key: {printable(event.key)}\n")]
    if event.ending != Ending.ANSWERED:
        found.append(Piece(f"not ended: {event.ending}{f', {event.reason}' if event.reason else ''}\n", "yellow"))
    found.append(Piece(f"tools: {', '.join(event.tools_used) or 'none'}\n"))
    if event.reward is None:
        return [*found, Piece("no reward: the teacher has not solved this problem, or the recipe has none\n", "dim")]
    found.append(Piece(f"reward {event.reward.total:.3f}\n", "bold"))
    if event.reward.gate:
        found.append(Piece(f"  gate {event.reward.gate} was not passed\n", "yellow"))
    width = max(map(len, event.reward.terms), default=0)
    found += [
        Piece(f"  {name:{width}}  {term.score:.2f} → {term.value:+.3f}\n") for name, term in event.reward.terms.items()
    ]
    return found


def demonstration_pieces(demonstration: Demonstration | None) -> list[Piece]:
    """The teacher's calls, results and answer."""
    if demonstration is None:
        return [Piece("there is none", "dim")]
    if demonstration.trajectory is None:
        return [Piece(f"tools: {', '.join(demonstration.tools_used) or 'none'} (no dialogue was recorded)")]
    found = [] if demonstration.correct else [Piece("wrong\n", "red")]
    messages = demonstration.trajectory.episode
    results = iter([message.result for message in messages if message.result is not None])
    for message in messages:
        if message.role == "assistant":
            found += _turn(message)
            for call in message.tool_calls:
                result = next(results, None)
                found += [*call_line(call), *(result_line(call, result) if result is not None else []), Piece("\n")]
    return found


def _turn(message: Message) -> list[Piece]:
    found = []
    if message.reasoning:
        found.append(Piece(printable(message.reasoning) + "\n", "dim italic"))
    if message.content:
        found.append(Piece(printable(message.content) + "\n"))
    return found


def token_pieces(tokens: Sequence[SampledToken]) -> list[Piece]:
    """Tokens, one a line: id, probability, string."""
    return [Piece("".join(f"{token.id:>8}  {token.log_prob:8.3f}  {json.dumps(token.text)}\n" for token in tokens))]
