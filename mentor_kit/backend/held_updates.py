"""Updates in micro-batches that the memory holds, by a token budget, a plan, and what a device refuses.

token_budget: auto ── found from the memory that the run may take ──┐
a number ───────────────────────────────────────────────────────────┴── halved where the device is out of memory
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar, TypeVar

from mentor_kit.backend.checkpoint import FoundLimits
from mentor_kit.backend.memory_plan import UpdateShape
from mentor_kit.backend.microbatching import MicroBatch, Place, micro_batches
from mentor_kit.backend.optimizer import Optimizer
from mentor_kit.backend.student import StudentSpec
from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.core.errors import BackendError
from mentor_kit.rl.objective import Objective

logger = logging.getLogger("mentor_kit")

Result = TypeVar("Result")


def one_completion_too_large(token_budget: int) -> BackendError:
    """The error where the memory does not do for one completion at once, and nothing is left to be halved."""
    return BackendError(
        f"out of memory in an update with one completion at once (`token_budget`: {token_budget:,})",
        hint="use `gradient_checkpointing: true`, an adapter, or shorter prompts and responses",
    )


class HeldUpdates:
    """The part of a policy that divides updates; backends override what differs on their devices."""

    #: What the device raises where it has no memory left, and a smaller micro-batch may do.
    memory_errors: ClassVar[tuple[type[Exception], ...]] = ()
    student: StudentSpec
    _finds_budget = False
    """Whether the token budget is found from the memory."""
    _allowed: int | None = None
    """Bytes that the run may take; None where nothing is known."""
    _is_limited = False
    """Whether options say so, or another model has the rest, rather than what was free."""

    def batch_by(self, token_budget: int, *, packed: bool) -> None:
        """Set the tokens of a micro-batch, and whether they are counted without padding, common prefixes once."""
        self._token_budget, self._packed = token_budget, packed
        self._halvings = 0
        self._said: set[str] = set()

    def say_once(self, lines: Mapping[str, str]) -> None:
        """Log lines by what they are about, each once."""
        for what, line in lines.items():
            if what not in self._said:
                logger.warning("%s: %s", self.student.model, line)
        self._said.update(lines)

    def make_room(self) -> None:
        """Called before an update and before scoring: frees what would take the memory for it."""

    def fits(self, shape: UpdateShape) -> bool:
        """Whether a micro-batch of this shape is within the memory for an update."""
        return True

    @property
    def runs_whole(self) -> bool:
        """Whether each completion runs behind a prompt of its own."""
        return False

    @contextmanager
    def updating(self) -> Iterator[None]:
        """A context around each part of an update, which explains the device's errors; backends add what they count."""
        try:
            yield
        except self.memory_errors as error:
            raise one_completion_too_large(self.token_budget) from error

    def free_memory(self) -> None:
        """Called after one of the `memory_errors`, before the micro-batch is run again in smaller ones."""

    @property
    def token_budget(self) -> int:
        """Tokens of a micro-batch."""
        return max(self._token_budget >> self._halvings, 1)

    def found_limits(self) -> FoundLimits | None:
        """What updates are held to because of the device; None where options alone say it."""
        if not self._finds_budget and not self._halvings:
            return None
        memory = self._allowed if self._finds_budget else None
        return FoundLimits(token_budget=self.token_budget, halvings=self._halvings, memory=memory)

    def hold_to(self, found: FoundLimits | None) -> None:
        """Hold updates to what was found before, so that a resumed run has the same micro-batches."""
        self._halvings = 0 if found is None else found.halvings
        if found is None or found.memory is None or not self._finds_budget:
            return
        slack = self._allowed and self._allowed // (16 if self._is_limited else 4)
        if self._allowed is not None and slack is not None and found.memory > self._allowed + slack:
            logger.warning(
                "%s: there is less memory than when this was saved: micro-batches are smaller, and results differ by "
                "rounding from those of a run that was not stopped",
                self.student.model,
            )
            return
        self._allowed = found.memory

    def share_limits(self, found: Sequence[FoundLimits | None]) -> None:
        """Hold updates to the least of what several processes found, which is the same in each of them then."""
        known = [limits for limits in found if limits is not None]
        halvings = max((limits.halvings for limits in known), default=0)
        memories = [limits.memory for limits in known if limits.memory is not None]
        if self._finds_budget and memories:
            self._allowed = min(memories)
        if halvings > self._halvings:
            self._halvings = halvings
            logger.warning(
                "%s: another process was out of memory in an update: `token_budget` is %s from here on",
                self.student.model,
                f"{self.token_budget:,}",
            )

    def each_batch(
        self,
        groups: Sequence[TokenGroup],
        objective: Objective | None,
        only: Collection[Place] | None,
        run: Callable[[MicroBatch], Result],
        optimizer: Optimizer | None = None,
    ) -> Iterator[tuple[MicroBatch, Result]]:
        """Run all micro-batches; one for which the device has no memory is run again in smaller ones.

        A gradient that a pass had added before it failed is that of its whole micro-batch. Such parameters are left out
        when it is run again, so that all gradients are those of an undisturbed update.

        Args:
            groups: of the whole update.
            objective: for the tokens' weights.
            only: the completions to take; None for all.
            run: runs a micro-batch.
            optimizer: holds the gradients that `run` adds to; None where it adds none.
        """
        whole = frozenset((g, c) for g, group in enumerate(groups) for c in range(len(group.completions)))
        work: list[tuple[Collection[Place] | None, frozenset[str]]] = [(only, frozenset())]
        while work:
            places, added = work.pop()
            done: set[Place] = set()
            for batch in self._micro_batches(groups, objective, places):
                marks = {} if optimizer is None else optimizer.marks()
                try:
                    with nullcontext() if optimizer is None else optimizer.frozen(added):
                        found = run(batch)
                except self.memory_errors:
                    if len(batch.lengths) < 2:
                        raise
                    more = frozenset[str]() if optimizer is None else optimizer.added_since(marks)
                else:
                    done.update(batch.origin)
                    yield batch, found
                    continue
                # out of the clause above, whose error keeps the failed pass's arrays
                self.halve(self.halvings_below(batch))
                rest = (whole if places is None else frozenset(places)) - done - set(batch.origin)
                work += [(rest, added), (frozenset(batch.origin), added | more)]
                break

    def halvings_below(self, batch: MicroBatch) -> int:
        """How often the token budget is to be halved until it is below a micro-batch for which there was no memory."""
        tokens, halvings = int(batch.prompt_lengths.sum() + batch.lengths.sum()), 1
        while max(self.token_budget >> halvings, 1) >= tokens:
            halvings += 1
        return halvings

    def halve(self, times: int) -> None:
        """Halve the token budget so many times, as there was no memory, and free some."""
        before = self.token_budget
        self._halvings += times
        logger.warning(
            "%s: out of memory in an update with up to %s tokens at once: `token_budget` is %s from here on",
            self.student.model,
            f"{before:,}",
            f"{self.token_budget:,}",
        )
        self.free_memory()
        self.make_room()

    def _micro_batches(
        self, groups: Sequence[TokenGroup], objective: Objective | None, only: Collection[Place] | None
    ) -> Iterator[MicroBatch]:
        how: dict[str, Any] = {"packed": self._packed, "fits": self.fits, "whole": self.runs_whole}
        return micro_batches(groups, self.token_budget, objective, only=only, **how)
