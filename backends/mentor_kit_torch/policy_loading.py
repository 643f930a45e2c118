"""Loading: a policy in this process, alone or one of several."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from mentor_kit.backend.student import StudentSpec
from mentor_kit.utils.randomness import derive_seed
from mentor_kit_torch.adapters import add_adapter
from mentor_kit_torch.communicator import TorchCommunicator
from mentor_kit_torch.cpu_weight_layout import ask_for_large_pages
from mentor_kit_torch.determinism import make_deterministic
from mentor_kit_torch.loading import (
    load_model,
    model_errors,
    pick_device,
    pick_dtype,
    read_config,
    room_errors,
)
from mentor_kit_torch.memory import allowed_bytes
from mentor_kit_torch.options import TorchOptions
from mentor_kit_torch.params import dtype_name
from mentor_kit_torch.policy import TorchPolicy
from mentor_kit_torch.sharded_policy import ShardedPolicy
from mentor_kit_torch.sharding import ModelShards


def load_here(
    student: StudentSpec, options: TorchOptions, seed: int, communicator: TorchCommunicator | None = None
) -> TorchPolicy:
    """Load a policy in this process.

    Args:
        student: what to load.
        options: of the backend.
        seed: for a new adapter's weights, and for dropout.
        communicator: the processes that hold the policy; None for this one alone.
    """
    ask_for_large_pages()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    config = read_config(student)
    device = pick_device(options.device, config)
    if communicator is not None:
        device = communicator.own_device(device)
    make_deterministic(device, strict=options.deterministic)
    rank = 0 if communicator is None else communicator.rank
    dtype = pick_dtype(options.dtype, device, config)
    allowed = allowed_bytes(device, options)
    sharded = options.shard and communicator is not None
    with model_errors(student), room_errors(student, device):
        model: Any = load_model(student, config, options, torch.device("cpu") if sharded else device, dtype)
        if student.adapter is not None:
            model = add_adapter(model, student.adapter, seed)
        # processes have different rows, which must not drop the same units
        torch.manual_seed(derive_seed(seed, "process", rank) if rank else seed)
        if communicator is None or not sharded:
            return TorchPolicy(model, student, options, allowed)
        alone = {"shard": False, "processes": None, "memory": None, "device": "cpu", "dtype": dtype_name(dtype)}
        shards = ModelShards(model, communicator, device, dtype)
        return ShardedPolicy(
            shards, student, options, partial(load_here, student, options.model_copy(update=alone), seed)
        )
