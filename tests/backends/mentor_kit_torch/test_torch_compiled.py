"""A compiled layer samples what the plain one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers
from test_torch_architectures import make
from torch_students import SHAPE, load, nudge_adapter, write_student

from mentor_kit.backend.student import AdapterSpec
from mentor_kit.core.errors import BackendError
from mentor_kit.testing.material import drive, request


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "adapted"), [("LlamaConfig", False), ("Qwen3Config", True)])
def test_the_same_as_plain_passes(kind: str, adapted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mentor_kit.backend.row_allocator.SHORTEST_ATTACHED", 20)
    folder = write_student(tmp_path, getattr(transformers, kind)(**SHAPE, head_dim=8))
    policies = [load(folder, AdapterSpec(rank=4) if adapted else None, compile=choice) for choice in (True, False)]
    compiled, plain = (policy.engine() for policy in policies)
    if adapted:
        for policy in policies:
            nudge_adapter(policy)
    for beginning in (range(1, 5), range(1, 31)):  # copied to each row, and kept once
        contexts = {f"{beginning.stop}.{i}": [*beginning, *range(40, 41 + 2 * i)] for i in range(5)}
        for turn in range(3):
            requests = [
                request(f"{s}.{turn}", c, session=s, temperature=0.9, seed=i, max_new_tokens=2 + i + turn)
                for i, (s, c) in enumerate(contexts.items())
            ]
            found, expected = drive(compiled, requests), drive(plain, requests)
            for item in requests:
                assert found[item.id].ids == expected[item.id].ids
                assert found[item.id].log_probs == pytest.approx(expected[item.id].log_probs, abs=1e-4)
                contexts[item.session] = [*item.context, *found[item.id].ids, 5, 6]
        for session in contexts:
            compiled.release(session)
            plain.release(session)


def test_other_models_are_not_compiled(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="layers of gemma cannot be compiled"):
        load(make("gemma", tmp_path), compile=True)


def test_a_compiler_that_fails_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(work: Any, **options: Any) -> Any:
        def call(*arguments: Any) -> Any:
            raise RuntimeError("no C++ compiler\nmore of it")

        return call

    monkeypatch.setattr("torch.compile", failing)
    with pytest.raises(BackendError, match=r"torch\.compile failed on this machine: no C\+\+ compiler\n") as caught:
        load(write_student(tmp_path), compile=True)
    assert "backend.compile" in str(caught.value.hint)


def test_a_compiler_that_errs_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.compile", lambda work, **options: lambda layer, states, places, held: states)
    with pytest.raises(BackendError, match="gives other results"):
        load(write_student(tmp_path), compile=True)
