"""Trajectories, demonstrations and terms for tests, in few words."""

from __future__ import annotations

from collections.abc import Sequence

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import CallState, Message, ToolCall, assistant, user
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks import BuildContext, default_registry
from mentor_kit.recipe.assembly import tool_source
from mentor_kit.rl.reward import Term

PROBLEM = Problem(id="p", question="What is 2 + 3?", answer="5")
REGISTRY = default_registry()
CONTEXT = BuildContext(
    REGISTRY,
    toolbox=Toolbox([tool_source(REGISTRY.build("tools", ComponentSpec(use="math"), BuildContext(REGISTRY)), "math")]),
)


def term(name: str, **options: Json) -> Term:
    built: Term = REGISTRY.build("reward_terms", ComponentSpec(use=name, options=options), CONTEXT)
    return built


def ran(name: str, **arguments: Json) -> ToolCall:
    return ToolCall(name=name, arguments=arguments, state=CallState.EXECUTED)


def did(
    *calls: ToolCall | str, words: str = "done", right: bool = True, ending: Ending = Ending.ANSWERED
) -> Trajectory:
    """An episode with one turn a call (a name alone is an executed one), and a last turn."""
    made = [call if isinstance(call, ToolCall) else ran(call) for call in calls]
    return spoke(*(assistant(calls=[call]) for call in made), assistant(words), right=right, ending=ending)


def spoke(*turns: Message, right: bool = True, ending: Ending = Ending.ANSWERED) -> Trajectory:
    """An episode with these turns."""
    ended = ending is Ending.ANSWERED
    return Trajectory(
        id="t",
        problem_id="p",
        agent="student",
        messages=(user(PROBLEM.question), *turns),
        ending=ending,
        answer=("5" if right else "6") if ended else None,
        correct=right and ended,
    )


def showed(*calls: ToolCall | str, right: bool = True) -> Demonstration:
    """A teacher's episode."""
    return Demonstration.of(did(*calls, right=right), teacher="t")


def score(name: str, trajectory: Trajectory, shown: Sequence[Demonstration] = (), **options: Json) -> float:
    return term(name, **options).score(trajectory, PROBLEM, shown)
