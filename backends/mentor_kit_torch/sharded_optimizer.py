"""AdamW over the parts of parameters that one process holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.errors import BackendError
from mentor_kit_torch.optimizer import TorchOptimizer, fresh_state
from mentor_kit_torch.sharding import local


class ShardedOptimizer(TorchOptimizer):
    """Steps the parts in place; each element as it would be stepped in one process.

    Raises:
        BackendError: of an optimizer that needs whole matrices, or blocks of them.
    """

    #: Names of what AdamW keeps of each element.
    MOMENTS: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")

    def __init__(self, parameters: Mapping[str, DTensor], spec: OptimizerSpec) -> None:
        if spec.use != "adamw":
            raise BackendError(
                f"{spec.use} needs whole matrices, and each process holds a part of them",
                hint="use adamw, or leave `backend.shard` out",
            )
        if spec.bits != 32:
            raise BackendError(
                f"moments of {spec.bits} bits are in blocks of whole parameters, and each process holds a part of them",
                hint="leave the optimizer's `bits` out, or `backend.shard`",
            )
        self.spec = spec
        self._sharded = dict(parameters)
        self._parameters = [(name, nn.Parameter(local(value))) for name, value in parameters.items()]
        self._masters = [parameter for _, parameter in self._parameters]
        self._optimizers = self._make(set())
        self._hooks = []
        self.clear()

    def step(self, learning_rate: float) -> tuple[float, bool]:
        for (_, parameter), whole in zip(self._parameters, self._sharded.values(), strict=True):
            parameter.grad = None if whole.grad is None else local(whole.grad)
        norm = self._norm()
        return self._step(learning_rate, norm, torch.tensor(norm))

    def clear(self) -> None:
        super().clear()
        for whole in self._sharded.values():
            whole.grad = None

    def held_gradients(self) -> dict[str, DTensor]:
        """Copies of the gradients that are held, by parameter."""
        return {name: whole.grad.detach().clone() for name, whole in self._sharded.items() if whole.grad is not None}

    def put_held(self, gradients: Mapping[str, DTensor]) -> None:
        """Replace the gradients that are held; parameters without one here have none."""
        for name, whole in self._sharded.items():
            held = gradients.get(name)
            # a copy again, as it is added to
            whole.grad = None if held is None else held.clone()

    def save(self, folder: Path) -> None:
        raise NotImplementedError  # the policy saves the whole

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """What is kept of each parameter here, by kind: moments, and the numbers of steps."""
        (optimizer,) = self._optimizers
        found: dict[str, dict[str, Tensor]] = {}
        for name, parameter in self._parameters:
            for kind, value in (optimizer.state[parameter] or fresh_state(optimizer, parameter)).items():
                found.setdefault(kind, {})[name] = value
        return found

    def load_parts(self, moments: Mapping[str, Mapping[str, Tensor]], steps: Mapping[str, Tensor]) -> None:
        """Load what `parts` gave, here or elsewhere."""
        (optimizer,) = self._optimizers
        for name, parameter in self._parameters:
            fresh = fresh_state(optimizer, parameter)
            optimizer.state[parameter] = {"step": steps[name].to(fresh["step"].device)} | {
                kind: moments[kind][name] for kind in self.MOMENTS
            }

    def whole_state(self, whole: Mapping[str, Mapping[str, Tensor]], masters: Mapping[str, Tensor]) -> dict[str, Any]:
        """As `TorchOptimizer.state`, of whole tensors by kind and name.

        Args:
            whole: moments and steps.
            masters: weights in float32, where the checkpoint's have fewer bits; else empty.
        """
        (optimizer,) = self._optimizers
        kinds = ("step", *self.MOMENTS)
        names = [name for name, _ in self._parameters]
        state = {place: {kind: whole[kind][name] for kind in kinds} for place, name in enumerate(names)}
        groups = optimizer.state_dict()["param_groups"]
        return {
            "optimizers": [{"state": state, "param_groups": groups}],
            "masters": [masters.get(name) for name in names],
        }

    def _norm(self) -> float:
        squares = [m.grad.square().sum(dtype=torch.float64) for m in self._masters if m.grad is not None]
        total = torch.stack(squares).sum() if squares else torch.zeros((), dtype=torch.float64)
        dist.all_reduce(total)
        return float(total.sqrt())


def state_arrays(state: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """The state that `TorchOptimizer.save` wrote, by kind and name; `masters` are weights in float32.

    Raises:
        KeyError, IndexError: it is of another optimizer.
    """
    found: dict[str, dict[str, Tensor]] = {"step": {}, "exp_avg": {}, "exp_avg_sq": {}}
    for place, kept in state["optimizers"][0]["state"].items():
        for kind in found:
            found[kind][names[place]] = kept[kind]
    masters = zip(names, state["masters"], strict=True)
    return found | {"masters": {name: value for name, value in masters if value is not None}}
