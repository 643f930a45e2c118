"""A policy that only remembers what it was asked, a teacher with gaps, and a run that is kept in lists.

The student says one digit; which one follows from the request's seed and the weights' version. The reward is
that digit / 10, and the answer to problem `p7` is 7.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from rollout_fakes import EchoTask, ScriptedEngine, ToyFormat, decode

from mentor_kit.backend.engine_sampler import EngineSampler, Watch
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import PolicyInfo
from mentor_kit.backend.sampling import Sampler, SampleRequest
from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.conversation import CallState, Message, assistant, call, tool_result, user
from mentor_kit.core.conversation import ToolResult as Result
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import Interrupted
from mentor_kit.core.task import IN_DOMAIN, OUT_OF_DOMAIN, TRAIN, Problem
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import Toolbox, ToolSource
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.reward import Reward, Scored, Term, WeightedTerm
from mentor_kit.rl.update_metrics import LossMetrics, StepMetrics
from mentor_kit.rollout import Sampling
from mentor_kit.stages import EvaluationPlan, Experiment, LoadedStudent


class Digits(EchoTask):
    """Problems p0, p1, …; those of other splits are called after them."""

    splits = (TRAIN, IN_DOMAIN, OUT_OF_DOMAIN)

    def __init__(self, count: int = 1000) -> None:
        super().__init__()
        self.count = count

    def problems(self, split: str, seed: int, count: int) -> list[Problem]:
        prefix = "p" if split == TRAIN else f"{split[0]}"
        return [
            Problem(
                id=f"{prefix}{n}", question=f"Q {prefix}{n}", answer=str(n % 10), split=split,
                group="even" if n % 2 == 0 else "odd",
            )
            for n in range(min(count, self.count))
        ]  # fmt: skip


class DigitTerm(Term):
    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        return digit_of(trajectory) / 10


def digit_of(trajectory: Trajectory) -> int:
    return int(trajectory.final_text[:1] or 0)


def spoken(request: SampleRequest, version: int) -> str:
    """What the student says: any digit, with the weights' version mixed in."""
    if request.temperature == 0:
        return str(version % 10)
    return str((request.seed + 7919 * version) % 10)


class RecordingPolicy:
    """Keeps every call; its only weight is its version."""

    def __init__(self, speak: Callable[[SampleRequest, int], str] = spoken) -> None:
        self._engine = ScriptedEngine(lambda request: speak(request, self.version))
        self.version = 0
        self.whole_format = None
        self.faults: dict[str, str] = {}
        self.calls: list[tuple[str, Any]] = []
        self.saved: list[int] = []

    @property
    def info(self) -> PolicyInfo:
        return PolicyInfo(
            model="toy", parameters=1, trainable=1, vocabulary=128, context=1000, device="cpu", dtype="float32",
            backend="fake",
        )  # fmt: skip

    def engine(self) -> ScriptedEngine:
        return self._engine

    def sampler(self, *, deterministic: bool = True, watch: Watch = nullcontext) -> Sampler:
        return EngineSampler(self._engine, deterministic=deterministic, watch=watch)

    def prepare(self, optimizer: OptimizerSpec) -> None:
        self.calls.append(("prepare", optimizer))

    def snapshot_reference(self) -> None:
        self.calls.append(("reference", None))

    def forward_backward(self, groups: Sequence[TokenGroup], objective: Objective) -> LossMetrics:
        self.calls.append(("forward_backward", (list(groups), objective)))
        trained = [completion.mask.sum() for group in groups for completion in group.completions]
        return LossMetrics(loss=0.5, tokens=int(sum(trained)), sequences=len(trained), values={"entropy": 0.25})

    def optimizer_step(self, learning_rate: float) -> StepMetrics:
        self.version += 1
        self._engine.version = self.version
        self.calls.append(("optimizer_step", learning_rate))
        return StepMetrics(gradient_norm=2.0, clipped=True, learning_rate=learning_rate, version=self.version)

    def log_probs(self, groups: Sequence[TokenGroup], *, weights: str = "current") -> list[list[np.ndarray]]:
        self.calls.append(("log_probs", (len(groups), weights)))
        return [[completion.log_probs - 1 for completion in group.completions] for group in groups]

    def export(self, folder: Path, *, format: str = "transformers") -> None:
        (folder / "weights.json").write_text(json.dumps([self.version, format]))

    def export_fault(self, format: str) -> str | None:
        return self.faults.get(format)

    def of(self, kind: str) -> list[Any]:
        return [value for name, value in self.calls if name == kind]


