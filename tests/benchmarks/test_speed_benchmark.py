"""The benchmark's two comparisons on a small model: that they run, and find what they compare equal."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
speed = pytest.importorskip("speed", reason="the benchmarks are not there")

SHAPE = speed.Shape(prompt=12, own=3, completion=5, problems=2, group=3)
SMALL = {
    **{"vocab_size": 100, "hidden_size": 32, "intermediate_size": 48, "initializer_range": 0.2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speed.write_model(tmp_path_factory.mktemp("student"), 2, **SMALL)


def test_prompts_share_what_they_should() -> None:
    prompts = SHAPE.prompts(100)
    assert len(prompts) == 6
    assert {len(prompt) for prompt in prompts} == {15}
    assert prompts[0] == prompts[2]
    assert prompts[0][:12] == prompts[3][:12]
    assert prompts[0] != prompts[3]


def test_sampling(folder: Path) -> None:
    found = speed.compare_sampling(folder, SHAPE, 1, 1)
    assert found["equal"] == {"generate": 1.0, "continuous batching": 1.0}
    assert {name: len(seconds) for name, seconds in found["seconds"].items()} == dict.fromkeys(found["seconds"], 1)
    assert "100% of the tokens equal" in speed.lines("sampling", found)[1]


def test_updates(folder: Path) -> None:
    found = speed.compare_updates(folder, SHAPE, 2, 1)
    assert found["gradients"] < 1e-5
    assert "times ours" in speed.lines("update", found)[1]


def test_whole_steps(folder: Path) -> None:
    pytest.importorskip("trl", reason="TRL comes with the extra `benchmarks`")
    found = speed.compare_steps(folder, SHAPE, 1, 1)
    assert found["tokens"] == 6 * 5
    assert "TRL" in speed.lines("step", found)[1]


def test_ratios_are_of_one_round() -> None:
    ours, theirs, _ = speed.lines("x", {"seconds": {"ours": [1.0, 2.0], "peer": [3.0, 2.0]}, "gradients": 0.0})
    assert ours == "x: ours 1.500 s (1.000 to 2.000)"
    assert theirs == "x: peer 2.500 s, 2.00 times ours (1.00 to 3.00)"
