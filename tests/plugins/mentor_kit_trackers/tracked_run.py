"""A tracked run of a stage that trains a number: `python tracked_run.py REQUEST`, JSON with the fields of `Request`.

It is a process of its own, so that it can be killed. Steps and evaluations have other values in each process, as
measured times do; which of them the run keeps is in its `events.jsonl`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mentor_kit_trackers import register_trackers
from mentor_kit_trackers.options import TrackerOptions
from mentor_kit_trackers.tracker import WorkerTracker

from mentor_kit.core.conversation import CallState, ToolCall, ToolResult, assistant, tool_result, user
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks.tracker import Tracker
from mentor_kit.rl.reward import Breakdown, Scored, TermScore
from mentor_kit.runs import EventDispatcher, RecordOptions, RunContext, RunFolder, RunRecorder

STAGE = "0-grpo"
RECIPE = {"name": "quick", "seed": 0, "train": [{"use": "grpo", "with": {"steps": 4}}]}
#: What goes wrong at step 3.
DIAGNOSIS = {"name": "equal-rewards", "text": "No reward differs.", "advice": "Raise the temperature."}


@dataclass(frozen=True)
class Request:
    """What is run."""

    folder: str
    """The run folder; resumed if there is a checkpoint in it."""
    tracker: str
    """A tracker's name, or a writer's class as `module:class`."""
    options: dict[str, Any] = field(default_factory=dict)
    steps: int = 4
    kill_after: int | None = None
    """The step after which the process kills itself."""
    seconds: float = 0.0
    """Of each step."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class Number:
    """As much of a policy as saving and restoring needs."""

    def save(self, folder: Path) -> None:
        (folder / "weights.json").write_text("1")

    def restore(self, folder: Path) -> None:
        pass


def tracker(name: str, options: dict[str, Any], files: str = "fake") -> Tracker:
    """A tracker of the plugin by its name, or one with another writer and its files' name."""
    if ":" in name:
        return WorkerTracker(files, name, TrackerOptions.model_validate(options))
    found: dict[str, Any] = {}
    register_trackers(lambda name, **component: found.update({name: component}))
    made: Tracker = found[name]["build"](found[name]["options"].model_validate(options), None)
    return made


def trajectory(problem: str, number: int, agent: str = "student") -> Trajectory:
    """A trajectory with a call, its result and an answer."""
    call = ToolCall(name="add", arguments={"a": 1, "b": number}, state=CallState.EXECUTED)
    result = tool_result(ToolResult(name="add", content=str(1 + number)))
    messages = (user(f"1 + {number}?"), assistant(calls=[call]), result, assistant(f"\\boxed{{{1 + number}}}"))
    return Trajectory(
        id=f"{problem}#{number}",
        problem_id=problem,
        agent=agent,
        messages=messages,
        opening=1,
        ending=Ending.ANSWERED,
        answer=str(1 + number),
        correct=number % 2 == 0,
    )


def scored(problem: str, number: int) -> Scored:
    """A trajectory with its reward."""
    terms = {"correct": TermScore(score=0.5, value=0.25)}
    return Scored(trajectory=trajectory(problem, number), reward=Breakdown(total=0.25, terms=terms), advantage=0.5)


def run(request: Request, *trackers: Tracker) -> RunFolder:
    """Run the steps, with an evaluation and a checkpoint after every second one."""
    folder = RunFolder(Path(request.folder))
    with RunRecorder(folder, RecordOptions(checkpoint_every=2), EventDispatcher(trackers)) as recorder:
        checkpoint = recorder.start(Number(), RECIPE, [STAGE])  # type: ignore[arg-type]
        context = RunContext(recorder, STAGE, is_first=True)
        begin = 0 if checkpoint is None else checkpoint.step
        if begin == 0:
            taught = [Demonstration.of(trajectory(f"p{n}", 0, "teacher"), teacher="scripted") for n in range(3)]
            context.write_demonstrations(taught)
            evaluate(context, 0)
        for step in range(begin + 1, request.steps + 1):
            time.sleep(request.seconds)
            context.write_rollouts(step, [scored(f"p{step % 3}", number) for number in range(2)])
            context.emit("step", step=step, steps=request.steps, **values(step))
            if step == 3:
                context.emit("diagnosis", step=step, **DIAGNOSIS)
            if step == request.kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
            if step % 2 == 0:
                evaluate(context, step)
                context.checkpoint(step, {"step": step})
    return folder


def values(step: int) -> dict[str, Any]:
    """Metrics of a step, among them those that are no numbers, and one that no two processes have alike."""
    return {
        "reward": step / 8,
        "reward/correct": step / 16,
        "clipped": step > 2,
        "loss": float("nan"),
        "seconds": noise(),
    }


def evaluate(context: RunContext, step: int) -> None:
    """An evaluation at a step."""
    report = {
        "step": step,
        "stage": STAGE,
        "plan": "in-domain",
        "greedy": {"accuracy": step / 4, "low": 0.0, "high": noise()},
    }
    report["groups"] = {"easy": {"greedy": {"accuracy": 1.0}}}
    context.write_evaluation(f"{STAGE}-{step:06d}-in-domain", report, [scored("p1", number) for number in range(3)])
    context.emit("evaluation", **report)


def noise() -> float:
    """A number in [0, 1) that differs between processes and calls."""
    return time.time_ns() % 1_000_003 / 1_000_003


if __name__ == "__main__":
    asked = Request(**json.loads(sys.argv[1]))
    run(asked, tracker(asked.tracker, asked.options))
