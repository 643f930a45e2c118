"""Our sides: sampling, the update, a whole step of GRPO, and a step of the quickstart with its tools."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from shape import Shape
from work import grouped, sampled

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import StudentSpec
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.hooks.objectives import build_objective
from mentor_kit.recipe.settings import parse_settings
from mentor_kit.rl.advantages.estimator import Outcomes
from mentor_kit.rl.objective import ObjectiveSpec

if TYPE_CHECKING:
    from mentor_kit_torch.policy import TorchPolicy


@cache
def policy_of(
    folder: Path, threads: int | None, dtype: str = "float32", device: str = "cpu", **options: Any
) -> TorchPolicy:
    """A policy of the torch backend with these options, loaded once in a process."""
    from mentor_kit_torch.backend import TorchBackend
    from mentor_kit_torch.options import TorchOptions

    chosen = TorchOptions(device=device, dtype=dtype, threads=threads, **options)
    return TorchBackend(chosen).load(StudentSpec(model=str(folder)), seed=0)


class Ours:
    """The student on the torch backend, where and as `placed` says; see `policy_of`."""

    def __init__(self, folder: Path, shape: Shape, threads: int | None, **placed: Any) -> None:
        self.policy = policy_of(folder, threads, **placed)
        self.shape = shape
        self.prompts = shape.prompts(self.policy.info.vocabulary)

    def groups(self, rows: list[TokenCompletion]) -> list[TokenGroup]:
        """Completions with their prompts."""
        return grouped(self.prompts, rows, self.shape.group)


class Sampling(Ours):
    """Greedy tokens of all prompts, each with an ending of its own."""

    def __init__(self, folder: Path, shape: Shape, threads: int | None, **options: Any) -> None:
        super().__init__(folder, shape, threads, **options)
        self.prompts = shape.prompts_apart(self.policy.info.vocabulary)

    def __call__(self) -> dict[str, Any]:
        output = [list(done.ids) for done in sampled(self.policy, self.prompts, self.shape.completion, 0.0)]
        return {"tokens": sum(map(len, output)), "output": output}


class Update(Ours):
    """Gradients of the mean of advantage times log-probability."""

    def __init__(
        self, folder: Path, shape: Shape, threads: int | None, keep: Path | None = None, **options: Any
    ) -> None:
        super().__init__(folder, shape, threads, **options)
        tokens, advantages = shape.completions(self.policy.info.vocabulary)
        ones = np.ones(shape.completion, dtype=np.float32)
        rows = [TokenCompletion(np.array(ids), ones, -ones, a) for ids, a in zip(tokens, advantages, strict=True)]
        self._groups = self.groups(rows)
        self._objective = build_objective(ObjectiveSpec(preset="rloo", aggregation="token"))
        self._keep = keep
        self.policy.prepare(OptimizerSpec(clip=None))

    def __call__(self) -> dict[str, Any]:
        self.policy.model.zero_grad()
        tokens = self.policy.forward_backward(self._groups, self._objective).tokens
        return {"tokens": tokens, **kept_gradients(self.policy.model, self._keep)}


class Step(Ours):
    """Sample, reward, advantages, update."""

    def __init__(self, folder: Path, shape: Shape, threads: int | None, **options: Any) -> None:
        super().__init__(folder, shape, threads, **options)
        self._objective = build_objective(ObjectiveSpec(preset="grpo", kl=0.0))
        self.policy.prepare(OptimizerSpec())

    def __call__(self) -> dict[str, Any]:
        done = sampled(self.policy, self.prompts, self.shape.completion, 1.0)
        rewards = np.array([float(sum(one.ids) % 7) for one in done]).reshape(-1, self.shape.group)
        outcomes = Outcomes(rewards, np.full_like(rewards, self.shape.completion), np.ones_like(rewards))
        ones = np.ones(self.shape.completion, dtype=np.float32)
        rows = [
            TokenCompletion(np.array(one.ids), ones, np.array(one.log_probs, dtype=np.float32), float(a))
            for one, a in zip(done, self._objective.advantages(outcomes).reshape(-1), strict=True)
        ]
        tokens = self.policy.forward_backward(self.groups(rows), self._objective).tokens
        self.policy.optimizer_step(1e-6)
        return {"tokens": tokens}


class ToolStep:
    """Steps of the quickstart with its tools; a turn is three of them, after one to warm up, and counts as one.

    Args:
        problems: of a step.
        group: episodes of a problem.
        turns: the most turns of an episode.
        threads: of torch.
    """

    def __init__(self, problems: int, group: int, turns: int, threads: int) -> None:
        self._overrides = [
            f"rollout.max_turns={turns}",
            f"train.0.problems={problems}",
            f"train.0.group={group}",
            # one update without a bonus, as the peer does it
            "train.0.minibatches=1",
            "train.0.objective.entropy=0",
            # the student stays as it is, so that all turns are alike
            "train.0.optimizer.lr=1e-9",
            f"backend.with={{device: cpu, threads: {threads}}}",
        ]

    def __call__(self) -> dict[str, Any]:
        from mentor_kit import api

        (stage,) = api.bench("quickstart", overrides=parse_settings(self._overrides), steps=3).stages
        return {"seconds": stage.seconds, "tokens": stage.sampled, "split": stage.split}


def kept_gradients(model: Any, file: Path | None) -> dict[str, Any]:
    """The gradients' place, once they are written there."""
    if file is None:
        return {}
    torch.save([parameter.grad for parameter in model.parameters()], file)
    return {"gradients": str(file)}
