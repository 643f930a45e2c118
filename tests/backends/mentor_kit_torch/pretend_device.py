"""A pretend accelerator on a CPU: tensors hold data in main memory and say that they are on `pretend:0`.

It finds without a GPU what a GPU would refuse, and counts what a GPU would wait for:

- an operation on tensors of two devices raises as on CUDA, but for CPU tensors without dimensions and for indices;
- `Counts` has the operations that ran on the device, the copies to and from it, and the waits for its results.

Where PyTorch has one kernel for CUDA and several operations elsewhere, the device has that kernel (`KERNELS`).

PyTorch's own mechanism for backends written in Python carries it. Everything has to run inside `Pretending()`.
Known gap: results in 16 bits differ from a CPU's, as other kernels run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from cuda_attention import STAND_INS
from mentor_kit_torch import loading, policy_loading
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.options import TorchOptions
from mentor_kit_torch.policy import TorchPolicy
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend
from torch_students import write_student
from transformers import AutoModelForCausalLM

from mentor_kit.backend.student import AdapterSpec, StudentSpec

aten = torch.ops.aten
#: Operations whose result the CPU waits for.
WAITS = (aten._local_scalar_dense, aten.is_nonzero, aten.equal, aten.nonzero, aten.masked_select, aten.item)
#: What PyTorch's strict deterministic mode refuses on CUDA, of what models and sampling may use.
ALERTS = {aten.cumsum: "cumsum_cuda_kernel", aten.median: "median CUDA with indices output", aten.histc: "_histc_cuda"}
#: Operations that take indices from another device.
TAKES_INDICES = (aten.index, aten.index_put_, aten.index_put, aten._index_put_impl_)
#: Writes to places that are given as indices.
WRITES = (
    *(aten.index_put, aten.index_put_, aten._index_put_impl_, aten.index_copy, aten.index_copy_, aten.index_add_),
    *(aten.scatter, aten.scatter_, aten.scatter_add, aten.scatter_add_, aten.put_),
)
#: Operations that start no kernel: views, and what asks for a shape alone.
VIEWS = frozenset(
    (
        *("view", "_unsafe_view", "reshape", "expand", "slice", "select", "transpose", "permute", "t", "unsqueeze"),
        *("squeeze", "detach", "alias", "split", "unbind", "as_strided", "empty", "empty_like", "new_empty", "unfold"),
        *("diagonal", "_reshape_alias", "empty_strided", "split_with_sizes", "lift_fresh", "new_empty_strided"),
    )
)


def _rms_norm(states: Tensor, shape: Any, weight: Tensor | None, epsilon: float | None) -> tuple[Tensor, Tensor]:
    epsilon = torch.finfo(states.dtype).eps if epsilon is None else epsilon
    root = states.float().square().mean(dim=-1, keepdim=True).add(epsilon).rsqrt()
    out = states.float() * root * (1.0 if weight is None else weight.float())
    return out.to(states.dtype), root


def _rms_norm_backward(
    grad: Tensor, states: Tensor, shape: Any, root: Tensor, weight: Tensor | None, wanted: Any
) -> tuple[Tensor, Tensor | None]:
    unit, grad = states.float() * root, grad.float()
    pull = grad if weight is None else grad * weight.float()
    of_states = (pull - unit * (pull * unit).mean(dim=-1, keepdim=True)) * root
    of_weight = None if weight is None else (grad * unit).flatten(0, -2).sum(dim=0).to(weight.dtype)
    return of_states.to(states.dtype), of_weight


#: What CUDA has a kernel of its own for.
KERNELS: dict[Any, Callable[..., Any]] = {
    aten._fused_rms_norm: _rms_norm,
    aten._fused_rms_norm_backward: _rms_norm_backward,
    **STAND_INS,
}
#: Registered, or PyTorch would take such operations apart; the mode sees them first.
_REGISTERED = torch.library.Library("aten", "IMPL")


def _unreachable(*_: Any, **__: Any) -> Any:
    raise AssertionError("an operation on the pretend device outside its mode")


for _packet in (aten._fused_rms_norm, aten._fused_rms_norm_backward):
    _REGISTERED.impl(str(_packet).removeprefix("aten."), _unreachable, "PrivateUse1")


@dataclass
class Counts:
    """What happened on the device since the counts were made anew."""

    operations: Counter[str] = field(default_factory=Counter)
    """By name, views included."""
    to_device: int = 0
    from_device: int = 0
    waits: Counter[str] = field(default_factory=Counter)
    sorted_writes: Counter[str] = field(default_factory=Counter)
    """Those that CUDA's deterministic mode sorts by their places, and makes copies of all there is for."""

    @property
    def kernels(self) -> int:
        """Operations that are neither views nor a read of one number."""
        none = VIEWS | {"_local_scalar_dense", "item", "is_nonzero"}
        return sum(count for name, count in self.operations.items() if name.removeprefix("aten.") not in none)


