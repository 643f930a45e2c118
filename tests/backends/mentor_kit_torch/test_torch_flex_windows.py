"""FlexAttention along trees in layers with windows, chunks, soft caps and sinks: its eager form by definitions."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mentor_kit_torch.attention import CHUNK, EVERYTHING, WINDOW, Reach
from mentor_kit_torch.attention_backend import ScoreChanges
from mentor_kit_torch.attention_trial import AttentionForm, tree_fault
from mentor_kit_torch.flex_tree import BlockLists, TreeBlocks
from mentor_kit_torch.tree import Tree, TreePlan
from torch.nn.attention import flex_attention
from torch_students import SHAPE, load, write_student
from tree_batches import LONG, batch_of, eager, groups, seen

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.testing.material import flat, ragged_groups
from mentor_kit.testing.objectives import make_objective

__all__ = ["eager"]

reaches = st.one_of(
    st.just(EVERYTHING), st.builds(Reach, st.sampled_from([WINDOW, CHUNK]), st.sampled_from([1, 2, 7, 30, 100]))
)


def shown(mask: np.ndarray, positions: np.ndarray, reach: Reach) -> np.ndarray:
    """(M, M): who sees whom, by a loop over the tokens of each path."""
    found = np.zeros_like(mask)
    for query in range(len(mask)):
        for key in np.nonzero(mask[query])[0]:
            behind = positions[query] - positions[key]
            in_stretch = reach.size and positions[query] // reach.size == positions[key] // reach.size
            found[query, key] = {WINDOW: behind < reach.size, CHUNK: in_stretch}.get(reach.kind, True)
    return found


def dense(lists: Any) -> np.ndarray:
    counts, which = (part[0, 0].numpy() for part in lists)
    found = np.zeros(which.shape, dtype=bool)
    for row, (count, places) in enumerate(zip(counts, which, strict=True)):
        found[row, places[:count]] = True
    return found


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(groups, reaches, st.sampled_from([4, 16]))
def test_blocks_hold_all_that_is_seen(made: list[Any], reach: Reach, size: int) -> None:
    batch = batch_of(made)
    tree = Tree.of(batch, [EVERYTHING])
    assert tree.blocks is not None
    stops, positions = (part.numpy().astype(np.int64) for part in (tree.blocks.stops, tree.positions[0]))
    mask = shown(seen(batch, tree), positions, reach)
    lists: BlockLists = TreeBlocks.of(stops, positions, [reach], size).lists[reach]
    count = -(-len(mask) // size)
    padded = np.zeros((count * size, count * size), dtype=bool)
    padded[: len(mask), : len(mask)] = mask
    by_block = padded.reshape(count, size, count, size)
    some, whole = dense(lists.some), dense(lists.whole)
    assert (whole == by_block.all(axis=(1, 3))).all()
    assert not (some & whole).any()
    assert (some | whole)[by_block.any(axis=(1, 3))].all()
    assert (dense(lists.some_of_keys) == some.T).all()
    assert (dense(lists.whole_of_keys) == whole.T).all()


def test_a_window_leaves_few_blocks_of_a_long_sequence() -> None:
    length, reach = 64 * 128, Reach(WINDOW, 256)
    stops, positions = np.full(length, length), np.arange(length)
    lists = TreeBlocks.of(stops, positions, [reach]).lists[reach]
    # of 256 keys up to a query: two blocks wholly or in part before its own, and its own
    assert (dense(lists.some) | dense(lists.whole)).sum(axis=1).max() == 3


def test_the_condition_is_pytorchs_mask() -> None:
    reach = Reach(WINDOW, 50)
    tree = Tree.of(LONG, [EVERYTHING, reach])
    assert tree.blocks is not None
    mask = tree.blocks.mask(reach)
    length = tree.ids.shape[1]
    found = flex_attention.create_mask(mask.mask_mod, 1, 1, length, length, device="cpu")[0, 0].numpy()
    assert (found == shown(seen(LONG, tree), tree.positions[0].numpy(), reach)).all()
    # no more blocks than PyTorch finds by asking each pair, but for those that positions alone do not tell
    exact = flex_attention.create_block_mask(mask.mask_mod, None, None, length, length, device="cpu")
    assert torch.equal(mask.full_kv_num_blocks, exact.full_kv_num_blocks)
    assert (mask.kv_num_blocks >= exact.kv_num_blocks).all()


def test_pytorch_takes_its_kernel_for_many_queries_whatever_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one for decoding cannot be compiled for some trees of less than 128 tokens."""
    asked: list[dict[str, Any]] = []

    def compiled(*given: Any, **how: Any) -> tuple[Any, None]:
        asked.append(how)
        return given[0], None

    monkeypatch.setattr("mentor_kit_torch.flex_tree._compiled", lambda: compiled)
    blocks = TreeBlocks.of(np.full(70, 70), np.arange(70))
    query, key = (torch.empty(1, heads, 70, 16, device="meta") for heads in (4, 2))
    blocks.attend(query, key, key, 0.25)
    options = asked[0]["kernel_options"]
    assert set(options) <= set(flex_attention.FlexKernelOptions.__annotations__)
    assert options["FORCE_USE_FLEX_ATTENTION"]


