"""Gradients of the shared, micro-batched path against plain autograd over whole sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mentor_kit_torch.chunked_logprobs import kept_rows, logits_bytes
from mentor_kit_torch.policy import TorchPolicy
from mentor_kit_torch.wide_sums import add_product
from torch_students import load, nudge_adapter

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.rl.losses.loss import LossBatch
from mentor_kit.rl.objective import PRESETS, Objective
from mentor_kit.rl.policy_loss import policy_loss
from mentor_kit.testing.material import changed, ragged_groups
from mentor_kit.testing.objectives import make_objective


def row_log_probs(model: Any, group: TokenGroup, completion: Any) -> torch.Tensor:
    """A completion's log-probabilities by one forward pass of its own, with gradients."""
    ids = torch.tensor([[*group.prompt_ids, *completion.ids]])
    logits = model(input_ids=ids, use_cache=False).logits[0, len(group.prompt_ids) - 1 : -1].float()
    values = torch.log_softmax(logits / group.temperature, dim=-1)
    return values.gather(-1, torch.tensor(completion.ids).unsqueeze(-1)).squeeze(-1) * torch.tensor(completion.mask)


def plain_gradients(policy: TorchPolicy, groups: list[TokenGroup], objective: Objective) -> dict[str, torch.Tensor]:
    """The same objective, a sequence at a time, through nothing of the backend's."""
    rows = [(group, completion) for group in groups for completion in group.completions]
    weights = objective.token_weights([completion.mask for _, completion in rows])
    policy.model.zero_grad()
    for (group, completion), weight in zip(rows, weights, strict=True):
        if not completion.mask.any():
            continue
        log_probs = row_log_probs(policy.model, group, completion)
        terms = policy_loss(
            torch,
            objective,
            LossBatch(
                log_probs=log_probs.unsqueeze(0),
                sampled=torch.tensor(completion.log_probs).unsqueeze(0),
                advantages=torch.full((1, len(completion.ids)), float(completion.advantage)),
                mask=torch.tensor(completion.mask).unsqueeze(0),
                weights=torch.tensor(weight).unsqueeze(0),
                reference=(log_probs.detach() - 0.1 * torch.tensor(completion.mask)).unsqueeze(0),
            ),
        )
        terms.loss.backward()
    found = gradients(policy)
    policy.model.zero_grad()
    return found


def gradients(policy: TorchPolicy) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in policy.model.named_parameters() if p.grad is not None}


def near(policy: TorchPolicy, groups: list[TokenGroup]) -> list[TokenGroup]:
    """The groups as if sampled by slightly other weights, so that some ratios are clipped and some not."""
    rng = np.random.default_rng(0)
    now = policy.log_probs(groups)
    return [
        changed(
            group,
            log_probs=lambda c, rows=rows, group=group: (
                rows[next(i for i, other in enumerate(group.completions) if other is c)]
                + (0.3 * rng.standard_normal(len(c.ids)) * c.mask).astype(np.float32)
            ),
        )
        for group, rows in zip(groups, now, strict=True)
    ]


def with_common_text(groups: list[TokenGroup], count: int = 9) -> list[TokenGroup]:
    """The groups with the same text before all their prompts, as a system message with tools."""
    text = np.arange(count) % 100
    return [TokenGroup(np.concatenate([text, g.prompt_ids]), g.completions, g.temperature) for g in groups]


