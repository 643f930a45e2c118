"""The decoder with fewer operations against transformers' own modules, and its functions against plain autograd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from mentor_kit_torch.chunked_logprobs import TokenLogProbs
from mentor_kit_torch.fused_llama import GatedActivation, RMSNorm, Rotation
from test_torch_architectures import make
from torch_students import SHAPE, load, write_student
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.testing.material import drive, flat, ragged_groups, request
from mentor_kit.testing.objectives import make_objective


def states(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def same_gradients(found: torch.Tensor, expected: torch.Tensor, inputs: list[torch.Tensor]) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    grad = states(*found.shape, seed=9).detach()
    wanted = torch.autograd.grad(expected, inputs, grad)
    for one, other in zip(torch.autograd.grad(found, inputs, grad), wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_norm() -> None:
    norm, x = LlamaRMSNorm(6, eps=1e-3), states(2, 5, 6, seed=0)
    with torch.no_grad():
        norm.weight.copy_(states(6, seed=1))
    same_gradients(RMSNorm.apply(x, norm.weight, 1e-3), norm(x), [x, norm.weight])


def test_rotation() -> None:
    # heads stand before tokens for transformers
    x, angles = states(2, 5, 3, 8, seed=0), states(2, 5, 4, seed=1).detach()
    cos, sin = (torch.cat([part, part], dim=-1) for part in (angles.cos(), angles.sin()))
    expected, _ = apply_rotary_pos_emb(x.transpose(1, 2), x.transpose(1, 2), cos, sin)
    same_gradients(Rotation.apply(x, cos.unsqueeze(2), sin.unsqueeze(2)), expected.transpose(1, 2), [x])


def test_gate() -> None:
    gate, up = states(2, 5, 6, seed=0), states(2, 5, 6, seed=1)
    same_gradients(GatedActivation.apply(gate, up), torch.nn.functional.silu(gate) * up, [gate, up])


@pytest.mark.parametrize("largest", [1 << 20, 30])
@pytest.mark.parametrize("kept", [1 << 20, 50, 0], ids=["kept", "some kept", "none kept"])
def test_token_log_probs(largest: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mentor_kit_torch.chunked_logprobs.LARGEST_LOGITS", largest)
    monkeypatch.setattr("mentor_kit_torch.chunked_logprobs.KEPT_LOGITS", kept)
    hidden, weight = states(7, 4, seed=0), states(11, 4, seed=1)
    targets, temperature = torch.tensor([0, 10, 3, 3, 5, 1, 2]), torch.tensor([1.0, 0.5, 1, 2, 1, 1, 0.7])

    def expected(of_entropy: float) -> torch.Tensor:
        logits = (hidden @ weight.T) / temperature.unsqueeze(-1)
        chosen = torch.log_softmax(logits, dim=-1)[torch.arange(7), targets]
        return chosen + of_entropy * torch.distributions.Categorical(logits=logits).entropy()

    found = TokenLogProbs.apply(hidden, weight, targets, temperature)
    same_gradients(found[0], expected(0.0), [hidden, weight])
    for of_entropy in (0.0, 0.7):
        log_probs, entropy = TokenLogProbs.apply(hidden, weight, targets, temperature, True)
        same_gradients(log_probs + of_entropy * entropy, expected(of_entropy), [hidden, weight])


LEAN = {"qwen2": True, "qwen3": True, "qwen2-tied": True, "granite": True, "smollm3": False, "gemma": False}


@pytest.mark.parametrize("name", LEAN)
def test_which_models_are_of_the_kind(name: str, tmp_path: Path) -> None:
    assert (load(make(name, tmp_path)).lm.fused is not None) == LEAN[name]


def test_what_the_parts_do_not_tell_is_found_out_by_trying(tmp_path: Path) -> None:
    folder = write_student(tmp_path, transformers.GraniteConfig(**SHAPE, residual_multiplier=0.5))
    assert load(folder).lm.fused is None


def gradients(policy: Any) -> dict[str, torch.Tensor]:
    policy.prepare(OptimizerSpec(clip=None))
    policy.forward_backward(ragged_groups(100), make_objective(preset="rloo"))
    return {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}


@pytest.mark.spread
@pytest.mark.parametrize("adapted", [False, True], ids=["full", "adapter"])
@pytest.mark.parametrize("kind", ["LlamaConfig", "Qwen3Config"])
@pytest.mark.parametrize("recompute", [False, True], ids=["keep", "recompute"])
def test_the_same_as_transformers(kind: str, adapted: bool, recompute: bool, tmp_path: Path) -> None:
    adapter = AdapterSpec(rank=4) if adapted else None
    folder = write_student(tmp_path, getattr(transformers, kind)(**SHAPE, head_dim=8))
    policy, plain = load(folder, adapter, gradient_checkpointing=recompute), load(folder, adapter)
    assert policy.lm.fused is not None
    plain.lm.fused = None
    np.testing.assert_allclose(
        flat(policy.log_probs(ragged_groups(100))), flat(plain.log_probs(ragged_groups(100))), atol=1e-5
    )
    requests = [request(f"{i}", [1, 2, 3 + i], temperature=0.0, max_new_tokens=9) for i in range(3)]
    done, expected = (drive(one.engine(), requests) for one in (policy, plain))
    assert {name: one.ids for name, one in done.items()} == {name: one.ids for name, one in expected.items()}
    wanted = gradients(plain)
    scale = max(float(value.norm()) for value in wanted.values())
    for name, value in gradients(policy).items():
        assert float((value - wanted[name]).norm()) <= 1e-5 * scale, name


def test_layers_are_run_again_rather_than_kept(tmp_path: Path) -> None:
    kept = {}
    for recompute in (False, True):
        policy = load(write_student(tmp_path), gradient_checkpointing=recompute)
        policy.prepare(OptimizerSpec())
        sizes: list[int] = []

        def pack(value: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(value.nbytes)
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            policy.forward_backward(ragged_groups(100), make_objective(preset="rloo"))
        kept[recompute] = sum(sizes)
    assert kept[True] < kept[False] / 2


@pytest.mark.parametrize("name", ["gemma", "phi3"])
def test_layers_of_other_kinds_are_recomputed_too(name: str, tmp_path: Path) -> None:
    folder, found, kept = make(name, tmp_path), {}, {}
    for recompute in (False, True):
        policy, sizes = load(folder, gradient_checkpointing=recompute), []
        policy.prepare(OptimizerSpec(clip=None))

        def pack(value: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(value.nbytes)
            return value

        # one completion a prompt, of which nothing is shared either way
        alone = [TokenGroup(g.prompt_ids, g.completions[:1], g.temperature) for g in ragged_groups(100)]
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            policy.forward_backward(alone, make_objective(preset="rloo"))
        kept[recompute] = sum(sizes)
        found[recompute] = np.concatenate([p.grad.numpy().ravel() for p in policy.model.parameters()])
    np.testing.assert_allclose(found[True], found[False], rtol=1e-3, atol=1e-5)
    assert kept[True] < kept[False]
