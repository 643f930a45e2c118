"""A run that was killed trains on what it had recorded, as far as that goes, where sampling would not be the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mentor_kit.stages.grpo
from mentor_kit import api
from mentor_kit.core.errors import MentorKitError
from mentor_kit.core.trajectory import Ending, TokenTrace, Trajectory
from mentor_kit.runs.run import Run
from mentor_kit.stages.experiment import Experiment
from mentor_kit.stages.recorded_rollouts import RecordedRollouts

SETTINGS: dict[str, Any] = {
    "train.0.steps": 5,
    "train.0.problems": 2,
    "train.0.group": 2,
    "evaluate": {"at_start": False, "at_end": False, "on": []},
    "checkpoints": {"every": 2, "best": None},
    "rollout.deterministic": False,
}
Sampled = list[int]


@pytest.fixture
def steps_sampled(monkeypatch: pytest.MonkeyPatch) -> Sampled:
    """The steps whose rollouts were sampled."""
    steps: Sampled = []
    real = Experiment.collect_rollouts

    def collect(self: Experiment, problems: Any, rollouts: Any, sampling: Any, *seed: Any, **named: Any) -> Any:
        steps.append(seed[1])
        return real(self, problems, rollouts, sampling, *seed, **named)

    monkeypatch.setattr(Experiment, "collect_rollouts", collect)
    return steps


@pytest.fixture
def killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A run that ended without a word after its fourth update had begun, and before that step's checkpoint."""

    def make(**settings: Any) -> Path:
        with monkeypatch.context() as patch:
            real = mentor_kit.stages.grpo.finish_step

            def finish(experiment: Any, context: Any, step: int, *rest: Any) -> None:
                if step == 4:
                    raise KeyboardInterrupt
                real(experiment, context, step, *rest)

            patch.setattr(mentor_kit.stages.grpo, "finish_step", finish)
            with pytest.raises((KeyboardInterrupt, MentorKitError)):
                api.run("quickstart", overrides=SETTINGS | settings, output=tmp_path)
        (folder,) = (tmp_path / "quickstart").glob("2*")
        return folder

    return make


def trajectory(problem: str, tokens: bool = True) -> Trajectory:
    trace = TokenTrace(prompt_ids=(1,), ids=(2,), mask=(1,), log_probs=(-1.0,), temperature=1.0) if tokens else None
    return Trajectory(id=problem, problem_id=problem, agent="s", messages=(), ending=Ending.ANSWERED, tokens=trace)


class Recorded:
    """A context that has recorded steps, of problems by their names."""

    def __init__(self, steps: dict[int, str]) -> None:
        self.steps, self.forgotten = steps, False

    def recorded_rollouts(self, step: int) -> list[Any]:
        return [SimpleNamespace(trajectory=trajectory(name)) for name in self.steps.get(step, "")]

    def forget_recorded_rollouts(self) -> None:
        self.forgotten = True


class Sampling:
    """Samples groups of two; its problems are the letters, in order."""

    group = 2

    def __init__(self) -> None:
        self.stream, self.left, self.sampled = self, iter("abcdefgh"), Sampled()

    def take(self, count: int, *place: int) -> Any:
        problems = [SimpleNamespace(id=next(self.left)) for _ in range(count)]
        return (problems, self.collect(problems, *place)) if place else problems

    def collect(self, problems: Any, step: int, round: int) -> list[Trajectory]:
        self.sampled.append(step)
        return [trajectory(problem.id) for problem in problems for _ in range(2)]


@pytest.mark.parametrize(
    ("recorded", "sampled"),
    [
        ({1: "aabb", 2: "ccdd"}, [3]),
        ({}, [1, 2, 3]),
        ({2: "ccdd"}, [1, 2, 3]),
        ({1: "aabb", 3: "eeff"}, [2, 3]),
        ({1: "aab"}, [1, 2, 3]),
        ({1: "aabb", 2: "ccxx", 3: "eeff"}, [2, 3]),
    ],
)
def test_steps_are_taken_from_the_record_until_one_is_not_whole(recorded: dict[int, str], sampled: Sampled) -> None:
    context, sampling = Recorded(recorded), Sampling()
    source = RecordedRollouts(sampling, context)  # type: ignore[arg-type]
    found = [source.take(2, step, 0) for step in (1, 2, 3)]
    assert ["".join(problem.id for problem in problems) for problems, _ in found] == ["ab", "cd", "ef"]
    assert ["".join(one.problem_id for one in taken) for _, taken in found] == ["aabb", "ccdd", "eeff"]
    assert (sampling.sampled, context.forgotten) == (sampled, True)


def test_rounds_of_a_step_are_taken_one_after_another() -> None:
    sampling = Sampling()
    source = RecordedRollouts(sampling, Recorded({1: "aabbcc"}))  # type: ignore[arg-type]
    assert [len(source.take(count, 1, number)[1]) for number, count in enumerate((2, 1, 1))] == [4, 2, 2]
    assert sampling.sampled == [1]


def rollouts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "rollouts" / "0-grpo").glob("step-*"))}


@pytest.mark.slow
def test_recorded_steps_are_trained_on_again_and_the_next_one_is_sampled(
    killed: Callable[..., Path], steps_sampled: Sampled
) -> None:
    folder = killed()
    before = rollouts(folder)
    assert list(before) == [f"step-{step:06d}.jsonl" for step in (1, 2, 3, 4)]
    steps_sampled.clear()
    run = api.resume(folder)
    after = rollouts(folder)
    assert steps_sampled == [5]
    assert {name: after[name] for name in before} == before
    assert list(run.metrics["replayed"].fillna(0)) == [0, 0, 1, 1, 0]
    assert not list((folder / "rollouts").rglob(".recorded/*"))


@pytest.mark.slow
def test_what_follows_a_step_that_is_not_recorded_is_sampled(
    killed: Callable[..., Path], steps_sampled: Sampled
) -> None:
    folder = killed()
    (folder / "rollouts" / "0-grpo" / "step-000003.jsonl").unlink()
    steps_sampled.clear()
    api.resume(folder)
    assert steps_sampled == [3, 4, 5]
    assert not (folder / "rollouts" / "0-grpo" / ".recorded").exists()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"record.tokens": False}, {"rollout.deterministic": True}])
def test_sampled_again_are_rollouts_without_tokens_and_those_that_are_the_same_in_every_run(
    killed: Callable[..., Path], steps_sampled: Sampled, settings: dict[str, Any]
) -> None:
    folder = killed(**settings)
    steps_sampled.clear()
    run = api.resume(folder)
    assert steps_sampled == [3, 4, 5]
    assert Run(run.folder).metrics["step"].max() == 5
    assert not (folder / "rollouts" / "0-grpo" / ".recorded").exists()
