"""The ways of attention that CUDA has: FlexAttention's eager form, kernels of parts, and the choice between them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mentor_kit_torch.attention import EVERYTHING
from mentor_kit_torch.attention_trial import AttentionForm, choose, part_fault
from mentor_kit_torch.cuda_kernels import CUDA_KERNELS
from mentor_kit_torch.flex_tree import BLOCK, TreeBlocks
from mentor_kit_torch.kernels import PLAIN, PartInputs
from mentor_kit_torch.tree import Tree, TreePlan
from pretend_device import DEVICE, Pretending, device_is_there, load_there, pretend
from torch.nn.attention import flex_attention
from torch_students import load
from tree_batches import LONG, batch_of, eager, groups, seen

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.errors import BackendError
from mentor_kit.testing.material import ragged_groups
from mentor_kit.testing.objectives import make_objective

__all__ = ["eager", "pretend"]
HEADS = [(4, 2, 16), (3, 3, 8)]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(groups)
def test_what_a_token_sees_is_its_own_sequence(made: list[Any]) -> None:
    """Against the sequences: the tokens before each trained one are those of its prompt and completion."""
    batch = batch_of(made)
    tree = Tree.of(batch, [EVERYTHING])
    sees, ids = seen(batch, tree), tree.ids[0].numpy()
    of_row = tree.predicting.numpy()[tree.target_of.numpy()]
    place = 0
    for row, length in enumerate(batch.lengths):
        of = batch.prompt_of[row]
        whole = [*batch.prompt_ids[of, : batch.prompt_lengths[of]], *batch.ids[row, :length]]
        for token in range(length):
            before = ids[sees[of_row[place]]].tolist()
            assert before == whole[: batch.prompt_lengths[of] + token]
            place += 1


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(groups, st.sampled_from([4, 16]))
def test_blocks_are_those_of_the_mask(made: list[Any], size: int) -> None:
    batch = batch_of(made)
    tree = Tree.of(batch, [EVERYTHING])
    mask = seen(batch, tree)
    assert tree.blocks is not None
    stops, positions = (part.numpy().astype(np.int64) for part in (tree.blocks.stops, tree.positions[0]))
    blocks = TreeBlocks.of(stops, positions, size=size)
    count = -(-len(mask) // size)
    padded = np.zeros((count * size, count * size), dtype=bool)
    padded[: len(mask), : len(mask)] = mask
    by_block = padded.reshape(count, size, count, size)
    any_, all_ = by_block.any(axis=(1, 3)), by_block.all(axis=(1, 3))
    found = blocks.lists[EVERYTHING]
    for lists, expected in (
        (found.some, any_ & ~all_),
        (found.whole, all_),
        (found.some_of_keys, (any_ & ~all_).T),
        (found.whole_of_keys, all_.T),
    ):
        counts, which = (part[0, 0].numpy() for part in lists)
        assert [sorted(row[:n]) for n, row in zip(counts, which, strict=True)] == [
            list(np.nonzero(row)[0]) for row in expected
        ]


def test_the_mask_is_pytorchs_own() -> None:
    """As PyTorch builds it from the condition alone."""
    tree = Tree.of(LONG, [EVERYTHING])
    assert tree.blocks is not None
    mask = tree.blocks.mask()
    length = tree.ids.shape[1]
    assert length > 4 * BLOCK
    expected = flex_attention.create_block_mask(mask.mask_mod, None, None, length, length, device="cpu")
    assert torch.equal(mask.to_dense(), expected.to_dense())
    for counts, which in (("kv_num_blocks", "kv_indices"), ("full_kv_num_blocks", "full_kv_indices")):
        assert torch.equal(getattr(mask, counts), getattr(expected, counts))
        assert getattr(mask, which).shape == getattr(expected, which).shape
    assert int(mask.full_kv_num_blocks.sum()) > 0


@pytest.mark.parametrize("heads", HEADS, ids=str)
@pytest.mark.slow
def test_flex_attention_is_the_trees_forwards_and_backwards(heads: tuple[int, int, int], eager: None) -> None:
    tree = Tree.of(LONG, [EVERYTHING])
    count, own, width = heads
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(1, n, tree.ids.shape[1], width, generator=generator) for n in (count, own, own, count)]

    def run(plan: TreePlan) -> list[torch.Tensor]:
        given = [part.clone().requires_grad_() for part in states[:3]]
        out = plan.attend(0, given[0], given[1], given[2], None, 0.37)
        return [out, *torch.autograd.grad(out, given, states[3])]

    expected = run(TreePlan(Tree.of(LONG)))
    for found, right in zip(run(TreePlan(tree)), expected, strict=True):
        torch.testing.assert_close(found, right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.slow
def test_a_student_learns_the_same_by_flex_attention(recompute: bool, eager: None, folder: Path) -> None:
    def update(**options: Any) -> list[float]:
        policy = load(folder, gradient_checkpointing=recompute, **options)
        policy.prepare(OptimizerSpec(eps=1e-4))
        policy.snapshot_reference()
        found = []
        for _ in range(2):
            found.append(policy.forward_backward(ragged_groups(100), make_objective()).loss)
            found.append(policy.optimizer_step(1e-3).gradient_norm)
        return found

    np.testing.assert_allclose(update(attention_kernels="flex"), update(attention_kernels="plain"), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CUDA_KERNELS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_kernels_of_parts_give_their_definition(name: str, dtype: torch.dtype, pretend: Pretending) -> None:
    """What this code hands to the kernels, by a stand-in for each that computes what PyTorch says of it."""
    fault = part_fault(name, DEVICE, dtype, tuple(HEADS))
    assert bool(fault) == (name == "flash" and dtype == torch.float32), fault


@pytest.mark.parametrize("name", list(CUDA_KERNELS))
def test_kernels_are_called_as_pytorch_declares_them(name: str) -> None:
    """On tensors without numbers, for which PyTorch checks arguments and gives shapes and types."""
    kernels = CUDA_KERNELS[name]
    query, grad = (torch.empty(2, 4, 40, 16, dtype=torch.bfloat16, device="meta") for _ in range(2))
    key = torch.empty(2, 2, 72, 16, dtype=torch.bfloat16, device="meta")
    if name == "flash":
        key = key.repeat_interleave(2, dim=1)  # its declaration for CUDA alone knows of shared heads
    for bias in (None, torch.empty(2, 1, 40, 72, dtype=torch.bfloat16, device="meta")):
        part = PartInputs(query, key, key, 0.3, causal=False, bias=bias)
        out, lse = kernels.attend(part)
        assert (out.shape, out.dtype, lse.shape, lse.dtype) == (query.shape, query.dtype, (2, 4, 40), torch.float32)
        found = kernels.gradients(grad, part, (out, lse))
        assert [one.shape for one in found] == [query.shape, key.shape, key.shape]


@pytest.mark.slow
def test_the_choice_is_said_and_falls_back(
    pretend: Pretending, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    types = [torch.bfloat16, torch.float32]

    def names() -> list[str]:
        caplog.clear()
        part_fault.cache_clear()
        with caplog.at_level(logging.INFO):
            found = choose("auto", DEVICE, types, AttentionForm(tuple(HEADS)))
        (line,) = caplog.messages
        assert not found.flex
        assert "not flex" in line  # PyTorch has none for this device
        return [kernels.name for kernels in found.parts.values()]

    assert names() == ["flash", "efficient"]
    monkeypatch.setattr(CUDA_KERNELS["flash"], "attend", PLAIN.gradients)
    assert names() == ["efficient", "efficient"]
    monkeypatch.setattr(CUDA_KERNELS["efficient"], "gradients", lambda grad, part, merged: part[:3])
    assert names() == ["plain", "plain"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flash", "efficient", "flex"])
def test_a_way_that_is_not_right_is_refused_by_name(name: str, folder: Path) -> None:
    with pytest.raises(BackendError, match=f"backend.attention_kernels: {name} ") as caught:
        load(folder, attention_kernels=name)
    assert caught.value.hint is not None
    assert "auto" in caught.value.hint


@pytest.mark.parametrize("name", ["auto", "plain"])
@pytest.mark.slow
def test_a_device_in_16_bits_learns_about_the_same_by_its_kernels(name: str, folder: Path) -> None:
    def norm(policy: Any) -> float:
        policy.prepare(OptimizerSpec())
        policy.forward_backward(ragged_groups(100), make_objective(kl=0.0))
        return float(policy.optimizer_step(1e-3).gradient_norm)

    with device_is_there():
        found = norm(load_there(folder, dtype="bfloat16", attention_kernels=name))
    assert found == pytest.approx(norm(load(folder)), rel=0.05)
