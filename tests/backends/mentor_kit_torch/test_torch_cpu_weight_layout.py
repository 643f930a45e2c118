"""How weights lie changes no number: neither logits, nor what is written; and few rows' products are the plain ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from mentor_kit_torch import kernels
from mentor_kit_torch.cpu_weight_layout import few_rows
from mentor_kit_torch.row_attention import RowAttention
from mentor_kit_torch.row_states import causal_mask
from safetensors.torch import load_file
from torch_students import SHAPE, load, write_student
from transformers import AutoModelForCausalLM, DynamicCache, LlamaConfig


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = LlamaConfig(**SHAPE, tie_word_embeddings=request.param)
    return write_student(tmp_path_factory.mktemp("student"), config)


def test_linear_weights_lie_transposed_and_tables_do_not(folder: Path) -> None:
    policy = load(folder)
    plain = dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())
    transposed = set()
    for name, parameter in policy.model.named_parameters():
        assert torch.equal(parameter, plain[name])
        if not parameter.is_contiguous():
            assert parameter.t().is_contiguous()
            transposed.add(name)
    linear = {name for name, parameter in plain.items() if parameter.ndim == 2 and "embed" not in name}
    assert transposed == linear


def test_what_is_written_is_plain(folder: Path, tmp_path: Path) -> None:
    policy = load(folder)
    policy.export(tmp_path / "export")
    written, read = load_file(tmp_path / "export/model.safetensors"), load_file(folder / "model.safetensors")
    assert written.keys() == read.keys()
    assert all(torch.equal(value, read[name]) for name, value in written.items())


def test_a_restored_reference_lies_as_the_weights_do(folder: Path, tmp_path: Path) -> None:
    policy = load(folder)
    policy.snapshot_reference()
    policy.save(tmp_path)
    other = load(folder)
    other.restore(tmp_path)
    assert policy.reference is not None
    assert other.reference is not None
    own = dict(other.model.named_parameters())
    for name, value in policy.reference.items():
        assert torch.equal(other.reference[name], value)
        assert other.reference[name].stride() == value.stride() == own[name].stride()


@pytest.mark.parametrize("size", [256, 600, 1024])
@pytest.mark.parametrize("shape", [(2, 5), (3, 4, 5), (12, 5)])
def test_few_rows(size: int, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, table = torch.randn(*shape, generator=generator), torch.randn(size, 5, generator=generator)
    with torch.no_grad():
        found = few_rows(hidden, table)
    assert found is not None
    torch.testing.assert_close(found.double(), hidden.double() @ table.double().t(), atol=1e-5, rtol=1e-5)


def test_few_rows_leaves_what_it_is_not_for() -> None:
    table = torch.randn(512, 5)
    with torch.no_grad():
        assert few_rows(torch.randn(13, 5), table) is None
        assert few_rows(torch.randn(1, 5), table) is None
        assert few_rows(torch.randn(2, 5).bfloat16(), table.bfloat16()) is None
        assert few_rows(torch.randn(2, 5), table[:255]) is None
        assert few_rows(torch.randn(2, 512), table.t()) is None
    assert few_rows(torch.randn(2, 5), table) is None  # gradients are wanted


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("beginning", [0, 4])
def test_rows_that_begin_at_one_place_need_no_mask(start: int, beginning: int) -> None:
    assert kernels.fused_agrees()
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, 5, 8, generator=generator)
    key, value, held, kept = (
        torch.randn(n, 2, m, 8, generator=generator) for n, m in ((2, 5 + start),) * 2 + ((1, 4),) * 2
    )
    cache = DynamicCache()
    cache.update(held, kept, 0)
    places = torch.arange(start, start + 5).expand(2, -1)
    mask = causal_mask(places, torch.arange(start + 5).unsqueeze(0))
    found = RowAttention(cache, beginning, start).attend(0, query, key, value, mask, 0.3)
    # all keys in one row, softmax over those that the mask shows
    whole = torch.cat([held[:, :, :beginning].expand(2, -1, -1, -1), key], dim=2).repeat_interleave(2, dim=1)
    values = torch.cat([kept[:, :, :beginning].expand(2, -1, -1, -1), value], dim=2).repeat_interleave(2, dim=1)
    shown = torch.cat([torch.ones(2, 1, 5, beginning, dtype=torch.bool), mask], dim=-1)
    scores = (query.double() @ whole.double().transpose(-1, -2) * 0.3).masked_fill(~shown, -torch.inf)
    expected = torch.softmax(scores, dim=-1) @ values.double()
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("0", "0")])
def test_large_pages_are_asked_for_unless_the_user_said_otherwise(
    folder: Path, given: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", given or "")
    if given is None:
        monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    load(folder)
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == expected
