"""Training in float64, a sequence at a time, by transformers' autograd and optimizers written out in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_students import Float64Twin

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.rl.losses.loss import LossBatch
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.policy_loss import policy_loss
from mentor_kit.testing.optimizers import adamw, muon


class Float64Trainer:
    """A `mentor_kit.testing.training.Trainer`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(
        self, groups: Sequence[TokenGroup], objective: Objective, spec: OptimizerSpec, rates: Sequence[float]
    ) -> np.ndarray:
        model = Float64Twin(self._folder).model
        parameters = dict(model.named_parameters())
        steps = {
            name: muon(spec) if spec.use == "muon" and value.ndim == 2 and "layers" in name else adamw(spec)
            for name, value in parameters.items()
        }
        for rate in rates:
            gradients = self._gradients(model, groups, objective)
            norm = np.sqrt(sum(float((value**2).sum()) for value in gradients.values()))
            factor = 1.0 if spec.clip is None else min(1.0, spec.clip / norm)
            for name, value in parameters.items():
                new = steps[name](value.detach().numpy().copy(), gradients[name] * factor, rate)
                value.data = torch.from_numpy(np.ascontiguousarray(new))
        with torch.no_grad():
            return np.concatenate([row_log_probs(model, g, c).numpy() for g in groups for c in g.completions])

    def _gradients(self, model: Any, groups: Sequence[TokenGroup], objective: Objective) -> dict[str, np.ndarray]:
        rows = [(group, completion) for group in groups for completion in group.completions]
        weights = objective.token_weights([completion.mask for _, completion in rows])
        model.zero_grad()
        for (group, completion), weight in zip(rows, weights, strict=True):
            if not completion.mask.any():
                continue

            def row(values: Any) -> torch.Tensor:
                return torch.tensor(np.asarray(values, dtype=np.float64)).unsqueeze(0)

            mask = completion.mask
            batch = LossBatch(
                log_probs=row_log_probs(model, group, completion).unsqueeze(0),
                sampled=row(completion.log_probs),
                advantages=row(np.broadcast_to(completion.advantage, mask.shape)),
                mask=row(mask),
                weights=row(weight),
            )
            policy_loss(torch, objective, batch).loss.backward()
        return {name: value.grad.numpy().copy() for name, value in model.named_parameters()}


def row_log_probs(model: Any, group: TokenGroup, completion: Any) -> torch.Tensor:
    """A completion's log-probabilities by one forward pass of its own, with gradients."""
    if not len(completion.ids):
        return torch.zeros(0, dtype=torch.float64)
    ids = torch.tensor([[*group.prompt_ids, *completion.ids]])
    logits = model(input_ids=ids, use_cache=False).logits[0, len(group.prompt_ids) - 1 : -1]
    values = torch.log_softmax(logits / group.temperature, dim=-1)
    chosen = values.gather(-1, torch.tensor(completion.ids).unsqueeze(-1)).squeeze(-1)
    return chosen * torch.tensor(completion.mask, dtype=torch.float64)
