"""What of the transfer from GPU to GPU needs no GPU: it is refused without one, and tensors have one order."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mentor_kit_vllm.nccl import NcclBroadcast, _tensors
from safetensors.torch import load_file

from mentor_kit.core.errors import MissingError


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_it_needs_a_gpu() -> None:
    with pytest.raises(MissingError, match="CUDA"):
        NcclBroadcast()


def test_what_is_announced_is_what_is_sent_in_one_order(model: Path) -> None:
    announced = [(name, tensor.dtype, tensor.shape) for name, tensor in _tensors(model, "meta")]
    sent = list(_tensors(model, "cpu"))
    assert announced == [(name, tensor.dtype, tensor.shape) for name, tensor in sent]
    assert dict(sent).keys() == load_file(model / "model.safetensors").keys()