def by_definition(query: Any, key: Any, value: Any, mask: np.ndarray, scale: float, changes: ScoreChanges) -> Any:
    """Softmax over the keys that are seen, and a sink."""
    times = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(times, dim=1), value.repeat_interleave(times, dim=1)
    scores = query @ key.transpose(-1, -2) * scale
    if changes.softcap is not None:
        scores = torch.tanh(scores / changes.softcap) * changes.softcap
    scores = scores.masked_fill(~torch.from_numpy(mask), -torch.inf)
    if changes.sinks is not None:
        scores = torch.cat([scores, changes.sinks.view(1, -1, 1, 1).expand(*scores.shape[:3], 1)], dim=-1)
    return torch.softmax(scores, dim=-1)[..., : len(mask)] @ value


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups, reaches, st.sampled_from([None, 1.5]), st.booleans(), st.sampled_from([(4, 2, 16), (3, 3, 8)]))
def test_attention_and_gradients_are_those_of_the_definition(
    eager: None, made: list[Any], reach: Reach, softcap: float | None, has_sinks: bool, heads: tuple[int, int, int]
) -> None:
    batch = batch_of(made)
    tree = Tree.of(batch, sorted({EVERYTHING, reach}))
    mask = shown(seen(batch, tree), tree.positions[0].numpy(), reach)
    count, own, width = heads
    generator = torch.Generator().manual_seed(len(mask))
    shapes = [(1, count, len(mask), width), *[(1, own, len(mask), width)] * 2, (count,)]
    given_ = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
    grad = torch.randn(*shapes[0], generator=generator, dtype=torch.float64)

    def run(attend: Any, dtype: torch.dtype) -> list[torch.Tensor]:
        states = [part.to(dtype).requires_grad_() for part in given_[: 4 if has_sinks else 3]]
        out = attend(*states[:3], ScoreChanges(softcap, states[3] if has_sinks else None))
        return [out, *torch.autograd.grad(out, states, grad.to(dtype))]

    plan = TreePlan(tree, reach=lambda layer: reach)
    found = run(lambda q, k, v, changes: plan.attend(0, q, k, v, None, 0.37, changes), torch.float32)
    expected = run(lambda q, k, v, changes: by_definition(q, k, v, mask, 0.37, changes), torch.float64)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), two, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_the_trial_finds_a_window_that_is_another(eager: None, monkeypatch: pytest.MonkeyPatch) -> None:
    form = AttentionForm(((4, 2, 16),), (EVERYTHING, Reach(WINDOW, 4096)), capped=True)
    assert tree_fault(torch.device("cpu"), torch.float32, form) == ""
    tree_fault.cache_clear()
    plain = TreeBlocks.mask
    monkeypatch.setattr(TreeBlocks, "mask", lambda blocks, reach: plain(blocks, EVERYTHING))
    assert "not those" in tree_fault(torch.device("cpu"), torch.float32, form)


LAYERS = ["sliding_attention", "full_attention"]
NEAR = {"head_dim": 8, "sliding_window": 6, "layer_types": LAYERS}
STUDENTS: dict[str, tuple[str, dict[str, Any]]] = {
    # soft caps that its scores come near to
    "gemma2": ("Gemma2Config", NEAR | {"attn_logit_softcapping": 0.5}),
    "gemma3": ("Gemma3TextConfig", NEAR),
    "mistral": ("MistralConfig", {"head_dim": 8, "sliding_window": 6}),
    "gpt-oss": ("GptOssConfig", NEAR | {"num_local_experts": 2, "num_experts_per_tok": 1}),
    "llama4": (
        "Llama4TextConfig",
        {"head_dim": 8, "intermediate_size_mlp": 48, "num_local_experts": 2, "no_rope_layers": [1, 0]}
        | {"attention_chunk_size": 6, "layer_types": ["chunked_attention", "full_attention"]},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDENTS)
def test_students_learn_the_same_as_by_whole_prompts(
    name: str, eager: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Beside transformers' own attention, to which updates of such students fall back."""
    kind, changes = STUDENTS[name]
    folder = write_student(tmp_path, getattr(transformers, kind)(**(SHAPE | changes)))
    material = ragged_groups(100)

    def outcome(way: str) -> tuple[list[float], np.ndarray, int]:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            policy = load(folder, attention_kernels=way)
        shares_prompts = sum("share each prompt" in line for line in caplog.messages)
        policy.prepare(OptimizerSpec(eps=1e-4))
        policy.snapshot_reference()
        found = []
        for _ in range(2):
            found.append(policy.forward_backward(material, make_objective()).loss)
            found.append(policy.optimizer_step(1e-3).gradient_norm)
        return found, flat(policy.log_probs(material)), shares_prompts

    expected, right, shares_prompts = outcome("plain")
    assert shares_prompts == 1
    found, log_probs, shares_prompts = outcome("flex")
    assert shares_prompts == 0
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(log_probs, right, atol=1e-4)