class Device(_DummyBackendModule):  # type: ignore[misc]
    """What PyTorch asks of a device's module."""

    def get_rng_state(self, *_: Any) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, *_: Any) -> None:
        return None

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def current_device(self) -> int:
        return 0

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def manual_seed_all(self, _: int) -> None:
        return None

    def _is_in_bad_fork(self) -> bool:
        return False


_setup_privateuseone_for_python_backend("pretend", backend_module=Device())
DEVICE = torch.device("pretend", 0)


class Held(Tensor):
    """A tensor that says it is on the device; `data_here` has its numbers."""

    data_here: Tensor

    @staticmethod
    def __new__(cls, data: Tensor) -> Held:
        made: Held = torch.Tensor._make_wrapper_subclass(
            cls,
            data.size(),
            strides=data.stride(),
            storage_offset=data.storage_offset(),
            dtype=data.dtype,
            device=DEVICE,
            requires_grad=False,
        )
        made.data_here = data
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {}, Counts())

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        """The same numbers without a gradient; another tensor that is put here takes their place."""
        return Held(self.data_here)

    @data.setter
    def data(self, value: Tensor) -> None:
        torch.Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.data_here = value.data_here if isinstance(value, Held) else value

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        made: Tensor = Held(self.data_here.clone())
        if isinstance(self, torch.nn.Parameter):
            made = torch.nn.Parameter(made, requires_grad=self.requires_grad)
        memo[id(self)] = made
        return made

    def untyped_storage(self) -> Any:
        return self.data_here.untyped_storage()

    def data_ptr(self) -> int:
        return self.data_here.data_ptr()

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Held({self.data_here})"


