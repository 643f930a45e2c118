"""AdamW and Muon over a policy's trainable parameters, in float32 whatever the model's own type is.

AdamW's moments may have 8 bits (`mentor_kit_torch.eight_bits`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from mentor_kit.backend.optimizer import Optimizer, OptimizerSpec, exceeds
from mentor_kit.core.errors import BackendError
from mentor_kit_torch.muon import MatrixOptimizer
from mentor_kit_torch.quantized import require_bitsandbytes

FILE = "optimizer.pt"
#: What optimizers keep of each parameter, in float32; one that is not here keeps it in a way of its own.
_STATE: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    MatrixOptimizer: ("momentum_buffer",),
}
MASTER = "master"


class TorchOptimizer(Optimizer):
    """Keeps float32 masters of 16-bit parameters, so that updates smaller than their precision are not lost."""

    def __init__(self, model: nn.Module, spec: OptimizerSpec) -> None:
        self.spec = spec
        self._parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self._masters = [_master(parameter) for _, parameter in self._parameters]
        self._optimizers = self._make(_embeddings(model))
        self._hooks: list[Any] = [
            parameter.register_post_accumulate_grad_hook(_Collector(master))  # type: ignore[no-untyped-call]
            for (_, parameter), master in zip(self._parameters, self._masters, strict=True)
            if master is not parameter
        ]

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def step(self, learning_rate: float) -> tuple[float, bool]:
        total = torch.nn.utils.get_total_norm([m.grad for m in self._masters if m.grad is not None])
        # the only number of a step that a device is waited for
        return self._step(learning_rate, float(total), total)

    def _step(self, learning_rate: float, norm: float, total: Tensor) -> tuple[float, bool]:
        """As `step`, with the gradient's norm as a number and as a tensor in float32."""
        try:
            clipped = exceeds(norm, self.spec.clip)
        except BackendError:
            self.clear()
            raise
        if clipped and self.spec.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self._masters, self.spec.clip, total)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()
        self._write_back()
        self.clear()
        return norm, clipped

    def marks(self) -> dict[str, int]:
        # an addition in place makes another version of a tensor
        return {name: -1 if m.grad is None else m.grad._version for name, m in self._named()}

    def added_since(self, marks: Mapping[str, int]) -> frozenset[str]:
        for (_, parameter), master in zip(self._parameters, self._masters, strict=True):
            if master is not parameter:
                parameter.grad = None
        return super().added_since(marks)

    @contextmanager
    def frozen(self, names: Collection[str]) -> Iterator[None]:
        chosen = [parameter for name, parameter in self._parameters if name in names]
        for parameter in chosen:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in chosen:
                parameter.requires_grad_(True)

    def clear(self) -> None:
        for (_, parameter), master in zip(self._parameters, self._masters, strict=True):
            parameter.grad = master.grad = None

    def gradient_names(self) -> list[str]:
        """The parameters whose gradients are held."""
        return [name for name, master in self._named() if master.grad is not None]

    def gradients(self, names: Collection[str]) -> dict[str, Tensor]:
        """The gradients of these parameters, in float32; zeros where none is held."""
        chosen = {name: master for name, master in self._named() if name in names}
        return {name: torch.zeros_like(m) if m.grad is None else m.grad for name, m in chosen.items()}

    def put_gradients(self, gradients: Mapping[str, Tensor]) -> None:
        """Replace the gradients; a parameter that is not named has none."""
        for name, master in self._named():
            master.grad = gradients.get(name)

    def arrays(self) -> dict[str, Tensor]:
        """Everything `load_arrays` needs, by names that are the same for every optimizer of these parameters."""
        found = {f"{MASTER}/{name}": master.detach() for name, master in self._named()}
        for optimizer in self._optimizers:
            for name, master in self._named():
                if _steps(optimizer, master):
                    found |= {f"{key}/{name}": value for key, value in _arrays(optimizer, master).items()}
        return found

    @torch.no_grad()
    def load_arrays(self, arrays: Mapping[str, Tensor]) -> None:
        """Load what `arrays` gave."""
        for optimizer in self._optimizers:
            for name, master in self._named():
                if _steps(optimizer, master):
                    own = {key: arrays[f"{key}/{name}"] for key in _arrays(optimizer, master)}
                    _load_arrays(optimizer, master, own)
        for name, master in self._named():
            master.copy_(arrays[f"{MASTER}/{name}"])
        self._write_back()

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        """The float32 parameters that are stepped, by name."""
        return ((name, master) for (name, _), master in zip(self._parameters, self._masters, strict=True))

    def save(self, folder: Path) -> None:
        # on the CPU, so that machines without the device can read it
        torch.save(tree_map_only(Tensor, Tensor.cpu, self.state()), folder / FILE)

    def state(self) -> dict[str, Any]:
        """Everything `load` needs, masters included."""
        masters = [
            m.detach() if m is not p else None for (_, p), m in zip(self._parameters, self._masters, strict=True)
        ]
        return {"optimizers": [optimizer.state_dict() for optimizer in self._optimizers], "masters": masters}

    def load(self, state: dict[str, Any], weights: Mapping[str, Tensor]) -> None:
        """Load what `state` gave.

        Args:
            state: of an optimizer whose model may have had another type.
            weights: for masters that the state has none of, as its model was in float32.
        """
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            # fused or not is this device's choice, and not the checkpoint's
            own = [{key: group[key] for key in ("fused",) if key in group} for group in optimizer.param_groups]
            groups = [group | kept for group, kept in zip(saved["param_groups"], own, strict=True)]
            optimizer.load_state_dict(saved | {"param_groups": groups})
            if type(optimizer) in _STATE:
                _lay_out(optimizer)
        with torch.no_grad():
            for (name, _), master, saved in zip(self._parameters, self._masters, state["masters"], strict=True):
                master.copy_(weights[name] if saved is None else saved)
        self._write_back()

    @torch.no_grad()
    def _write_back(self) -> None:
        pairs = [(p, m) for (_, p), m in zip(self._parameters, self._masters, strict=True) if m is not p]
        if pairs and _has_fused_kernels(pairs[0][1]):
            torch._foreach_copy_([p for p, _ in pairs], [m for _, m in pairs])
            return
        for parameter, master in pairs:
            parameter.copy_(master)

    def _make(self, embeddings: set[int]) -> list[torch.optim.Optimizer]:
        spec = self.spec
        hidden = [
            master
            for (_, parameter), master in zip(self._parameters, self._masters, strict=True)
            if spec.takes_muon(parameter.ndim, is_table=id(parameter) in embeddings)
        ]
        chosen = {id(master) for master in hidden}
        rest = [master for master in self._masters if id(master) not in chosen]
        found: list[torch.optim.Optimizer] = []
        if hidden:
            found.append(MatrixOptimizer(hidden, momentum=spec.momentum, weight_decay=spec.weight_decay))
        if rest and spec.bits == 8:
            require_bitsandbytes("an optimizer's moments of 8 bits", "the optimizer's `bits`")
            from mentor_kit_torch.eight_bits import EightBitAdamW

            found.append(EightBitAdamW(rest, spec))
        elif rest:
            found.append(
                torch.optim.AdamW(
                    rest,
                    lr=0.0,
                    betas=spec.betas,
                    eps=spec.eps,
                    weight_decay=spec.weight_decay,
                    fused=True if _has_fused_kernels(rest[0]) else None,
                )
            )
        return found


