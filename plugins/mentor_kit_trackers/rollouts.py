"""Rollouts as trackers show them: which of a step's, their messages in OpenAI's form, and the teacher's beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mentor_kit.core.conversation import Message, ToolCall
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rl.reward import Scored
from mentor_kit_trackers.options import RolloutOptions

#: Columns of a table of rollouts.
COLUMNS = ("problem", "rollout", "reward", "correct", "answer", "ending", "advantage", "dialogue", "demonstration")


@dataclass(frozen=True)
class TrackedRollout:
    """A scored trajectory, and a demonstration of its problem."""

    scored: Scored
    demonstration: Demonstration | None = None

    @property
    def demonstrated(self) -> Trajectory | None:
        """The demonstration's trajectory; None where there is none."""
        return None if self.demonstration is None else self.demonstration.trajectory

    def row(self) -> list[Any]:
        """The rollout as a row of a table with `COLUMNS`."""
        trajectory = self.scored.trajectory
        taught = self.demonstrated
        return [
            trajectory.problem_id,
            trajectory.id,
            self.scored.reward.total,
            trajectory.correct,
            trajectory.answer or "",
            str(trajectory.ending),
            self.scored.advantage,
            as_text(trajectory.messages),
            as_text(taught.messages) if taught is not None else "",
        ]


def is_tracked(step: int, options: RolloutOptions) -> bool:
    """Whether the rollouts of a step are tracked: those of the first step, and of every `options.every` steps."""
    return options.every > 0 and (step == 1 or step % options.every == 0)


def chosen(scored: Sequence[Scored], options: RolloutOptions) -> list[Scored]:
    """The rollouts of a step that are tracked: all of its first `options.problems` problems, without tokens."""
    problems = list(dict.fromkeys(item.trajectory.problem_id for item in scored))[: options.problems]
    return [_without_tokens(item) for item in scored if item.trajectory.problem_id in problems]


def chosen_episodes(scored: Sequence[Scored], options: RolloutOptions) -> list[Scored]:
    """The first `options.episodes` episodes of an evaluation, without tokens."""
    return [_without_tokens(item) for item in scored[: options.episodes]]


def openai_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages in the form of OpenAI's chat completions; results are paired with calls in order."""
    return list(_openai(messages))


def as_text(messages: Sequence[Message]) -> str:
    """Messages as lines for people: `role: content`, calls as `role → name(arguments)`."""
    lines = []
    for message in messages:
        if message.reasoning:
            lines.append(f"{message.role} (reasoning): {message.reasoning}")
        if message.content or not message.tool_calls:
            lines.append(f"{message.role}: {message.content}")
        lines += [f"{message.role} → {_written(call)}" for call in message.tool_calls]
    return "\n".join(lines)


def _openai(messages: Sequence[Message]) -> Iterator[dict[str, Any]]:
    waiting: list[str] = []
    number = 0
    for message in messages:
        found: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.reasoning:
            found["reasoning_content"] = message.reasoning
        if message.tool_calls:
            waiting = [f"call_{number + index}" for index in range(len(message.tool_calls))]
            number += len(waiting)
            pairs = zip(waiting, message.tool_calls, strict=True)
            found["tool_calls"] = [
                {"id": name, "type": "function", "function": _function(call)} for name, call in pairs
            ]
        if message.role == "tool":
            found["name"] = message.result.name if message.result is not None else ""
            found["tool_call_id"] = waiting.pop(0) if waiting else ""
        yield found


def _function(call: ToolCall) -> dict[str, str]:
    # of a malformed call all there is may be the string it was read from
    arguments = json.dumps(call.arguments, ensure_ascii=False) if call.arguments or not call.raw else call.raw
    if call.name:
        arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {"name": call.name or str(call.state), "arguments": arguments}


def _written(call: ToolCall) -> str:
    state = "" if not call.error else f"  [{call.state}: {call.error}]"
    if not call.name:
        return f"{call.raw}{state}"
    return f"{call.name}({', '.join(f'{key}={value!r}' for key, value in call.arguments.items())}){state}"


def _without_tokens(item: Scored) -> Scored:
    return item.model_copy(update={"trajectory": item.trajectory.model_copy(update={"tokens": None})})
