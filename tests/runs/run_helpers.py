"""A stand-in student whose whole state is one number, and a stage that trains it."""

from __future__ import annotations

import json
from pathlib import Path

from mentor_kit.core.conversation import assistant, user
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.rl.reward import Breakdown, Scored


class Counter:
    """As much of a policy as saving and restoring needs."""

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def learn(self, step: int) -> None:
        self.value = self.value * 31 + step

    def save(self, folder: Path) -> None:
        (folder / "weights.json").write_text(json.dumps(self.value))

    def restore(self, folder: Path) -> None:
        self.value = json.loads((folder / "weights.json").read_text())


def scored(number: int, *, correct: bool = True) -> Scored:
    trajectory = Trajectory(
        id=f"p{number}#0",
        problem_id=f"p{number}",
        agent="student",
        messages=(user("1+1?"), assistant("\\boxed{2}")),
        ending=Ending.ANSWERED,
        answer="2",
        correct=correct,
    )
    return Scored(trajectory=trajectory, reward=Breakdown(total=float(correct)))


def demonstration(number: int) -> Demonstration:
    return Demonstration(problem_id=f"p{number}", teacher="scripted", tools_used=("add",))
