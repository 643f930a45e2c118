"""Processes that run a sharded pass together, and agree to give it up where one of them has no memory for its part.

A process that left a pass alone would leave the others in an exchange for ever. So all ask each other before each
exchange of weights and gradients, and behind the last one:

    process 0   ask ─ gather ─ layer ─ ask ─ gather ─ layer ─────────── ask ─ give up
    process 1   ask ─ gather ─ layer ─ ask ─ gather ─ out of memory ─ refuse ─ give up

Whoever refuses takes part in one question, in place of the next one, and says by how much to halve the token budget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.distributed.fsdp._fully_shard._fsdp_collectives import DefaultAllGather, DefaultReduceScatter

from mentor_kit_torch.communicator import TorchCommunicator

Result = TypeVar("Result")

#: What a process says that cannot run anything smaller.
NOTHING_SMALLER = 1 << 20


class PassRefusedError(Exception):
    """A process has no memory for its part of a pass; all have left it."""

    def __init__(self, halvings: int, *, here: bool) -> None:
        super().__init__("a process has no memory for its part of a pass")
        self.halvings, self.here = halvings, here
        """How often the token budget is to be halved, the same in all processes; and whether it was this one."""


class PassAgreement:
    """Questions and answers of the processes in a pass.

    Args:
        communicator: of all processes.
    """

    def __init__(self, communicator: TorchCommunicator) -> None:
        self._communicator = communicator
        self._asks = False

    def ask(self) -> None:
        """Ask whether all processes go on, in a pass of `run`; at once otherwise.

        Raises:
            PassRefusedError: one of them does not.
        """
        if self._asks and (halvings := self._communicator.largest(0)):
            raise PassRefusedError(halvings, here=False)

    def run(self, act: Callable[[], Result], halvings: int) -> Result:
        """Run a pass in all processes.

        Args:
            act: this process's part, with the same exchanges everywhere.
            halvings: what to say where there is no memory for it, at least 1.

        Raises:
            PassRefusedError: in all processes, where one of them had no memory.
        """
        self._asks = True
        try:
            found = act()
            self.ask()
            return found
        except torch.OutOfMemoryError:
            refused = halvings
        finally:
            self._asks = False
        # out of the clause above, whose error keeps the failed pass's arrays
        raise PassRefusedError(self._communicator.largest(refused), here=True)


class _Agreed:
    """An exchange of FSDP2's, which its other base class makes, behind a question."""

    def __init__(self, agreement: PassAgreement) -> None:
        self._agreement = agreement

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """As in the other base class."""
        self._agreement.ask()
        exchange: Any = super()
        return exchange.__call__(*arguments, **named)


class AgreedAllGather(_Agreed, DefaultAllGather):  # type: ignore[misc]
    """FSDP2's gathering of weights, behind a question."""


class AgreedReduceScatter(_Agreed, DefaultReduceScatter):  # type: ignore[misc]
    """FSDP2's summing of gradients, behind a question."""