class Pretending(TorchDispatchMode):
    """The mode in which the device is there; `counts` may be replaced at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {}, self.counts)

    @contextmanager
    def counted(self) -> Iterator[Counts]:
        """The counts of what happens inside."""
        before, self.counts = self.counts, Counts()
        try:
            yield self.counts
        finally:
            self.counts = before


def _alert(packet: Any, there: list[Held]) -> None:
    """Refuse, in PyTorch's strict mode, what CUDA has no deterministic kernel for.

    Raises:
        RuntimeError: as PyTorch does there.
    """
    strict = torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    if strict and packet in ALERTS and any(value.is_floating_point() for value in there):
        raise RuntimeError(f"{ALERTS[packet]} does not have a deterministic implementation, but you set ...")


def _run(function: Any, args: Any, kwargs: dict[str, Any], counts: Counts) -> Any:
    flat, _ = tree_flatten((args, kwargs))
    there = [value for value in flat if isinstance(value, Held)]
    packet, name = function.overloadpacket, str(function.overloadpacket)
    on_device = _is_on_device(packet, name, args, kwargs, flat, there)
    _alert(packet, there)
    if packet in (aten._to_copy, aten.to, aten.copy_):
        source = args[1] if packet is aten.copy_ else args[0]
        comes_from = isinstance(source, Held)
        counts.to_device += on_device and not comes_from
        counts.from_device += comes_from and not on_device
    if there and packet in WAITS:
        counts.waits[name] += 1
    if on_device:
        counts.operations[name] += 1
        counts.sorted_writes[name] += packet in WRITES and torch.are_deterministic_algorithms_enabled()
    given = tree_map(_here, dict(kwargs))
    if "device" in given:
        given["device"] = torch.device("cpu")
    if given.get("pin_memory"):
        given["pin_memory"] = False
    out = KERNELS.get(packet, function)(*tree_map(_here, args), **given)
    known = {id(value.data_here): value for value in there}

    def dressed(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) in known:
            return known[id(value)] if on_device else value.clone()
        return Held(value) if on_device and not isinstance(value, Held) else value

    return tree_map(dressed, out)


def _is_on_device(packet: Any, name: str, args: Any, kwargs: Any, flat: list[Any], there: list[Held]) -> bool:
    """Whether the result is on the device.

    Raises:
        RuntimeError: tensors are on two devices.
    """
    if packet in (aten._to_copy, aten.to):
        named = [value for value in flat if isinstance(value, torch.device)]
        if len(args) > 1 and isinstance(args[1], Tensor):
            named.append(args[1].device)
        return named[0].type == DEVICE.type if named else bool(there)
    if packet is aten.copy_:
        return isinstance(args[0], Held)
    if (device := kwargs.get("device")) is not None:
        return torch.device(device).type == DEVICE.type
    elsewhere = [value for value in flat if isinstance(value, Tensor) and not isinstance(value, Held) and value.dim()]
    if there and elsewhere and packet not in TAKES_INDICES:
        shapes = [tuple(value.shape) for value in elsewhere]
        raise RuntimeError(f"Expected all tensors to be on the same device: {name}, {shapes} on cpu")
    return bool(there)


def _here(value: Any) -> Any:
    if isinstance(value, Held):
        return value.data_here
    return torch.device("cpu") if isinstance(value, torch.device) else value


_tensor = torch.tensor


def _tensor_there(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
    """`torch.tensor`, which allocates below every dispatch mode."""
    made = _tensor(data, *args, **kwargs)
    return made if device is None else made.to(device)


def move(model: Any) -> Any:
    """A model's parameters and buffers on the device; ties are kept."""
    moved: dict[int, Any] = {}
    for module in model.modules():
        for key, value in module._parameters.items():
            if value is not None and not isinstance(value.data, Held):
                made = torch.nn.Parameter(Held(value.data), requires_grad=value.requires_grad)
                module._parameters[key] = moved.setdefault(id(value), made)
        for key, value in module._buffers.items():
            if value is not None and not isinstance(value, Held):
                module._buffers[key] = Held(value)
    return model


def _outside(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function outside every mode: transformers leaves buffers uninitialised where one is on."""

    def run(*arguments: Any, **options: Any) -> Any:
        with _disable_current_modes():
            return function(*arguments, **options)

    return run


@cache
def _load_one_model() -> None:
    """What transformers prepares with the first model that it loads is wrong for all others if a mode is on then."""
    with TemporaryDirectory() as folder:
        AutoModelForCausalLM.from_pretrained(write_student(Path(folder)))


@contextmanager
def device_is_there() -> Iterator[Pretending]:
    """The device is there, every name is its name, and models are moved to it when they are loaded."""
    _load_one_model()
    plain: Callable[..., Any] = loading.load_model

    def load_model(student: Any, config: Any, options: Any, device: torch.device, dtype: torch.dtype) -> Any:
        return move(plain(student, config, options, torch.device("cpu"), dtype))

    with pytest.MonkeyPatch.context() as patch, Pretending() as mode:
        for name in ("from_pretrained", "from_config"):
            patch.setattr(AutoModelForCausalLM, name, _outside(getattr(AutoModelForCausalLM, name)))
        for module in (loading, policy_loading):
            patch.setattr(module, "load_model", load_model)
            patch.setattr(module, "pick_device", lambda *_: DEVICE)
        patch.setattr(torch, "tensor", _tensor_there)
        patch.setattr(torch, "inference_mode", torch.no_grad)  # as wrapped tensors have no versions in the former
        yield mode


@pytest.fixture
def pretend() -> Iterator[Pretending]:
    """A test's own device."""
    with device_is_there() as mode:
        yield mode


def load_there(folder: Path, adapter: AdapterSpec | None = None, **options: Any) -> TorchPolicy:
    """A policy on the device, in float32; inside `device_is_there` alone."""
    chosen = TorchOptions(**({"device": "cuda", "dtype": "float32", "threads": 1} | options))
    return TorchBackend(chosen).load(StudentSpec(model=str(folder), adapter=adapter), seed=0)
