"""What a recipe's stages ask of the student's memory."""

from __future__ import annotations

from collections.abc import Mapping

from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.recipe.model import Recipe
from mentor_kit.stages.workload import Workload


def memory_loads(recipe: Recipe, prompt: int, works: Mapping[str, Workload]) -> list[MemoryLoad]:
    """The loads that the stages put on a policy, one for each optimizer; empty where no stage uses the student.

    Stages run one after the other, each with its own optimizer; sequences, context and reference are the largest of
    all stages.
    """
    users = [work for work in works.values() if work.student]
    if not users:
        return []
    optimizers: list[OptimizerSpec | None] = [work.optimizer or OptimizerSpec() for work in users if work.trains]
    return [
        MemoryLoad(
            # a sampler has keys and values where it samples
            sequences=0 if recipe.sampler is not None else max(_sequences(recipe, work) for work in users),
            context=prompt + max(work.tokens or recipe.rollout.max_response_tokens for work in users),
            train_tokens=0,
            optimizer=optimizer,
            reference=any(work.reference for work in users),
            prompt=prompt,
        )
        for optimizer in dict.fromkeys(optimizers or [None])
    ]


def _sequences(recipe: Recipe, work: Workload) -> int:
    """The sequences that a stage samples at once, in its steps or its evaluations."""
    ahead = 1 + recipe.rollout.staleness if work.ahead else 1
    return max(work.sequences * ahead, recipe.evaluate.sequences if work.evaluates else 0)
