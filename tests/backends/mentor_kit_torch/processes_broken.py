"""A process that cannot take part in an exchange the others wait in; `test_torch_processes.py` launches this."""

from __future__ import annotations

import os
import sys

import torch
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.options import TorchOptions
from mentor_kit_torch.policy import TorchPolicy

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.errors import BackendError
from mentor_kit.testing.material import ragged_groups
from mentor_kit.testing.objectives import make_objective

OPTIONS = TorchOptions(device="cpu", dtype="float32", threads=1, shard=os.environ.get("SHARD") == "1")


def out_of_memory(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("no room for 3 GiB")


if __name__ == "__main__":
    if os.environ["RANK"] == os.environ["BROKEN"]:
        # of sums, or of passes that gather weights
        setattr(TorchPolicy, "backward" if OPTIONS.shard else "gradients", out_of_memory)
    backend = TorchBackend(OPTIONS)
    if backend.serve():
        sys.exit(0)
    policy = backend.load(StudentSpec(os.environ["STUDENT"]), seed=0)
    policy.prepare(OptimizerSpec())
    try:
        policy.forward_backward(ragged_groups(policy.info.vocabulary), make_objective(preset="sft"))
        policy.optimizer_step(1e-3)
    except (BackendError, torch.OutOfMemoryError) as error:
        print(error)
        sys.exit(1)
