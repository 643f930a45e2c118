"""The teacher `local` reads a student's tokens: against transformers itself, and other tokenizers are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from doubling import REGISTRY, context, teacher
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.chat import TransformersTokenizer, load_tokenizer
from mentor_kit.chat.tokenizer import unread_tokens
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import DataError, UsageError
from mentor_kit.stages.distillation import TokenTeacher


@pytest.fixture(scope="module")
def student() -> Path:
    return Path(REGISTRY.build("students", ComponentSpec(use="tiny-student"), context(Path())))


def groups(temperature: float, length: int = 9) -> list[TokenGroup]:
    rng = np.random.default_rng(0)

    def completion(count: int) -> TokenCompletion:
        mask = (rng.random(count) < 0.7).astype(np.float32)
        return TokenCompletion(rng.integers(0, 600, count), mask, -rng.random(count).astype(np.float32))

    return [
        TokenGroup(rng.integers(0, 600, size), (completion(length), completion(4)), temperature) for size in (5, 12)
    ]


def reading(folder: Path, student: Path) -> TokenTeacher:
    found = teacher("local", folder, model=str(student))
    assert isinstance(found, TokenTeacher)
    return found


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_its_log_probabilities_are_those_of_transformers(student: Path, tmp_path: Path, temperature: float) -> None:
    asked = groups(temperature)
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    for group, rows in zip(asked, reading(tmp_path, student).log_probs(asked), strict=True):
        for completion, row in zip(group.completions, rows, strict=True):
            ids = [*group.prompt_ids, *completion.ids]
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, len(group.prompt_ids) - 1 : -1].double()
            expected = torch.log_softmax(logits / temperature, -1)[range(len(completion.ids)), completion.ids].numpy()
            np.testing.assert_allclose(row, expected * completion.mask, atol=1e-4)


def test_a_dialogue_beyond_its_context_is_named(student: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\d+ tokens.* \d+"):
        reading(tmp_path, student).log_probs(groups(1.0, length=5000))


def other(student: Path, tokens: dict[str, str]) -> TransformersTokenizer:
    """The student's tokenizer with some of its tokens written in another way."""
    inner = AutoTokenizer.from_pretrained(student)
    text = inner.backend_tokenizer.to_str()
    for before, after in tokens.items():
        assert f'"{before}"' in text
        text = text.replace(f'"{before}"', f'"{after}"')
    changed = type(inner.backend_tokenizer).from_str(text)
    made = PreTrainedTokenizerFast(tokenizer_object=changed, chat_template=inner.chat_template)
    return TransformersTokenizer(made, name="other")


def test_the_same_tokens_are_read_and_others_refused(student: Path, tmp_path: Path) -> None:
    asked = reading(tmp_path, student)
    asked.check_tokens(load_tokenizer(student))
    asked.check_tokens(other(student, {}))
    with pytest.raises(UsageError, match=r"'other'.* 1 of [\d,]+ tokens") as error:
        asked.check_tokens(other(student, {"<|pad|>": "<|fill|>"}))
    assert "'<|fill|>'" in str(error.value)
    assert "is none there" in str(error.value)


def test_a_teacher_may_know_more() -> None:
    assert unread_tokens({"a": 0, "b": 1}, {"a": 0, "b": 1, "<think>": 2}) == []
    assert unread_tokens({"a": 0, "b": 1, "<think>": 2}, {"a": 0, "b": 1}) == ["<think>"]
    assert unread_tokens({"a": 0, "b": 1, "c": 2}, {"a": 0, "c": 1, "b": 2}) == ["b", "c"]


def test_it_reads_on_any_backend(student: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlx_lm")
    asked = groups(0.8)
    other_backend = teacher("local", tmp_path, model=str(student), backend="mlx")
    assert isinstance(other_backend, TokenTeacher)
    pairs = zip(other_backend.log_probs(asked), reading(tmp_path, student).log_probs(asked), strict=True)
    for mlx_rows, torch_rows in pairs:
        for ours, theirs in zip(mlx_rows, torch_rows, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)