@pytest.mark.spread
@pytest.mark.parametrize("adapted", [False, True], ids=["full", "adapter"])
@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("budget", [60, 10_000])
def test_gradients_are_those_of_plain_autograd(
    folder: Path, preset: str, adapted: bool, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load(folder, AdapterSpec(rank=4) if adapted else None, token_budget=budget)
    assert policy._sharing == "tree"
    if adapted:
        nudge_adapter(policy)
    policy.prepare(OptimizerSpec(clip=None))
    groups = near(policy, with_common_text(ragged_groups(100, temperature=0.8)))
    objective = make_objective(preset=preset)
    expected = plain_gradients(policy, groups, objective)
    # the reference stands a constant below the policy, in both
    scores = policy._scores
    monkeypatch.setattr(
        policy, "_scores", lambda batch, which: scores(batch, "current") - 0.1 * torch.from_numpy(batch.mask)
    )
    policy.forward_backward(groups, objective)
    found = gradients(policy)
    assert found.keys() == expected.keys()
    scale = max(float(value.norm()) for value in expected.values())
    for name, value in expected.items():
        assert float((found[name] - value).norm()) <= 1e-5 * scale, name


@pytest.mark.spread
@pytest.mark.parametrize("kept", [1, 5, 128], ids=lambda kept: f"kept{kept}")
@pytest.mark.parametrize("alone", [1, 4, 256], ids=lambda alone: f"alone{alone}")
@pytest.mark.parametrize("budget", [40, 10_000])
def test_gradients_however_a_tree_attends(
    folder: Path, kept: int, alone: int, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mentor_kit_torch.tree.SHORTEST_KEPT", kept)
    monkeypatch.setattr("mentor_kit_torch.tree.SHORTEST_ALONE", alone)
    monkeypatch.setattr("mentor_kit_torch.tree_rows.LARGEST_KEPT_BIAS", 100)
    policy = load(folder, token_budget=budget)
    policy.prepare(OptimizerSpec(clip=None))
    groups, objective = with_common_text(ragged_groups(100, temperature=0.8)), make_objective(preset="rloo")
    expected = plain_gradients(policy, groups, objective)
    policy.forward_backward(groups, objective)
    found = gradients(policy)
    scale = max(float(value.norm()) for value in expected.values())
    for name, value in expected.items():
        assert float((found[name] - value).norm()) <= 1e-5 * scale, name


def branching_groups(seed: int) -> list[TokenGroup]:
    """Three groups whose completions go on from places of each other's."""
    rng = np.random.default_rng(seed)
    groups = []
    for _ in range(3):
        said: list[list[int]] = [[]]
        for _ in range(rng.integers(1, 7)):
            before = said[rng.integers(len(said))]
            said.append([*before[: rng.integers(len(before) + 1)], *rng.integers(0, 100, rng.integers(0, 7)).tolist()])
        masks = [(rng.random(len(ids)) < 0.7).astype(np.float32) for ids in said]
        rows = (
            TokenCompletion(np.array(ids, dtype=np.int64), mask, -mask, float(rng.normal()))
            for ids, mask in zip(said, masks, strict=True)
        )
        groups.append(TokenGroup(rng.integers(0, 100, rng.integers(1, 9)), tuple(rows), float(rng.choice([0.8, 1.0]))))
    return with_common_text(groups, int(rng.integers(0, 9)))


@settings(max_examples=settings.default.max_examples // 2, derandomize=True)
@given(seed=st.integers(0, 1 << 20), shared=st.integers(1, 4), kept=st.integers(1, 9), alone=st.integers(1, 9))
def test_completions_share_what_they_begin_with(folder: Path, seed: int, shared: int, kept: int, alone: int) -> None:
    policy, groups = load(folder), branching_groups(seed)
    policy.prepare(OptimizerSpec(clip=None))
    objective = make_objective(preset="rloo")
    expected = plain_gradients(policy, groups, objective)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mentor_kit_torch.tree.SHORTEST_SHARED", shared)
        patch.setattr("mentor_kit_torch.tree.SHORTEST_KEPT", kept)
        patch.setattr("mentor_kit_torch.tree.SHORTEST_ALONE", alone)
        log_probs = policy.log_probs(groups)
        policy.forward_backward(groups, objective)
    for group, rows in zip(groups, log_probs, strict=True):
        for completion, row in zip(group.completions, rows, strict=True):
            alone_row = row_log_probs(policy.model, group, completion).detach().numpy() if len(row) else row
            np.testing.assert_allclose(row * completion.mask, alone_row, atol=1e-5)
    found = gradients(policy)
    scale = max((float(value.norm()) for value in expected.values()), default=0.0)
    for name, value in expected.items():
        assert float((found[name] - value).norm()) <= 1e-5 * scale, name


def test_each_token_is_run_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mentor_kit_torch.lm_wrapper import TorchLMWrapper

    seen, plain = [], TorchLMWrapper.hidden

    def hidden(self: TorchLMWrapper, ids: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        seen.append(tuple(ids.shape))
        return plain(self, ids, *args, **kwargs)

    policy = load(folder)
    monkeypatch.setattr(TorchLMWrapper, "hidden", hidden)
    policy.prepare(OptimizerSpec())
    # three in common are not worth a node; the last two have sixteen
    said = [[7, 8, 9, 10], [7], [7, 8, 9, *range(20, 33), 3], [7, 8, 9, *range(20, 33), 4, 5]]
    ones = [np.ones(len(ids), dtype=np.float32) for ids in said]
    rows = tuple(TokenCompletion(np.array(ids), one, -one, 1.0) for ids, one in zip(said, ones, strict=True))
    groups = with_common_text([TokenGroup(np.array([50, 51]), rows), TokenGroup(np.array([52]), rows[:1])])
    policy.forward_backward(groups, make_objective(preset="rloo"))
    # the common text, the rests of two prompts, and completions without the last token, which predicts nothing
    assert seen == [(1, 9 + 2 + 1 + 3 + 0 + (16 + 1) + 3)]


def test_large_heads_are_computed_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load(folder)
    policy.prepare(OptimizerSpec(clip=None))
    groups, objective = ragged_groups(100), make_objective(preset="rloo")
    policy.forward_backward(groups, objective)
    expected = gradients(policy)
    monkeypatch.setattr("mentor_kit_torch.chunked_logprobs.LARGEST_LOGITS", 300)
    for halvings in (0, 1, -2):
        policy.prepare(OptimizerSpec(clip=None))
        policy.lm.logits_halvings = halvings
        policy.forward_backward(groups, objective)
        for name, value in gradients(policy).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("halvings", "rows"), [(0, 3), (1, 1), (4, 1), (-2, 12)])
def test_chunks_are_halved_and_doubled(monkeypatch: pytest.MonkeyPatch, halvings: int, rows: int) -> None:
    monkeypatch.setattr("mentor_kit_torch.chunked_logprobs.LARGEST_LOGITS", 300)
    monkeypatch.setattr("mentor_kit_torch.chunked_logprobs.KEPT_LOGITS", 600)
    assert kept_rows(10**6, 100, halvings) % rows == 0
    assert kept_rows(10**6, 100, halvings) == {0: 6, 1: 3, 4: 0, -2: 24}[halvings]
    assert logits_bytes(halvings) == int(1800 / 2**halvings) * 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_is_added_to_a_total_in_float32(dtype: torch.dtype) -> None:
    draws = torch.Generator().manual_seed(1)
    left, right, total = (torch.randn(shape, generator=draws) for shape in ((5, 9), (9, 7), (5, 7)))
    left, right = left.to(dtype), right.to(dtype)
    expected = total.double() + left.double() @ right.double()
    add_product(total, left, right)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total.double(), expected, rtol=torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps)


def test_updates_repeat_to_the_bit(folder: Path) -> None:
    found = []
    for _ in range(2):
        policy = load(folder, threads=2)
        policy.prepare(OptimizerSpec())
        for _ in range(3):
            policy.forward_backward(ragged_groups(100), make_objective(preset="dapo"))
            policy.optimizer_step(1e-2)
        found.append({name: value.clone() for name, value in policy.model.named_parameters()})
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
