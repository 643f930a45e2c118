"""The mlx backend: loads policies, in one or several processes, and estimates their memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from weakref import WeakSet

import mlx.core as mx

from mentor_kit.backend.distributed.leader import Leader, follow
from mentor_kit.backend.distributed.policy import DistributedPolicy
from mentor_kit.backend.distributed.worker import Worker
from mentor_kit.backend.memory import GIB, DeviceMemory, MemoryEstimate, MemoryLoad, Saving
from mentor_kit.backend.policy import Backend
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.errors import BackendError
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.objectives import build_objective
from mentor_kit.utils.randomness import derive_seed
from mentor_kit_mlx.adapter_export import peft_layers
from mentor_kit_mlx.adapter_files import AdapterFile
from mentor_kit_mlx.adapters import adaptable, add_adapter
from mentor_kit_mlx.config import config_of
from mentor_kit_mlx.embeddings import as_untied, is_tied, projection_name
from mentor_kit_mlx.launch import processes
from mentor_kit_mlx.loading import Loaded, load_model, model_errors, pick_device
from mentor_kit_mlx.memory import device_memory, estimate, limit, process_limit, savings
from mentor_kit_mlx.options import EXPORT_FORMATS, QUANTIZED_FORMATS, MLXOptions
from mentor_kit_mlx.policy import MLXPolicy

#: The policies that are loaded in this process, such as a student's and a teacher's; MLX has one limit for them all.
_policies: WeakSet[MLXPolicy] = WeakSet()


@dataclass(frozen=True)
class MLXBackend(Backend):
    """The backend `mlx`."""

    options: MLXOptions

    @property
    def export_formats(self) -> tuple[str, ...]:
        return EXPORT_FORMATS

    @property
    def quantized_formats(self) -> tuple[str, ...]:
        return tuple(QUANTIZED_FORMATS)

    def load(self, student: StudentSpec, seed: int) -> MLXPolicy | DistributedPolicy:
        leader = current_leader()
        if leader is None:
            return load_here(student, self.options, seed)
        return DistributedPolicy(leader.load(make_worker, student, self.options.model_dump(), seed))

    def rewrite(self, student: StudentSpec, folder: Path, format: str, *, dtype: str) -> None:
        # what is written is the student exactly: neither rounded nor quantized by this backend's own options
        kept = dtype if dtype in ("float32", "bfloat16", "float16") else "float32"
        load_here(student, MLXOptions.model_validate({"device": "cpu", "dtype": kept}), 0).export(folder, format=format)

    def serve(self) -> bool:
        found = processes()
        if found is None or found.is_leader:
            current_leader()
            return False
        follow(found, make_worker)
        return True

    def estimate(self, student: StudentSpec, load: MemoryLoad) -> MemoryEstimate:
        mx.set_default_device(pick_device(self.options.device))
        config = config_of(student)
        with model_errors(student):
            allowed = load.memory if self.options.memory is None else None
            return estimate(config, student, load, self.options, limit(self.options) if allowed is None else allowed)

    def device_memory(self) -> DeviceMemory | None:
        mx.set_default_device(pick_device(self.options.device))
        return device_memory(self.options)

    def place(self) -> str:
        # of Apple silicon, whose GPU has the main memory, and of MLX's own CPU
        is_cuda = pick_device(self.options.device) == mx.gpu and not mx.metal.is_available()
        return "cuda:0" if is_cuda else "main memory"

    def memory_limit(self) -> int | None:
        return None if self.options.memory is None else int(self.options.memory * GIB)

    def usable_memory(self) -> int | None:
        mx.set_default_device(pick_device(self.options.device))
        return limit(self.options.model_copy(update={"memory": None}))

    def held_to(self, memory: int) -> MLXBackend:
        return MLXBackend(self.options.model_copy(update={"memory": memory / GIB}))

    def savings(self, student: StudentSpec, load: MemoryLoad) -> Sequence[Saving]:
        config = config_of(student)
        with model_errors(student):
            return savings(config, student, load, self.options)


def load_here(student: StudentSpec, options: MLXOptions, seed: int) -> MLXPolicy:
    """Load a policy in this process."""
    mx.set_default_device(pick_device(options.device))
    allowed = limit(options)
    if allowed is not None and mx.metal.is_available():
        recommended = limit(MLXOptions())
        whole = process_limit([allowed, *(held for policy in _policies if (held := policy.allowed))], recommended)
        mx.set_memory_limit(whole)
        mx.set_wired_limit(min(whole, recommended or whole))
    found = processes()
    with model_errors(student):
        loaded, adapter = load_model(student, options), None
        if student.adapter is not None:
            loaded, adapter = _adapted(loaded, student.adapter, options, seed)
        # processes have different rows, which must not drop the same units
        mx.random.seed(seed if found is None or found.is_leader else derive_seed(seed, "process", found.rank))
        policy = MLXPolicy(loaded, adapter, student, options, allowed)
    _policies.add(policy)
    return policy


def make_worker(student: StudentSpec, options: Json, seed: int) -> Worker:
    """Load a policy in this process, one of several."""
    found = processes()
    assert found is not None
    return Worker(load_here(student, MLXOptions(**options), seed), found, build_objective)


def _adapted(loaded: Loaded, spec: AdapterSpec, options: MLXOptions, seed: int) -> tuple[Loaded, AdapterFile]:
    """The model with an adapter on it; untied where the adapter is on the embeddings or the output projection."""
    tied = adaptable(loaded.model)[projection_name(loaded.model)] if is_tied(loaded.model) else None
    adapter = add_adapter(loaded.model, spec, options.adapter, seed, peft_layers(loaded))
    if tied is not None and not is_tied(loaded.model):
        return replace(loaded, config=as_untied(loaded.config), parameters_twice=tied.inputs * tied.outputs), adapter
    return loaded, adapter


@cache
def current_leader() -> Leader | None:
    """The leader of the processes; None where this one is alone.

    Raises:
        BackendError: another one leads.
    """
    found = processes()
    if found is None:
        return None
    if not found.is_leader:
        raise BackendError(
            f"process {found.rank} of {found.size} does not serve the first one",
            hint="start this without `mlx.launch`, or by `mentorkit run` or `mentor_kit.run`",
        )
    return Leader(found)
