"""Products and bytes, counted by hand for a small model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mentor_kit_torch.flops_counter import limits
from torch_students import load

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.testing.material import drive, request
from mentor_kit.testing.objectives import make_objective

# two layers of width 32: projections of 32 to 32 and twice 16 and back, three matrices of 32 by 48, norms
BODY = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32) + 32
HEAD = 100 * 32
PAIR = 4 * 2 * 32


@pytest.mark.parametrize(("largest", "kept"), [(1 << 20, 0), (100, 450), (1 << 20, 1 << 20)])
def test_an_updates_products(folder: Path, monkeypatch: pytest.MonkeyPatch, largest: int, kept: int) -> None:
    monkeypatch.setattr("mentor_kit_torch.chunked_logprobs.LARGEST_LOGITS", largest)
    monkeypatch.setattr("mentor_kit_torch.chunked_logprobs.KEPT_LOGITS", kept)
    policy = load(folder)
    policy.prepare(OptimizerSpec())
    assert policy.work() == {}
    one = np.ones(3, dtype=np.float32)
    rows = tuple(TokenCompletion(np.array([first, 6, 7]), one, -one, 1.0) for first in (5, 8))
    policy.forward_backward([TokenGroup(np.array([1, 2, 3, 4]), rows)], make_objective(preset="rloo"))
    work = policy.work()["update"]
    # the prompt, and two tokens of each completion: they look at themselves, and at the prompt
    tokens, pairs = 4 + 2 * 2, 4 * 4 + 2 * (2 * 2) + 4 * 4
    assert work.tokens == tokens
    # logits that are not kept are computed again in the backward pass
    again = 6 - min(6, kept // 100)
    assert work.flops == pytest.approx(3 * (2 * BODY * tokens + PAIR * pairs) + 3 * 2 * HEAD * 6 + 2 * HEAD * again)
    assert work.seconds > 0


def test_samplings_products_and_bytes(folder: Path) -> None:
    policy = load(folder)
    drive(policy.engine(), [request("a", range(1, 6), max_new_tokens=2), request("b", range(1, 5), max_new_tokens=2)])
    work = policy.work()
    # too little in common to be shared: two rows of five
    assert (work["prefill"].tokens, work["decode"].tokens) == (10, 2)
    # one pass over both rows, the longer of which has six tokens
    assert work["decode"].flops == pytest.approx(2 * BODY * 2 + PAIR * 2 * 6 + 2 * HEAD * 2)
    position = 2 * 2 * 16 * 4
    assert work["decode"].bytes == pytest.approx(4 * (BODY + HEAD) + position * 2 * 6)


def test_limits_of_this_machine() -> None:
    found = limits(torch.device("cpu"), torch.float32)
    # far below those of any machine, as others may take most of its time
    assert found.flops > 1e7
    assert found.bandwidth > 1e6
