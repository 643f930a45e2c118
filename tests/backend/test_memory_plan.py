"""Plans of memory, by numbers worked out by hand, and properties that hold for all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.backend.memory_plan import Footprint, UpdateShape, Wanted, plan_memory
from mentor_kit.backend.microbatching import micro_batches
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.core.errors import BackendError

SIZE = Footprint(
    held=1000, gradients=200, position=1, row=0, kept=10, recomputed=2, logits=80, smallest_logits=10, layers=3
)
WANTED = Wanted(slots=4, context=127, token_budget=100)


def test_what_fits_side_by_side_is_not_limited() -> None:
    plan = plan_memory(SIZE, WANTED, 10_000, trains=True)
    assert (plan.budget.limit, plan.beside_update, plan.checkpointing, plan.shrunk) == (None, None, False, {})
    assert plan.update == 10_000 - 1000 - 200 - 80


def test_each_thing_is_made_smaller_with_a_line() -> None:
    # 500 for an update: a quarter for logits, of which 40 + 460; 1,000 would be kept, 200 where layers are run again
    plan = plan_memory(SIZE, WANTED, 1700, trains=True)
    assert (plan.checkpointing, plan.halvings, plan.update) == (True, 0, 420)
    tight = plan_memory(SIZE, WANTED, 1400, trains=True)
    assert (tight.halvings, tight.update) == (1, 160)
    assert {"logits", "checkpointing", "micro-batches", "sequences"} == set(tight.shrunk)
    assert tight.budget.limit == 400 // 2
    # what is beside logits stays, and of what it leaves they take a quarter
    beside = plan_memory(replace(SIZE, beside_logits=300), WANTED, 1700, trains=True)
    assert (beside.halvings, beside.update) == (1, 500 - 300 - 40)
    kept = plan_memory(SIZE, replace(WANTED, checkpointing=False), 1700, trains=True)
    assert (kept.checkpointing, set(kept.shrunk)) == (False, {"micro-batches", "sequences"})


def test_what_can_not_be_made_small_enough_is_refused() -> None:
    for allowed, trains, word in ((1000, False, "weights"), (1201, True, "gradients and optimizer")):
        with pytest.raises(BackendError, match=word):
            plan_memory(replace(SIZE, position=100), WANTED, allowed, trains=trains)


@given(
    allowed=st.integers(1200, 20_000),
    checkpointing=st.sampled_from([True, False, "auto"]),
    position=st.integers(1, 5),
    beside=st.integers(0, 500),
    trains=st.booleans(),
)
def test_no_plan_exceeds_what_is_allowed(
    allowed: int, checkpointing: Any, position: int, beside: int, trains: bool
) -> None:
    size = replace(SIZE, position=position, row=3, drawn=2, passed=1, beside_logits=beside)
    try:
        plan = plan_memory(size, replace(WANTED, checkpointing=checkpointing), allowed, trains=trains)
    except BackendError:
        return
    rows = WANTED.slots if plan.budget.limit is None else 0
    sampling = rows * (128 * position + 5) if plan.budget.limit is None else plan.budget.limit
    assert size.held + sampling <= allowed
    if trains:
        assert plan.update is not None
        logits = max(size.logits >> plan.halvings, size.smallest_logits) + beside
        assert size.held + size.gradients + plan.update + logits <= allowed


@given(st.data())
def test_micro_batches_of_several_rows_fit(data: st.DataObject) -> None:
    """However groups look, all completions are taken once, and what has several rows is within the bytes."""
    groups = []
    for number in range(data.draw(st.integers(1, 3))):
        lengths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
        completions = (np.arange(n) + 100 * number + i for i, n in enumerate(lengths))
        prompt = np.arange(data.draw(st.integers(2, 9)))
        own = tuple(TokenCompletion(c, np.ones(len(c)), np.zeros(len(c)), 1.0) for c in completions)
        groups.append(TokenGroup(prompt, own))
    size, most = replace(SIZE, copied=1, pair=1), data.draw(st.integers(50, 900))
    whole = data.draw(st.booleans())

    def fits(shape: UpdateShape) -> bool:
        return size.update(shape, checkpointing=False) <= most

    found = list(micro_batches(groups, 10_000, fits=fits, whole=whole))
    assert sorted(place for batch in found for place in batch.origin) == [
        (g, c) for g, group in enumerate(groups) for c in range(len(group.completions))
    ]
    for batch in found:
        rows, prompts = len(batch.lengths), len(batch.prompt_lengths)
        longest = int(batch.prompt_lengths.max()) + batch.ids.shape[1]
        tokens = rows * longest if whole else prompts * int(batch.prompt_lengths.max()) + rows * batch.ids.shape[1]
        needed = tokens * (10 + longest) + (rows - 1) * int(batch.prompt_lengths.max())
        assert rows == 1 or needed <= most


FOUND = replace(WANTED, finds_budget=True)


def test_a_token_budget_is_found_from_the_memory() -> None:
    """Worked out by hand: of 10,000 bytes 8,800 are left by weights and gradients and 8,720 by logits, half of them for
    a micro-batch: 436 tokens of 10 bytes, or 2,180 of 2 bytes where layers are computed again."""
    plan = plan_memory(SIZE, FOUND, 10_000, trains=True)
    assert (plan.token_budget, plan.checkpointing) == (2048, True)
    assert any("2,048" in line for line in plan.shrunk.values())
    kept = plan_memory(SIZE, replace(FOUND, checkpointing=False), 10_000, trains=True)
    assert (kept.token_budget, kept.checkpointing) == (384, False)
    # 4,936 tokens are enough to keep what layers compute
    large = plan_memory(SIZE, FOUND, 100_000, trains=True)
    assert (large.token_budget, large.checkpointing) == (4096, False)


def test_a_token_budget_is_the_usual_one_where_nothing_is_known_or_trained() -> None:
    assert plan_memory(SIZE, FOUND, None, trains=True).token_budget == 100
    assert plan_memory(SIZE, FOUND, 10_000, trains=False).token_budget == 100
    assert plan_memory(SIZE, WANTED, 10_000, trains=True).token_budget == 100


@given(allowed=st.integers(1500, 10**7), checkpointing=st.sampled_from([True, False, "auto"]))
def test_a_found_budget_fits_and_more_memory_finds_no_less(allowed: int, checkpointing: Any) -> None:
    wanted = replace(FOUND, checkpointing=checkpointing)
    try:
        plan = plan_memory(SIZE, wanted, allowed, trains=True)
    except BackendError:
        return
    needed = SIZE.update(UpdateShape(plan.token_budget, longest=127), checkpointing=plan.checkpointing)
    assert plan.update is not None
    assert needed <= plan.update or plan.token_budget == 64
    more = plan_memory(SIZE, wanted, allowed * 2, trains=True)
    assert more.checkpointing != plan.checkpointing or more.token_budget >= plan.token_budget
