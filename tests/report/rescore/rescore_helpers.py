"""A run folder made by hand: a recipe of the quickstart's task, rollouts of a few kinds, and what they earned."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mentor_kit.core.conversation import CallState, ToolCall, assistant, user
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks.loader import default_registry
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.expanding import expanded
from mentor_kit.recipe.yaml_writer import to_yaml
from mentor_kit.rl.reward import Breakdown, Scored, TermScore
from mentor_kit.runs import Run, RunFolder

#: What an episode did: (ended, has an answer, right, names of executed calls, names an unknown tool).
Kind = tuple[bool, bool, bool, tuple[str, ...], bool]

SHOWN = ("add", "divide")
KINDS: dict[str, Kind] = {
    "as the teacher": (True, True, True, SHOWN, False),
    "right with other tools": (True, True, True, ("add",), False),
    "wrong with the teacher's tools": (True, True, False, SHOWN, False),
    "wrong": (True, True, False, ("floor",), False),
    "invents a tool": (True, True, False, (), True),
    "no answer": (True, False, False, SHOWN, False),
    "not ended": (False, False, False, ("add",), False),
}


def trajectory(kind: Kind, problem: str, question: str, attempt: int) -> Trajectory:
    """An episode of that kind."""
    ended, answered, right, used, invents = kind
    calls = [ToolCall(name=name, arguments={}, state=CallState.EXECUTED) for name in used]
    calls += [ToolCall(name="conjure", arguments={}, state=CallState.UNKNOWN_TOOL)] if invents else []
    said = assistant("", calls=calls) if calls else assistant("hm")
    return Trajectory(
        id=f"{problem}#{attempt}",
        problem_id=problem,
        agent="student",
        messages=(user(question), said, assistant("\\boxed{1}" if answered else "")),
        opening=1,
        ending=Ending.ANSWERED if ended else Ending.MAX_TURNS,
        answer="1" if answered else None,
        correct=right,
    )


def mentor_by_hand(kind: Kind, factor: float = 1.0) -> Breakdown:
    """The paper's table (arXiv 2510.18383), worked by hand; `factor` is on the teacher's tools."""
    ended, answered, right, used, invents = kind
    if not ended:
        return Breakdown(total=0.0, gate="ended")
    if not answered:
        return Breakdown(total=0.1, gate="answered")
    match = float(set(used) == set(SHOWN))
    terms = {
        "correct": TermScore(score=float(right), value=0.7 * right),
        "tool-match": TermScore(score=match, value=0.3 * (factor if right else factor * 0.2) * match),
        "known-tools": TermScore(score=float(not invents), value=0.1 * (not invents)),
    }
    return Breakdown(total=math.fsum(term.value for term in terms.values()), terms=terms)


def write_run(
    root: Path,
    steps: Sequence[Sequence[Sequence[str]]],
    *,
    overrides: Mapping[str, Any] | None = None,
    factors: Sequence[float] = (),
    steps_then: int | None = None,
    demonstrated: bool = True,
) -> Run:
    """A run whose every step has groups of four rollouts, each of a kind in `KINDS`."""
    registry = default_registry()
    changes = {"train.0.steps": len(steps), "train.0.problems": len(steps[0]), "train.0.group": len(steps[0][0])}
    loaded = load_checked("quickstart", changes | dict(overrides or {}), registry)
    problems = registry.build("tasks", loaded.recipe.task, _context(registry)).problems("train", 0, 64)
    folder = RunFolder.create(root, "made", to_yaml(expanded(loaded, registry)))
    (folder.rollouts / "0-grpo").mkdir(parents=True)
    events, place = [], 0
    for number, groups in enumerate(steps, start=1):
        lines = []
        for group in groups:
            problem = problems[place]
            place += 1
            for attempt, name in enumerate(group):
                reward = mentor_by_hand(KINDS[name], factors[number - 1] if factors else 1.0)
                made = trajectory(KINDS[name], problem.id, problem.question, attempt)
                lines.append(Scored(trajectory=made, reward=reward).to_json())
        folder.rollouts_of("0-grpo", number).write_text("\n".join(lines) + "\n")
        values = {"steps": steps_then or len(steps)}
        events.append({"kind": "step", "time": "t", "stage": "0-grpo", "step": number, "values": values})
    folder.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    shown = [Demonstration(problem_id=problem.id, teacher="scripted", tools_used=SHOWN) for problem in problems]
    folder.demonstrations.write_text("".join(f"{one.to_json()}\n" for one in shown if demonstrated))
    return Run(folder)


def _context(registry: Any) -> Any:
    from mentor_kit.hooks.registry import BuildContext

    return BuildContext(registry=registry)


def lines_of(run: Run) -> list[list[dict[str, Any]]]:
    """The lines of the rollouts' files, a list a step, as plain JSON."""
    files = sorted((run.path / "rollouts" / "0-grpo").glob("*.jsonl"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
