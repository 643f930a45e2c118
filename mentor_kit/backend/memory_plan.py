"""How a run is held to the memory it may take: what stays, and what sampling and updates add in turns.

    held         weights, float32 masters, optimizer, reference                          as long as the run
    sampling     + keys and values, a pass's own arrays, the logits it draws from        freed before an update
    update       + gradients, what layers keep of a micro-batch, a chunk of its logits   freed after it

What does not fit is made smaller before it is refused: keys and values first, as sequences then wait for others; then
what layers keep, as it is computed again (`gradient_checkpointing`); then the micro-batches. Each is said in one line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from mentor_kit.backend.kv_budget import KVBudget, in_steps
from mentor_kit.backend.memory import ACTIVATIONS_NOTE, GIB, MemoryEstimate, MemoryLoad
from mentor_kit.core.errors import BackendError

#: Layers whose keys and values exist twice while rows are grown, copied, or read.
COPIED_LAYERS = 3
#: Passes of sampling are not made smaller than so many tokens.
SMALLEST_PASS = 64
#: Tokens of a micro-batch that `token_budget: auto` finds at most and at least.
LARGEST_FOUND, SMALLEST_FOUND = 65536, 64
#: With fewer tokens in a micro-batch `token_budget: auto` has layers computed again rather than kept.
BUSY = 4096


@dataclass(frozen=True)
class UpdateShape:
    """The shape of a micro-batch of an update."""

    tokens: int
    """Tokens that are run through the layers, padding included."""
    rows: int = 1
    prompt: int = 0
    """Tokens of the longest prompt."""
    longest: int = 0
    """Tokens of the longest sequence, its prompt included."""


@dataclass(frozen=True)
class Footprint:
    """Bytes that a policy takes, by what they grow with."""

    held: int
    """Weights, masters, optimizer and reference."""
    gradients: int
    """0 where nothing is trained."""
    position: int
    """Sampling's keys and values of one token."""
    row: int
    """Sampling's state of fixed size of one row."""
    kept: int
    """What layers keep of one token of an update."""
    recomputed: int | None
    """The same where layers are computed again; None where they cannot be."""
    copied: int = 0
    """Of a token of a prompt, for each row behind it, where its keys and values are copied in an update."""
    pair: int = 0
    """Of a query and a key that meet in an update."""
    logits: int = 0
    """Of an update's logits that exist at a time, without halvings."""
    smallest_logits: int = 0
    """The same with one position in a chunk."""
    beside_logits: int = 0
    """Of an update, however small the chunks of its logits are, such as the gradient of the output projection while it
    is added up."""
    drawn: int = 0
    """Of the logits that a row's next token is drawn from."""
    passed: int = 0
    """Of a token in a pass of sampling."""
    layers: int = 1
    """Layers with keys and values; while rows are grown or copied, those of one or a few exist twice."""

    def chunk(self, halvings: int) -> int:
        """Bytes of the logits that exist at a time, and of what is there beside them."""
        return max(self.logits >> halvings, self.smallest_logits) + self.beside_logits

    def update(self, shape: UpdateShape, *, checkpointing: bool) -> int:
        """Bytes of a micro-batch, gradients and logits aside."""
        kept = self.recomputed if checkpointing and self.recomputed is not None else self.kept
        return shape.tokens * (kept + self.pair * shape.longest) + max(shape.rows - 1, 0) * shape.prompt * self.copied

    def sampling(self, rows: int, positions: int, *, pass_tokens: int) -> int:
        """Bytes of rows of so many positions, with the arrays of a pass."""
        return rows * (in_steps(positions) * self.position + self.row + self.drawn) + pass_tokens * self.passed


