"""A stage's training steps so far, with what the recipe says of it; conditions are functions of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from mentor_kit.core.frozen_model import Json


@dataclass
class StageHistory:
    """A stage's steps so far, and what the recipe says of it."""

    key: str
    """Such as `1-grpo`: its place in `train`, and its name."""
    recipe: Mapping[str, Json] = field(default_factory=dict)
    """Expanded; it may be empty, where nothing is known of it."""
    steps: list[dict[str, float]] = field(default_factory=list)
    """The metrics of each step, oldest first."""
    teacher_uses_tools: bool | None = None
    """Whether the teacher's demonstrations have calls; None while no evaluation has compared with it."""

    def last(self, name: str) -> float | None:
        """A metric of the last step."""
        return self.steps[-1].get(name) if self.steps else None

    def above(self, name: str, threshold: float) -> bool:
        """Whether a metric of the last step is known and at least the threshold."""
        value = self.last(name)
        return value is not None and value >= threshold

    def below(self, name: str, threshold: float) -> bool:
        """Whether a metric of the last step is known and at most the threshold."""
        value = self.last(name)
        return value is not None and value <= threshold

    def first(self, name: str, count: int) -> list[float]:
        """A metric of the first steps that have it, at most `count` of them."""
        return list(islice((step[name] for step in self.steps if name in step), count))

    def recent(self, name: str, count: int) -> list[float]:
        """A metric of those of the last `count` steps that have it."""
        return [step[name] for step in self.steps[-count:] if name in step]

    def option(self, name: str) -> str:
        """The setting of an option of the stage, such as `train.0.steps`."""
        return f"train.{self.key.partition('-')[0]}.{name}"

    def value(self, setting: str) -> Json:
        """The recipe's value of a setting; None where it has none."""
        node: Json = self.recipe
        for step in setting.split("."):
            if isinstance(node, Mapping) and step not in node and isinstance(node.get("with"), Mapping):
                node = node["with"]
            if isinstance(node, Mapping):
                node = node.get(step)
            elif (
                isinstance(node, Sequence) and not isinstance(node, str) and step.isdecimal() and int(step) < len(node)
            ):
                node = node[int(step)]
            else:
                return None
        return node

    @property
    def learns_from_reward(self) -> bool:
        """Whether the stage learns from rewards, as far as the recipe says."""
        return bool(self.value(self.option("objective.reward")) != 0)

    @property
    def expects_calls(self) -> bool:
        """Whether the student should call tools: the teacher does, or, where that is not known, there are tools."""
        if self.teacher_uses_tools is not None:
            return self.teacher_uses_tools
        return bool(self.recipe.get("tools")) or any(step.get("calls_per_problem") for step in self.steps)
