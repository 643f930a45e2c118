"""Students of the torch backend in mlx-lm's formats, which the mlx backend writes of what torch exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch_students
from mentor_kit_mlx.backend import MLXBackend
from mentor_kit_mlx.options import MLXOptions
from other_names import ALL, write_any
from peft_oracles import of_policy
from test_mlx_peft_names import by_mlx_lm as by_mlx_lm_adapted
from test_mlx_whole_exports import by_mlx_lm

from mentor_kit.backend.export_format import format_of
from mentor_kit.backend.student import AdapterSpec, StudentSpec

#: mlx-lm computes some models otherwise than transformers.
OTHER_SUMS = 1e-3
#: peft refuses an adapter on these models' output projections; transformers needs a package for Gemma 3n's pictures.
WITHOUT_ADAPTER = ("falcon-h1", "mamba", "nemotron-h", "gemma3n")
#: mlx-lm has no adapter on these routers.
NO_ROUTER = ("glm4-moe",)


def in_mlx_lms(student: StudentSpec, folder: Path, format: str, dtype: str = "float32") -> Path:
    MLXBackend(MLXOptions()).rewrite(student, folder, format, dtype=dtype)
    return folder


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", list(ALL))
def test_mlx_lm_reads_what_torch_exports(name: str, tmp_path: Path) -> None:
    write_any(name, tmp_path / "base")
    policy = torch_students.load(tmp_path / "base")
    policy.export(tmp_path / "out")
    found = in_mlx_lms(StudentSpec(str(tmp_path / "out")), tmp_path / "mlx", "mlx")
    np.testing.assert_allclose(by_mlx_lm(found), of_policy(policy), atol=OTHER_SUMS)
    assert (format_of(tmp_path / "out", "mlx"), format_of(found, "transformers")) == ("transformers", "mlx")


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", [name for name in ALL if name not in (*WITHOUT_ADAPTER, *NO_ROUTER)])
def test_mlx_lm_reads_adapters_of_torch(name: str, tmp_path: Path) -> None:
    write_any(name, tmp_path / "base")
    policy = torch_students.load(tmp_path / "base", AdapterSpec(rank=4))
    torch_students.nudge_adapter(policy)
    policy.export(tmp_path / "peft", format="adapter")
    student = StudentSpec(str(tmp_path / "base"), adapter=AdapterSpec(path=tmp_path / "peft"))
    adapter = in_mlx_lms(student, tmp_path / "adapter", "mlx-adapter")
    base = in_mlx_lms(StudentSpec(str(tmp_path / "base")), tmp_path / "whole", "mlx")
    np.testing.assert_allclose(by_mlx_lm_adapted(base, adapter), of_policy(policy), atol=OTHER_SUMS)
    assert (format_of(tmp_path / "peft", "mlx"), format_of(adapter, "mlx")) == ("adapter", "mlx-adapter")


def test_weights_keep_their_type(tmp_path: Path) -> None:
    write_any("qwen3.5-text", tmp_path / "base")
    torch_students.load(tmp_path / "base", dtype="bfloat16").export(tmp_path / "out")
    in_mlx_lms(StudentSpec(str(tmp_path / "out")), tmp_path / "mlx", "mlx", "bfloat16")
    header: Any = (tmp_path / "mlx" / "model.safetensors").read_bytes()
    names = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])
    assert {value["dtype"] for name, value in names.items() if name != "__metadata__"} == {"BF16"}
