"""Students with an output projection of their own: transformers loads them, and they compute the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from mentor_kit_vllm.untied import untie
from transformers import AutoModelForCausalLM

from mentor_kit.core.errors import BackendError


def test_a_tied_student_gets_one(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    assert untie(copy)
    tied, untied = (AutoModelForCausalLM.from_pretrained(folder) for folder in (model, copy))
    assert untied.lm_head.weight is not untied.model.embed_tokens.weight
    ids = torch.arange(1, 20)[None]
    torch.testing.assert_close(untied(ids).logits, tied(ids).logits, rtol=0, atol=0)
    assert not untie(copy)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="safetensors"):
        untie(tmp_path)