def _steps(optimizer: torch.optim.Optimizer, master: Tensor) -> bool:
    """Whether an optimizer is the one that steps a parameter."""
    return any(master is each for group in optimizer.param_groups for each in group["params"])


def _arrays(optimizer: Any, master: Tensor) -> dict[str, Tensor]:
    """What an optimizer keeps of a parameter, by kind."""
    if type(optimizer) not in _STATE:
        own: dict[str, Tensor] = optimizer.arrays(master)
        return own
    state = optimizer.state[master] or fresh_state(optimizer, master)
    return {key: state[key] for key in _STATE[type(optimizer)]}


def _load_arrays(optimizer: Any, master: Tensor, arrays: Mapping[str, Tensor]) -> None:
    """Put what `_arrays` gave."""
    if type(optimizer) not in _STATE:
        optimizer.load_arrays(master, arrays)
        return
    fresh = fresh_state(optimizer, master)
    optimizer.state[master] = {key: held.copy_(arrays[key]) for key, held in fresh.items()}


def fresh_state(optimizer: torch.optim.Optimizer, master: Tensor) -> dict[str, Tensor]:
    """The state that an optimizer of 32 bits begins with at a parameter's first step."""
    # a fused step counts on the device
    counts_on = master.device if optimizer.defaults.get("fused") else torch.device("cpu")
    return {
        key: torch.zeros((), device=counts_on) if key == "step" else torch.zeros_like(master)
        for key in _STATE[type(optimizer)]
    }


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Lay state out as its parameters are: fused kernels take both as they lie in memory, which devices differ in."""
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor) and value.ndim and value.stride() != parameter.stride():
                state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _has_fused_kernels(tensor: Tensor) -> bool:
    """Whether a step of many tensors is one kernel where this one is; a CPU gains nothing by it."""
    return tensor.device.type not in ("cpu", "mps")


class _Collector:
    """Accumulates a 16-bit parameter's gradients in its float32 master, so that many micro-batches lose nothing."""

    def __init__(self, master: Tensor) -> None:
        self._master = master

    def __call__(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        held, gradient = self._master.grad, parameter.grad
        if held is None:
            self._master.grad = gradient.float()
        else:
            # a CPU adds numbers of one type faster
            held.add_(gradient.float() if gradient.device.type == "cpu" else gradient)
        parameter.grad = None


def read_state(folder: Path) -> Any:
    """The state that `TorchOptimizer.save` wrote, on the CPU.

    Raises:
        OSError, UnpicklingError: it is not there, or damaged.
    """
    return torch.load(folder / FILE, map_location="cpu", weights_only=True)


def _master(parameter: Tensor) -> Tensor:
    if parameter.dtype == torch.float32:
        return parameter
    return nn.Parameter(parameter.detach().float().clone())


def _embeddings(model: Any) -> set[int]:
    """Ids of the parameters that are embeddings or output projection."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    modules = [inner.get_input_embeddings(), inner.get_output_embeddings()]
    return {id(parameter) for module in modules if module is not None for parameter in module.parameters()}
