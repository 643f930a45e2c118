"""What is exported, in the programs it is for: `mlx_lm.generate`, `mlx_lm.server` and transformers."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mentor_kit_tiny
import mlx.core as mx
import numpy as np
import pytest
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mentor_kit_mlx.policy import MLXPolicy
from mlx_students import load, nudge_adapter
from test_mlx_loading import ROPES
from torch_students import SHAPE, Float64Twin, write_student
from transformers import LlamaConfig

from mentor_kit.backend.student import AdapterSpec
from mentor_kit.chat import load_chat_format
from mentor_kit.testing.material import drive, log_softmax, request

SCRIPTS = Path(sys.executable).parent
STUDENT = Path(mentor_kit_tiny.__file__).parent / "students" / "tiny"
PROMPT = "Start with 12. Then add 30. What is the result?"
#: Format of the export, and whether the student is one with an adapter, in 8 bits.
EXPORTS = [
    ("transformers", False, False),
    ("transformers", True, False),
    ("mlx", False, False),
    ("mlx-8bit", True, True),
]


def student(adapted: bool, quantized: bool) -> MLXPolicy:
    """The tiny student, a little away from what it was."""
    policy = load(STUDENT, AdapterSpec(rank=4) if adapted else None, quantize=8 if quantized else None)
    if adapted:
        nudge_adapter(policy, scale=0.02)
    return policy


def export(policy: MLXPolicy, folder: Path, format: str) -> Path:
    """As a run does: with the tokenizer."""
    policy.export(folder, format=format)
    load_chat_format(str(STUDENT)).tokenizer.save(folder)
    return folder


def prompt_ids() -> list[int]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(STUDENT)
    found = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    return [int(token) for token in found]


def greedy(policy: MLXPolicy, count: int = 24) -> tuple[list[int], list[float]]:
    """Our own greedy tokens and their log-probabilities, up to the end of the turn."""
    stop = frozenset(load_chat_format(str(STUDENT)).stop_ids)
    done = drive(policy.engine(), [request("a", prompt_ids(), temperature=0.0, max_new_tokens=count, stop_ids=stop)])[
        "a"
    ]
    return list(done.ids), list(done.log_probs)


def text_of(ids: list[int]) -> str:
    from transformers import AutoTokenizer

    return str(AutoTokenizer.from_pretrained(STUDENT).decode(ids, skip_special_tokens=False))


@pytest.mark.parametrize("rope", ROPES)
@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_means_the_same_to_both(rope: str, tied: bool, tmp_path: Path) -> None:
    """mlx-lm alone would take other rotations, or tie what is not tied: off by nats without a word."""
    config = LlamaConfig(**SHAPE, rope_parameters=ROPES[rope], tie_word_embeddings=tied)
    policy = load(write_student(tmp_path / "student", config))
    policy.export(tmp_path / "out")
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    done = drive(policy.engine(), [request("a", ids, max_new_tokens=12)])["a"]
    plain, _ = mlx_lm("utils").load_model(tmp_path / "out")
    whole = [*ids, *done.ids]
    for logits in (Float64Twin(tmp_path / "out")(whole), np.array(plain(mx.array([whole]))[0], dtype=np.float64)):
        rows = log_softmax(logits[len(ids) - 1 : -1], 1.0)
        np.testing.assert_allclose(done.log_probs, rows[np.arange(len(done.ids)), list(done.ids)], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("format", "adapted", "quantized"), EXPORTS)
def test_generate(format: str, adapted: bool, quantized: bool, tmp_path: Path) -> None:
    policy = student(adapted, quantized)
    folder = export(policy, tmp_path / "out", format)
    again = load(folder) if quantized else policy  # what was merged was rounded once more
    ids, _ = greedy(again)
    assert generate("--model", str(folder)) == text_of(ids[:-1])


@pytest.mark.slow
def test_generate_with_an_adapter(tmp_path: Path) -> None:
    policy = student(adapted=True, quantized=False)
    policy.export(tmp_path / "adapter", format="mlx-adapter")
    shutil.copytree(STUDENT, tmp_path / "base")
    ids, _ = greedy(policy)
    found = generate("--model", str(tmp_path / "base"), "--adapter-path", str(tmp_path / "adapter"))
    assert found == text_of(ids[:-1])


@pytest.mark.slow
@pytest.mark.parametrize(("format", "adapted", "quantized"), EXPORTS)
def test_server(format: str, adapted: bool, quantized: bool, tmp_path: Path) -> None:
    policy = student(adapted, quantized)
    folder = export(policy, tmp_path / "out", format)
    again = load(folder) if quantized else policy
    ids, log_probs = greedy(again)
    with server(folder) as address:
        body = {
            "messages": [{"role": "user", "content": PROMPT}],
            "max_tokens": 24,
            "logprobs": True,
            "temperature": 0.0,
        }
        choice = ask(f"{address}/v1/chat/completions", body)["choices"][0]
    said = choice["logprobs"]["content"]
    count = min(len(said), len(ids))
    assert [entry["id"] for entry in said[:count]] == ids[:count]
    assert count >= len(ids) - 1
    np.testing.assert_allclose([entry["logprob"] for entry in said[:count]], log_probs[:count], atol=1e-3)


def generate(*where: str) -> str:
    """What the program says."""
    command = [str(SCRIPTS / "mlx_lm.generate"), *where, "--prompt", PROMPT, "--max-tokens", "24", "--temp", "0"]
    found = subprocess.run([*command, "--verbose", "False"], capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr
    return found.stdout.rstrip("\n")


@contextmanager
def server(folder: Path) -> Iterator[str]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [str(SCRIPTS / "mlx_lm.server"), "--model", str(folder), "--port", str(port), "--host", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).read()
                break
            except OSError:
                assert process.poll() is None, "the server ended"
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait()


def ask(url: str, body: dict[str, Any]) -> Any:
    wanted = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.loads(urllib.request.urlopen(wanted, timeout=300).read())