@dataclass(frozen=True)
class Wanted:
    """What a policy's options ask for."""

    slots: int
    """Rows of sampling at most."""
    context: int
    """Tokens of the longest sequence."""
    token_budget: int
    """Tokens of a micro-batch, and of a pass of sampling."""
    finds_budget: bool = False
    """`token_budget: auto`: micro-batches hold what the memory for an update does, and `token_budget` tokens where
    nothing is known of it; it is that of sampling still."""
    checkpointing: bool | Literal["auto"] = "auto"
    kv_memory: int | None = None
    """Bytes of keys and values at most; None for what is left."""
    option: str = "backend.memory"
    """The option that sets what is allowed, for messages."""


@dataclass(frozen=True)
class MemoryPlan:
    """What a policy takes of the memory that is allowed."""

    budget: KVBudget
    """Of sampling's keys and values."""
    checkpointing: bool
    """Whether layers are computed again in the backward pass."""
    update: int | None
    """Bytes that a micro-batch may take, gradients and logits aside; None for no limit."""
    beside_update: int | None
    """Bytes of keys and values that may stay during an update; None for no limit."""
    halvings: int = 0
    """How often the number of logits in a chunk is halved."""
    pass_tokens: int | None = None
    """Tokens in a pass of sampling at most; None for as many as asked for."""
    shrunk: Mapping[str, str] = field(default_factory=dict)
    """A line for each thing that was made smaller, by its name."""
    token_budget: int = 0
    """Tokens of a micro-batch."""


def plan_memory(size: Footprint, wanted: Wanted, allowed: int | None, *, trains: bool) -> MemoryPlan:
    """Fit a policy into the memory that is allowed.

    Args:
        size: of the policy.
        wanted: by its options.
        allowed: bytes; None for no limit.
        trains: whether there is an optimizer.

    Raises:
        BackendError: what is held and the smallest micro-batch, or a sequence of one token, do not fit.
    """
    if not wanted.finds_budget or allowed is None or not trains:
        return replace(
            _planned(size, wanted, wanted.token_budget, allowed, trains=trains), token_budget=wanted.token_budget
        )
    budget = found_budget(size, wanted, allowed)
    plan = _planned(size, wanted, budget, allowed, trains=True)
    said = {f"token_budget {budget}": f"`token_budget: auto` is {budget:,} tokens"}
    return replace(plan, token_budget=budget, shrunk=said | dict(plan.shrunk))


