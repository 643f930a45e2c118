"""Policies in several processes: the first one loads them everywhere, and the others follow it."""

from __future__ import annotations

import logging
from functools import cache

from mentor_kit.backend.distributed.leader import Leader, MakeWorker, follow
from mentor_kit.backend.distributed.policy import DistributedPolicy
from mentor_kit.backend.distributed.worker import Worker
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.errors import BackendError
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.objectives import build_objective
from mentor_kit_torch.communicator import TorchCommunicator
from mentor_kit_torch.launch import processes
from mentor_kit_torch.options import TorchOptions
from mentor_kit_torch.policy_loading import load_here


def load_in_all(student: StudentSpec, options: TorchOptions, seed: int) -> DistributedPolicy:
    """Load a policy in every process; in the first one, once the others serve it.

    Raises:
        BackendError: this is not the first process, or the processes do not reach one another.
    """
    communicator = processes(options.processes)
    assert communicator is not None  # the backend has found that there are several
    return DistributedPolicy(
        _leader(communicator).load(_maker(communicator), student, options.model_dump(mode="json"), seed)
    )


def serve(wanted: int | None) -> bool:
    """In a process that a launcher started, and that is not the first: follow the first one until it ends.

    Args:
        wanted: the number of processes by the options.

    Returns:
        Whether this process has served; False at once in the first one.
    """
    communicator = processes(wanted)
    if communicator is None:
        return False
    if communicator.is_leader:
        # it lets the others go, also where it loads nothing
        _leader(communicator)
        return False
    # the first process says it all
    logging.getLogger("mentor_kit").setLevel(logging.ERROR)
    logging.getLogger("mentor_kit_torch").setLevel(logging.ERROR)
    follow(communicator, _maker(communicator))
    return True


@cache
def _leader(communicator: TorchCommunicator) -> Leader:
    if not communicator.is_leader:
        raise BackendError(
            f"process {communicator.rank} of {communicator.size} does not serve the first one",
            hint="start this without `torchrun`, or by `mentorkit run` or `mentor_kit.run`",
        )
    return Leader(communicator)


def _maker(communicator: TorchCommunicator) -> MakeWorker:
    def make(student: StudentSpec, options: Json, seed: int) -> Worker:
        return Worker(load_here(student, TorchOptions(**options), seed, communicator), communicator, build_objective)

    return make