class ListContext:
    """A run in lists. `stop_at`: the user asks to stop during that step."""

    key = "0-stage"

    def __init__(
        self,
        policy: RecordingPolicy,
        *,
        state: Mapping[str, Any] | None = None,
        checkpoint_every: int = 0,
        stop_at: int | None = None,
        is_first: bool = True,
    ) -> None:
        self.policy = policy
        self.state = state
        self.checkpoint_every = checkpoint_every
        self.stop_at = stop_at
        self.is_first = is_first
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.rollouts: dict[int, list[Scored]] = {}
        self.evaluations: dict[str, tuple[dict[str, Any], list[Scored]]] = {}
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.demonstrations: list[Demonstration] = []
        self.problems: dict[str, Problem] = {}
        self.checkpoints: list[tuple[int, dict[str, Any], dict[str, float], int]] = []
        self.files: dict[int, dict[str, str]] = {}
        self.folders: dict[str, Path] = {}
        self.root = Path()

    @property
    def stopping(self) -> bool:
        steps = [values["step"] for kind, values in self.events if kind == "step"]
        return self.stop_at is not None and bool(steps) and steps[-1] >= self.stop_at

    def emit(self, kind: str, **values: Any) -> None:
        json.dumps(values)
        self.events.append((kind, values))

    def progress(self, done: int, total: int, **values: float) -> None:
        self.events.append(("progress", {"done": done, "total": total, **values}))

    def recorded_rollouts(self, step: int) -> Sequence[Scored]:
        return ()

    def forget_recorded_rollouts(self) -> None:
        return

    def write_rollouts(self, step: int, scored: Sequence[Scored]) -> None:
        self.rollouts[step] = list(scored)

    def write_evaluation(
        self, name: str, report: Mapping[str, Any], scored: Sequence[Scored], outcomes: Sequence[Any] = ()
    ) -> None:  # fmt: skip
        assert name not in self.evaluations
        self.rows[name] = json.loads(json.dumps(outcomes))
        self.evaluations[name] = (json.loads(json.dumps(report)), list(scored))

    def write_problems(self, problems: Sequence[Problem]) -> None:
        self.problems |= {problem.id: problem for problem in problems}

    def write_demonstrations(self, demonstrations: Sequence[Demonstration]) -> None:
        self.demonstrations += demonstrations

    def read_demonstrations(self) -> Sequence[Demonstration]:
        return self.demonstrations

    def checkpoint(
        self, step: int, state: Mapping[str, Any], *, metrics: Mapping[str, float] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        if files is not None:
            self.files[step] = dict(files)
        self.checkpoints.append((step, json.loads(json.dumps(state)), dict(metrics or {}), self.policy.version))

    def resumed(self) -> Mapping[str, Any] | None:
        return self.state

    def resumed_file(self, name: str) -> str | None:
        return None if self.state is None else self.files.get(int(self.state["step"]), {}).get(name)

    def check_stop(self) -> None:
        if self.stopping:
            raise Interrupted("stopped")

    def checkpoint_due(self, step: int, steps: int) -> bool:
        return step == steps or self.stopping or (self.checkpoint_every > 0 and step % self.checkpoint_every == 0)

    def write_folder(self, name: str, fill: Callable[[Path], None]) -> Path:
        self.folders[name] = self.root / name
        self.folders[name].mkdir()
        fill(self.folders[name])
        return self.folders[name]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [values for name, values in self.events if name == kind]


class GappyTeacher(Teacher):
    """Shows everything but `silent` ones, and `wrong` ones wrongly; answers in the reverse order."""

    name = "gappy"

    def __init__(self, *, silent: Sequence[str] = (), wrong: Sequence[str] = (), names_only: bool = False) -> None:
        self.silent = silent
        self.wrong = wrong
        self.names_only = names_only
        self.asked: list[list[str]] = []

    async def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        self.asked.append([problem.id for problem in problems])
        for problem in reversed(problems):
            if problem.id in self.silent:
                continue
            shown = demonstration(problem, correct=problem.id not in self.wrong)
            yield shown.model_copy(update={"trajectory": None}) if self.names_only else shown


def demonstration(problem: Problem, *, correct: bool = True, tools: Sequence[str] = ("add",)) -> Demonstration:
    return Demonstration.of(trajectory(problem.id, problem.answer, correct=correct, tools=tools), teacher="gappy")


def trajectory(
    problem_id: str, text: str, *, correct: bool = False, tools: Sequence[str] = (), ending: Ending = Ending.ANSWERED
) -> Trajectory:
    messages: list[Message] = [user(f"Q {problem_id}")]
    for name in tools:
        messages.append(assistant(calls=[call(name).at(CallState.EXECUTED)]))
        messages.append(tool_result(Result(name=name, content="1")))
    return Trajectory(
        id=f"{problem_id}#0", problem_id=problem_id, agent="x", messages=(*messages, assistant(text)), ending=ending,
        answer=text, correct=correct,
    )  # fmt: skip


def experiment(policy: RecordingPolicy | None = None, **changes: Any) -> Experiment:
    add = Tool.declared("add", "Add.", {"type": "object"})
    values: dict[str, Any] = {
        "name": "toy",
        "seed": 3,
        "student": LoadedStudent(policy or RecordingPolicy(), ToyFormat()),  # type: ignore[arg-type]
        "task": Digits(),
        "toolbox": Toolbox([_Declared(add)]),
        "limits": EpisodeLimits(max_turn_tokens=20, max_response_tokens=40),
        "sampling": Sampling(),
        "evaluation": EvaluationPlan(),
        "reward": Reward(terms=(WeightedTerm("digit", DigitTerm(), weight=1.0),)),
    }
    return Experiment(**{**values, **changes})


class _Declared(ToolSource):
    def __init__(self, *tools: Tool) -> None:
        self._tools = tools

    def tools(self, problem: Problem) -> Sequence[Tool]:
        return self._tools

    def open(self, problem: Problem, seed: int) -> Any:
        from contextlib import nullcontext

        return nullcontext()


def question_of(group: TokenGroup) -> str:
    """The problem a group is about, read from its prompt."""
    return decode(list(group.prompt_ids)).removeprefix("Q ")


def texts_of(group: TokenGroup) -> list[str]:
    return [decode(list(completion.ids)) for completion in group.completions]


def plain(value: Any) -> Any:
    """Anything a policy was called with as plain data, so that two runs can be compared."""
    if isinstance(value, TokenGroup):
        return (value.prompt_ids.tolist(), [plain(vars(completion)) for completion in value.completions])
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value
