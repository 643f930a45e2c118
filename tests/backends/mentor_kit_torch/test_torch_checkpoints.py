"""Checkpoints and exports, held to the contract; peft and transformers read what was exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch_students import Float64Twin, load, nudge_adapter
from transformers import AutoModelForCausalLM

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.testing.checkpoints import GROUPS, CheckpointContract, ExportContract, LoadExported, LoadPolicy, Variant
from mentor_kit.testing.objectives import make_objective

VARIANTS: list[Variant] = [
    (None, {}),
    (None, {"dtype": "bfloat16"}),
    (None, {"gradient_checkpointing": True}),
    (AdapterSpec(rank=2), {}),
    (AdapterSpec(dropout=0.3), {}),
    (AdapterSpec(dropout=0.3), {"gradient_checkpointing": True}),
    (AdapterSpec(dropout=0.3), {"dtype": "bfloat16"}),
    (AdapterSpec(dropout=0.3, targets=("lm_head", "embed_tokens", "k_proj")), {}),
]


class TestTorchCheckpoints(CheckpointContract, ExportContract):
    @pytest.fixture
    def load_policy(self) -> LoadPolicy:
        return load

    @pytest.fixture(params=VARIANTS, ids=str)
    def variant(self, request: pytest.FixtureRequest) -> Variant:
        found: Variant = request.param
        return found

    @pytest.fixture
    def load_exported(self) -> LoadExported:
        return Float64Twin


@pytest.mark.parametrize("targets", [(), ("lm_head", "k_proj")], ids=str)
def test_dropout_is_the_same_where_the_backward_pass_runs_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, targets: tuple[str, ...]
) -> None:
    """The same numbers are drawn with checkpointed layers, and with logits in parts, as without either."""

    def gradients(**options: Any) -> dict[str, torch.Tensor]:
        policy = load(folder, AdapterSpec(rank=2, dropout=0.5, targets=targets), **options)
        nudge_adapter(policy)
        policy.prepare(OptimizerSpec())
        torch.manual_seed(3)
        policy.forward_backward(GROUPS[1:2], make_objective(preset="sft"))
        return {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}

    expected = gradients()
    assert any(bool(value.abs().max() > 0) for value in expected.values())
    for name, value in gradients(gradient_checkpointing=True).items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-4)


def test_peft_reads_exported_adapters(folder: Path, tmp_path: Path) -> None:
    policy = load(folder, AdapterSpec(rank=2, alpha=7.0))
    nudge_adapter(policy)
    policy.export(tmp_path / "adapter", format="adapter")
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path / "adapter")
    with torch.no_grad():
        ids = torch.tensor([[1, 2, 3, 4]])
        torch.testing.assert_close(model(input_ids=ids).logits, policy.model(input_ids=ids).logits)
