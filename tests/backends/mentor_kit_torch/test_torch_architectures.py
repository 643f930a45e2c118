"""Families of models, each tiny and random, against transformers alone in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch_students import SHAPE, Float64Twin, load, write_student

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.testing.material import drive, flat, group_of, log_softmax, ragged_groups, request
from mentor_kit.testing.objectives import make_objective

WINDOW = 6  # shorter than the sequences below
LAYERS = ["sliding_attention", "full_attention"]
HEAD = {"head_dim": 8}
#: Queries behind the eighth place are scaled by their places.
FAR = {
    **{"rope_type": "yarn", "rope_theta": 10000.0, "factor": 6.0, "original_max_position_embeddings": 8},
    **{"beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.5},
}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("Qwen2Config", {}),
    "qwen2-tied": ("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", HEAD),
    "mistral-window": ("MistralConfig", {"sliding_window": WINDOW}),
    "gemma": ("GemmaConfig", HEAD),
    "gemma2": (
        "Gemma2Config",
        HEAD | {"sliding_window": WINDOW, "layer_types": LAYERS, "final_logit_softcapping": 2.0},
    ),
    "gemma3": ("Gemma3TextConfig", HEAD | {"sliding_window": WINDOW, "layer_types": LAYERS}),
    "granite": ("GraniteConfig", {"logits_scaling": 3.0}),
    "cohere": ("CohereConfig", {"logit_scale": 0.5}),
    "phi3": ("Phi3Config", {}),
    "smollm3": ("SmolLM3Config", {"no_rope_layers": [1, 0]}),
    "olmo": ("OlmoConfig", {}),
    "olmo2": ("Olmo2Config", {}),
    "ministral3": ("Ministral3Config", HEAD | {"sliding_window": None, "rope_parameters": FAR}),
    "mpt": (
        "MptConfig",
        {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 96, "vocab_size": 100, "initializer_range": 0.2},
    ),
    "qwen3-moe": (
        "Qwen3MoeConfig",
        HEAD | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    ),
    "gpt2": ("GPT2Config", {"n_positions": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100}),
    "mamba": ("MambaConfig", {"state_size": 4}),
    "llama4": (
        "Llama4TextConfig",
        HEAD
        | {"intermediate_size_mlp": 48, "num_local_experts": 2, "no_rope_layers": [1, 0]}
        # half of the layers see the same stretch of positions alone
        | {"attention_chunk_size": WINDOW, "layer_types": ["chunked_attention", "full_attention"]},
    ),
}
#: Models with a recurrence that cannot take in several tokens behind others; `test_torch_hybrids` has more kinds.
RECURRENT = {"mamba"}
EXPERTS = {"qwen3-moe", "llama4"}
#: Models that look at keys by their places in the cache, which the padding of prompts shifts.
BY_PLACE = {"mpt"}
#: Models of which some layers see near tokens alone.
WINDOWS = {"mistral-window", "gemma2", "gemma3", "llama4"}


def make(name: str, folder: Path) -> Path:
    kind, changes = FAMILIES[name]
    shape = {} if name in ("gpt2", "mpt") else SHAPE
    return write_student(folder, getattr(transformers, kind)(**(shape | changes)))


@pytest.mark.parametrize("name", FAMILIES)
def test_family(name: str, tmp_path: Path) -> None:
    folder = make(name, tmp_path)
    # experts are not run in float64
    policy, twin = load(folder), Float64Twin(folder, torch.float32 if name in EXPERTS else torch.float64)
    device = policy.engine().device
    assert device.keeps_rows
    assert device.cuts_rows == (name not in RECURRENT)
    assert policy._sharing == ("none" if name in RECURRENT | BY_PLACE else "prompts" if name in WINDOWS else "tree")
    prompts = [list(range(1, 13)), [1, 2, 9]]
    requests = [
        request(f"{p}.{g}", prompts[p], temperature=0.8, max_new_tokens=6 + g) for p in range(2) for g in range(3)
    ]
    done = drive(policy.engine(), requests)
    again = [
        request(f"{r.id}+", [*r.context, *done[r.id].ids, 5, 6], session=r.session, temperature=0.8) for r in requests
    ]
    done |= drive(policy.engine(), again)
    for item in [*requests, *again]:
        expected = exact(twin, item.context, done[item.id].ids, 0.8)
        np.testing.assert_allclose(done[item.id].log_probs, expected, atol=1e-4)
    groups = [group_of(prompts[p], [done[f"{p}.{g}"] for g in range(3)], [1.0, -1.0, 0.5], 0.8) for p in range(2)]
    sampled = np.concatenate([c.log_probs for group in groups for c in group.completions])
    np.testing.assert_allclose(flat(policy.log_probs(groups)), sampled, atol=1e-4)
    assert shared_gradient(policy, groups) == pytest.approx(apart_gradient(policy, groups), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "mistral-window"])
def test_eager_attention_gives_the_same(name: str, tmp_path: Path) -> None:
    folder = make(name, tmp_path)
    policy, twin = load(folder, attention="eager"), Float64Twin(folder)
    requests = [request(str(n), list(range(1, 5 + 3 * n)), temperature=0.8, max_new_tokens=6) for n in range(3)]
    done = drive(policy.engine(), requests)
    for item in requests:
        expected = exact(twin, item.context, done[item.id].ids, 0.8)
        np.testing.assert_allclose(done[item.id].log_probs, expected, atol=1e-4)


def test_longrope_is_short_whatever_is_beside(tmp_path: Path) -> None:
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "factor": 3.0}
    rope |= {"long_factor": [1.0, 2.0, 4.0, 8.0], "original_max_position_embeddings": 32}
    config = transformers.Phi3Config(**SHAPE, original_max_position_embeddings=32, rope_parameters=rope)
    folder = write_student(tmp_path, config)
    policy, twin = load(folder), Float64Twin(folder)
    assert policy.info.context == 32  # the model was first trained on so many
    # a second turn: one has much to take in, and the other, which is longer, little
    first = [request("x", list(range(24)), max_new_tokens=1), request("y", [1], max_new_tokens=1)]
    done = drive(policy.engine(), first)
    more = [
        request(f"{r.id}+", [*r.context, *done[r.id].ids, *range(2, 2 + new)], session=r.session, max_new_tokens=2)
        for r, new in zip(first, (1, 15), strict=True)
    ]
    done |= drive(policy.engine(), more)
    for item in [*first, *more]:
        expected = exact(twin, item.context, done[item.id].ids, 1.0)
        np.testing.assert_allclose(done[item.id].log_probs, expected, atol=1e-4)


def exact(twin: Float64Twin, context: Any, ids: Any, temperature: float) -> np.ndarray:
    rows = log_softmax(twin([*context, *ids])[len(context) - 1 : -1], temperature)
    return rows[np.arange(len(ids)), list(ids)]


def shared_gradient(policy: Any, groups: list[TokenGroup]) -> list[float]:
    policy.prepare(OptimizerSpec(clip=None))
    policy.forward_backward(groups, make_objective(preset="rloo"))
    return [float(p.grad.norm()) for p in policy.model.parameters() if p.grad is not None]


def apart_gradient(policy: Any, groups: list[TokenGroup]) -> list[float]:
    return shared_gradient(
        policy, [TokenGroup(g.prompt_ids, (c,), g.temperature) for g in groups for c in g.completions]
    )


def test_a_head_that_is_not_understood_is_run_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make("qwen2", tmp_path)
    expected = load(folder).log_probs(ragged_groups(100))
    monkeypatch.setattr("mentor_kit_torch.lm_wrapper.TorchLMWrapper._agrees", lambda self: False)
    policy = load(folder)
    assert not policy.lm.split
    np.testing.assert_allclose(flat(policy.log_probs(ragged_groups(100))), flat(expected), atol=1e-5)
    assert drive(policy.engine(), [request("a", [1, 2, 3])])["a"].finish == "length"


@pytest.mark.parametrize("name", ["qwen3", "gemma2", "gpt2"])
def test_greedy_is_what_transformers_generates(name: str, tmp_path: Path) -> None:
    folder = make(name, tmp_path)
    policy = load(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    for context in ([1, 2, 3], list(range(20, 40))):
        found = drive(policy.engine(), [request("a", context, temperature=0.0, max_new_tokens=20)])["a"]
        with torch.no_grad():
            expected = model.generate(
                torch.tensor([context]), max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0
            )
        assert list(found.ids) == expected[0, len(context) :].tolist()
