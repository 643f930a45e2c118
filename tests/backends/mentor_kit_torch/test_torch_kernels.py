"""Attention in merged parts against softmax over all keys at once, by both ways of computing a part."""

from __future__ import annotations

import pytest
import torch
from mentor_kit_torch import kernels
from torch import Tensor


@pytest.fixture(params=["fused", "plain", "plain in blocks"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "fused":
        assert kernels.fused_agrees()
    else:
        monkeypatch.setattr(kernels, "fused_agrees", lambda: False)
    if request.param == "plain in blocks":
        monkeypatch.setattr(kernels, "LARGEST_SCORES", 100)
    return str(request.param)


def states(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def whole(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Out and log-sum-exp by the definition, in float64."""
    scores = (query.double() @ key.double().transpose(-1, -2)) * scale
    scores = scores.masked_fill(~allowed, -torch.inf)
    return torch.softmax(scores, dim=-1) @ value.double(), torch.logsumexp(scores, dim=-1)


def test_parts_merge_to_the_whole_with_its_gradients(way: str) -> None:
    queries, common, scale = 7, 11, 0.3
    query, grad = states(2, 3, queries, 8, seed=0), states(2, 3, queries, 8, seed=1)
    key, value = states(2, 3, common + queries, 8, seed=2), states(2, 3, common + queries, 8, seed=3)
    allowed = torch.cat([torch.ones(queries, common), torch.ones(queries, queries).tril()], dim=1).bool()
    inputs = [x.double().requires_grad_() for x in (query, key, value)]
    expected, expected_lse = whole(*inputs, allowed, scale)
    expected.backward(grad.double())

    spans = ((slice(0, common), False), (slice(common, None), True))
    parts = [kernels.attend(query, key[:, :, s], value[:, :, s], scale, causal=causal) for s, causal in spans]
    merged = kernels.merge(parts)
    torch.testing.assert_close(merged[0].double(), expected.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(merged[1].double(), expected_lse.detach(), atol=1e-5, rtol=1e-5)
    found = [
        kernels.gradients(grad, query, key[:, :, s], value[:, :, s], merged, scale, causal=causal)
        for s, causal in spans
    ]
    torch.testing.assert_close((found[0][0] + found[1][0]).double(), inputs[0].grad, atol=1e-5, rtol=1e-5)
    for index in (1, 2):
        both = torch.cat([found[0][index], found[1][index]], dim=2)
        torch.testing.assert_close(both.double(), inputs[index].grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("heads", [4, 2])
def test_a_bias_hides_keys_also_from_the_gradient(way: str, heads: int) -> None:
    query, grad = states(2, 4, 3, 8, seed=0), states(2, 4, 3, 8, seed=3)
    key, value = states(2, heads, 6, 8, seed=1), states(2, heads, 6, 8, seed=2)
    allowed = (
        torch.tensor([[True, False, True, False, False, False], [True] * 6]).reshape(2, 1, 1, 6).repeat(1, 1, 3, 1)
    )
    allowed[1, 0, 0, 4:] = False
    inputs = [x.double().requires_grad_() for x in (query, key, value)]
    # each head of keys is looked at by the query heads that stand next to each other
    repeated = [x.repeat_interleave(4 // heads, dim=1) for x in inputs[1:]]
    expected, expected_lse = whole(inputs[0], *repeated, allowed, 0.5)
    expected.backward(grad.double())

    bias = kernels.bias_of(allowed, query.dtype)
    merged = kernels.attend(query, key, value, 0.5, bias=bias)
    torch.testing.assert_close(merged[0].double(), expected.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(merged[1].double(), expected_lse.detach(), atol=1e-5, rtol=1e-5)
    found = kernels.gradients(grad, query, key, value, merged, 0.5, bias=bias)
    for one, given in zip(found, inputs, strict=True):
        torch.testing.assert_close(one.double(), given.grad, atol=1e-5, rtol=1e-5)