def found_budget(size: Footprint, wanted: Wanted, allowed: int) -> int:
    """The tokens of a micro-batch that the memory for an update holds, of powers of two and numbers halfway between.

    A micro-batch takes half of that memory at most, as its estimate is rough and kernels have arrays of their own.
    Layers keep what they compute where enough tokens fit so, unless `gradient_checkpointing` asks for the other.
    """
    left = allowed - size.held - size.gradients
    room = (left - size.chunk(_halvings(size, left))) // 2
    steps = [SMALLEST_FOUND]
    while steps[-1] < LARGEST_FOUND:
        steps += [steps[-1] * 3 // 2, steps[-1] * 2]

    def largest(*, checkpointing: bool) -> int:
        shapes = (UpdateShape(tokens, longest=min(tokens, wanted.context)) for tokens in steps)
        fitting = [shape.tokens for shape in shapes if size.update(shape, checkpointing=checkpointing) <= room]
        return max(fitting, default=SMALLEST_FOUND)

    kept = largest(checkpointing=wanted.checkpointing is True)
    if wanted.checkpointing != "auto" or size.recomputed is None or kept >= max(BUSY, wanted.context):
        return kept
    return largest(checkpointing=True)


def _planned(size: Footprint, wanted: Wanted, token_budget: int, allowed: int | None, *, trains: bool) -> MemoryPlan:
    """As `plan_memory`, with this many tokens in a micro-batch."""
    checkpointing = wanted.checkpointing is True
    if allowed is None:
        return MemoryPlan(_kv_budget(size, wanted, wanted.kv_memory), checkpointing, None, None)
    whole = UpdateShape(token_budget, longest=min(token_budget, wanted.context))
    left = allowed - size.held
    shrunk: dict[str, str] = {}
    halvings = _halvings(size, left - size.gradients) if trains else 0
    if halvings:
        smaller = gib(size.chunk(halvings) - size.beside_logits)
        shrunk["logits"] = f"logits are computed in chunks that take {smaller}, not {gib(size.logits)}"
    for_update = left - size.gradients - size.chunk(halvings) if trains else 0
    needed = size.update(whole, checkpointing=checkpointing) if trains else 0
    if needed > for_update // 2 and trains and wanted.checkpointing == "auto" and size.recomputed is not None:
        checkpointing = True
        shrunk["checkpointing"] = (
            f"layers are computed again in the backward pass: a full micro-batch would keep {gib(needed)} of the "
            f"{gib(max(for_update, 0))} there are for an update"
        )
        needed = size.update(whole, checkpointing=True)
    if trains:
        _check_update(size, wanted, allowed, for_update, checkpointing=checkpointing)
    if needed > for_update:
        shrunk["micro-batches"] = (
            f"micro-batches hold as many tokens as {gib(for_update)} allow, fewer than `token_budget` "
            f"({token_budget:,})"
        )
    update = max(for_update, 0) if trains else None
    if wanted.kv_memory is None:
        all_rows = size.sampling(wanted.slots, wanted.context + 1, pass_tokens=wanted.token_budget)
        if all_rows + (left - for_update + needed if trains else 0) <= left:
            # everything fits side by side
            budget = _kv_budget(size, wanted, None)
            return MemoryPlan(budget, checkpointing, update, None, halvings, None, shrunk)
    pass_tokens = wanted.token_budget
    while pass_tokens * size.passed > left // 4 and pass_tokens > SMALLEST_PASS:
        pass_tokens //= 2
    # while rows grow or are copied, what a layer or two keep exists twice
    room = (left - min(pass_tokens * size.passed, left // 4)) * size.layers // (size.layers + COPIED_LAYERS)
    limit = room if wanted.kv_memory is None else min(room, wanted.kv_memory)
    budget = _kv_budget(size, wanted, max(limit, 0), beside_row=size.drawn if limit == room else 0)
    if limit == room and not budget.fits(1, 1):
        raise _too_small(size, wanted, allowed, trains=trains)
    beside = max(for_update - needed, 0) if trains else room
    given = None if pass_tokens == wanted.token_budget else pass_tokens
    if limit == room:
        shrunk["sequences"] = (
            f"keys and values take up to {gib(limit)}: sequences that find no room wait for others to end"
        )
    return MemoryPlan(budget, checkpointing, update, beside, halvings, given, shrunk)


def _halvings(size: Footprint, left: int) -> int:
    """How often chunks of logits are halved, so that they take no more than a quarter of what is left for them."""
    halvings, most = 0, max((left - size.beside_logits) // 4, size.smallest_logits)
    while size.logits >> halvings > most:
        halvings += 1
    return halvings


def gib(count: int) -> str:
    """A number of bytes, for people."""
    return f"{count / GIB:.3g} GiB"


def _kv_budget(size: Footprint, wanted: Wanted, limit: int | None, beside_row: int = 0) -> KVBudget:
    option = wanted.option if wanted.kv_memory is None else "backend.kv_memory"
    return KVBudget(limit, size.position, option, size.row + beside_row)


def _check_update(size: Footprint, wanted: Wanted, allowed: int, left: int, *, checkpointing: bool) -> None:
    """Refuse a memory into which no micro-batch fits."""
    if size.update(UpdateShape(1, longest=1), checkpointing=checkpointing) > left:
        raise _too_small(size, wanted, allowed, trains=True)


def _too_small(size: Footprint, wanted: Wanted, allowed: int, *, trains: bool) -> BackendError:
    needed = size.held + (size.gradients if trains else 0)
    return BackendError(
        f"the model does not fit into the {gib(allowed)} it may take: its weights"
        f"{', gradients and optimizer' if trains else ''} need {gib(needed)}",
        hint=f"train an adapter, quantize the model, take a smaller one, or raise `{wanted.option}`",
    )


def planned_estimate(
    size: Footprint,
    wanted: Wanted,
    load: MemoryLoad,
    allowed: int | None,
    parts: Mapping[str, int],
    parameters: tuple[int, int],
) -> MemoryEstimate:
    """The estimate of a policy that is held to a memory.

    Args:
        size: of the policy.
        wanted: by its options.
        load: that is put on it.
        allowed: bytes; None for no limit.
        parts: bytes of weights, gradients, optimizer and reference.
        parameters: the number of all, and of those that are trained.
    """
    trains = load.optimizer is not None
    notes = [ACTIVATIONS_NOTE] if trains else []
    try:
        plan = plan_memory(size, wanted, allowed, trains=trains)
    except BackendError as error:
        notes.append(f"it cannot fit: {error.message}")
        plan = _smallest(size, wanted)
    sampling_tokens, wanted = wanted.token_budget, replace(wanted, token_budget=plan.token_budget)
    rows = _rows_at_once(plan.budget, wanted.slots, load.context)
    shape = _full_shape(size, wanted, load, plan)
    # a micro-batch's gradients, before they are added up
    beside = max(size.gradients - parts["gradients"], 0)
    found = dict(parts) | {
        "keys and values": rows * (load.context * size.position + size.row),
        "sampling": min(rows, 1) * (plan.pass_tokens or sampling_tokens) * size.passed + rows * size.drawn,
        "activations": size.update(shape, checkpointing=plan.checkpointing) + beside if trains else 0,
        "logits": size.chunk(plan.halvings) if trains else 0,
    }
    if rows < wanted.slots:
        notes.append(f"{rows} of {wanted.slots} sequences are sampled at once, at full length; others wait")
    if plan.checkpointing and trains and wanted.checkpointing is True:
        notes.append("layers are computed again in the backward pass (`backend.gradient_checkpointing`)")
    # that sequences wait is said above, with their number
    notes += [line for what, line in plan.shrunk.items() if what != "sequences"]
    return MemoryEstimate(
        parameters=parameters[0],
        trainable=parameters[1],
        parts=found,
        notes=tuple(notes),
        position=size.position,
        rows=rows,
        micro_batch=shape.tokens if trains else 0,
        checkpointing=plan.checkpointing,
    )


def _smallest(size: Footprint, wanted: Wanted) -> MemoryPlan:
    """With everything as small as it can be: one sequence, one position in a chunk of logits."""
    checkpointing = wanted.checkpointing is not False and size.recomputed is not None
    halvings = max(size.logits // max(size.smallest_logits, 1), 1).bit_length()
    budget = _kv_budget(size, wanted, 0)
    tokens = SMALLEST_FOUND if wanted.finds_budget else wanted.token_budget
    return MemoryPlan(budget, checkpointing, 0, 0, halvings, min(SMALLEST_PASS, tokens), token_budget=tokens)


def _rows_at_once(budget: KVBudget, wanted: int, positions: int) -> int:
    """Rows of so many positions that a budget holds, of those that are wanted; at least one, where any are."""
    low, high = min(wanted, 1), wanted
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if budget.fits(middle, positions) else (low, middle - 1)
    return low


def _full_shape(size: Footprint, wanted: Wanted, load: MemoryLoad, plan: MemoryPlan) -> UpdateShape:
    """The largest micro-batch of a load: one prompt, and the sequences of full length that the budget and memory hold.

    A sequence that is longer than the budget makes a micro-batch of its own.
    """
    response = max(load.context - load.prompt, 1)
    rows = max((wanted.token_budget - load.prompt) // response, 1)
    while True:
        tokens = max(load.context, min(wanted.token_budget, load.prompt + rows * response))
        shape = UpdateShape(tokens if rows > 1 else load.context, rows, load.prompt, load.context)
        needed = size.update(shape, checkpointing=plan.checkpointing)
        if rows == 1 or plan.update is None or needed <= plan.update:
            return shape
        rows = max(rows // 2, 1)
