"""Makes a run folder with demonstrations, rollouts and an evaluation of `arithmetic`, without running anything."""

from __future__ import annotations

import json
from pathlib import Path

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import CallState, Message, ToolCall, ToolResult, assistant, tool_result, user
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.task import Problem, Task
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.expanding import expanded
from mentor_kit.recipe.yaml_writer import to_yaml
from mentor_kit.rl.reward import Breakdown, Scored, TermScore
from mentor_kit.runs import RecordedProblem, RunFolder


def _problems() -> dict[str, Problem]:
    """The first two training problems of the quickstart, and the first one of its evaluation, by id."""
    registry = default_registry()
    task: Task = registry.build("tasks", ComponentSpec(use="arithmetic"), BuildContext(registry))
    return {problem.id: problem for problem in (*task.problems("train", 0, 2), *task.problems("in-domain", 0, 1))}


PROBLEMS = _problems()
MALFORMED = ToolCall(name="add", state=CallState.MALFORMED, raw='<tool_call>{"name": "add"', error="no JSON")


def solved(
    problem: str, number: int, answer: str, *, right: bool, calls: tuple[ToolCall, ...] | None = None
) -> Trajectory:
    """A trajectory with one call, unless others are given."""
    made = calls or (ToolCall(name="add", arguments={"a": 2, "b": 3}, state=CallState.EXECUTED, raw="<tool_call>…"),)
    work: list[Message] = [assistant(calls=made)]
    work += [tool_result(ToolResult(name=call.name, content="5", truncated=True)) for call in made]
    return Trajectory(
        id=f"{problem}#{number}",
        problem_id=problem,
        agent="student",
        messages=(user(PROBLEMS[problem].question), *work, assistant(rf"\boxed{{{answer}}}")),
        opening=1,
        ending=Ending.ANSWERED,
        answer=answer,
        correct=right,
    )


def scored(trajectory: Trajectory, reward: float) -> Scored:
    term = TermScore(score=reward, value=reward)
    return Scored(trajectory=trajectory, reward=Breakdown(total=reward, terms={"correct": term}))


def recorded_run(root: Path, *, tools: str = "math") -> RunFolder:
    """A run `made`: two demonstrations, two steps of rollouts (the second with a malformed call), an evaluation."""
    registry = default_registry()
    changes = {"train.0.steps": 2, "train.0.problems": 2, "train.0.group": 2, "tools": [{"use": tools}]}
    recipe = to_yaml(expanded(load_checked("quickstart", changes, registry), registry))
    folder = RunFolder.create(root, "made", recipe)
    records = map(RecordedProblem.of, PROBLEMS.values())
    _write(folder.problems, *(record.to_json() for record in records))
    shown = [solved("train-0-0", 0, "5", right=True), solved("train-0-1", 0, "5", right=False)]
    _write(folder.demonstrations, *(Demonstration.of(each, teacher="scripted").to_json() for each in shown))
    steps = {
        1: [
            scored(solved("train-0-0", 0, "5", right=True), 0.7),
            scored(solved("train-0-0", 1, "5", right=True), 0.9),
            scored(solved("train-0-1", 0, "3", right=False), 0.1),
        ],
        2: [
            scored(solved("train-0-0", 2, "6", right=False), 0.1),
            scored(solved("train-0-1", 1, "4", right=False, calls=(MALFORMED,)), 0.0),
        ],
    }
    (folder.rollouts / "0-grpo").mkdir(parents=True)
    for step, rollouts in steps.items():
        _write(folder.rollouts_of("0-grpo", step), *(each.to_json() for each in rollouts))
    folder.evaluation.mkdir()
    name = "0-grpo-000002-in-domain"
    (folder.evaluation / f"{name}.json").write_text(json.dumps({"split": "in-domain", "step": 2}))
    _write(folder.episodes_of(name), scored(solved("in-domain-0", 0, "4", right=True), 1.0).to_json())
    return folder


def _write(path: Path, *lines: str) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
