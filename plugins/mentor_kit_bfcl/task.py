"""The task `bfcl`: a split for every category; the calls are the answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property

from mentor_kit_tools.runner import Runner

from mentor_kit.core.conversation import CallState, Message, assistant
from mentor_kit.core.errors import PluginError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import TRAIN, Problem, Task
from mentor_kit.core.tool import ToolError
from mentor_kit.core.trajectory import Trajectory
from mentor_kit_bfcl import package, problems
from mentor_kit_bfcl.gold import gold_calls, gold_turn
from mentor_kit_bfcl.options import MULTI_TURN, BfclOptions
from mentor_kit_bfcl.verdicts import calls_of_turn, is_right

_REACHED = (CallState.EXECUTED, CallState.FAILED)


class BfclTask(Task):
    """The task `bfcl`: calls are the answers, users have several turns, and gold answers are worked solutions.

    Raises:
        DataError: a category cannot be read.
    """

    calls_are_answers = True

    def __init__(self, options: BfclOptions) -> None:
        # there is nothing to train on: it is a benchmark
        self.splits = (TRAIN, *options.categories)
        self._options = options
        self._problems = {name: problems.read(name, dots=options.dots) for name in options.categories}

    def close(self) -> None:
        """End the worker that judges conversations, if there is one."""
        if "_runner" in self.__dict__:
            self._runner.close()

    def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
        return self._problems.get(split, ())[:count]

    def is_over(self, problem: Problem, dialogue: Sequence[Message]) -> bool:
        return problem.split not in MULTI_TURN

    def next_user(self, problem: Problem, dialogue: Sequence[Message]) -> str | None:
        turns = problem.extra.get("turns") or ()
        user_turns = sum(message.role == "user" for message in dialogue)
        return str(turns[user_turns]) if user_turns < len(turns) else None

    def answer(self, trajectory: Trajectory) -> str | None:
        """The calls as JSON: of the one turn, or turn by turn those that reached the services."""
        if trajectory.problem_id.startswith(MULTI_TURN):
            return json.dumps(_turns(trajectory.messages)) if trajectory.ended else None
        last = trajectory.messages[-1] if trajectory.messages else None
        # there is no turn where the context was too small; a turn before the question is no answer
        return json.dumps(calls_of_turn(last)) if last is not None and last.role == "assistant" else None

    def check(self, answer: str, problem: Problem) -> bool:
        calls: Json = json.loads(answer)
        if problem.split not in MULTI_TURN:
            return is_right(calls, problem, dots=self._options.dots)
        gold = {name: problem.extra[name] for name in ("services", "state", "long")} | {
            "gold": json.loads(problem.answer)
        }
        try:
            return self._runner.call_now("verdict", {"problem": gold, "turns": calls, "id": problem.id}) is True
        except ToolError:
            return False  # calls that take too long, or too much memory

    def solve(self, problem: Problem, dialogue: Sequence[Message]) -> Message:
        if problem.split not in MULTI_TURN:
            return assistant(calls=gold_calls(problem, dots=self._options.dots))
        turn = sum(message.role == "user" for message in dialogue) - 1
        if dialogue[-1].role == "tool":
            return assistant("That is done.")
        calls = gold_turn(problem, turn)
        return assistant(calls=calls) if calls else assistant("I cannot do that yet: something is missing.")

    @cached_property
    def _runner(self) -> Runner:
        try:
            return Runner("mentor_kit_bfcl.services:serve", None, limits=self._options.limits, workers=1)
        except ToolError as error:
            reason = f"task bfcl: bfcl-eval's services cannot be loaded: {error}"
            raise PluginError(reason, hint=package.INSTALL) from None


def _turns(messages: Sequence[Message]) -> list[list[list[dict[str, Json]]]]:
    """For every turn of the user the assistant's turns with calls that reached the services."""
    found: list[list[list[dict[str, Json]]]] = []
    for message in messages:
        if message.role == "user":
            found.append([])
        elif message.role == "assistant":
            reached = [call for call in message.tool_calls if call.state in _REACHED]
            if reached:
                found[-1].append([{"name": call.name, "arguments": call.arguments} for call in reached])
    return found
