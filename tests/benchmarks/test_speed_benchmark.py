"""The benchmark's comparisons on a small model: that they run, and find what they compare equal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

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


def plan(folder: Path, *peers: str, peer_problems: int = 2) -> Any:
    return speed.Plan(folder, SHAPE, peer_problems, rounds=1, warm_up=0, threads=1, peers=peers)


def test_prompts_share_what_they_should() -> None:
    prompts = SHAPE.prompts(100)
    assert len(prompts) == 6
    assert {len(prompt) for prompt in prompts} == {15}
    assert prompts[0] == prompts[2]
    assert prompts[0][:12] == prompts[3][:12]
    assert prompts[0] != prompts[3]
    apart = SHAPE.prompts_apart(100)
    assert len({tuple(prompt) for prompt in apart}) == 6
    assert [prompt[:12] for prompt in apart] == [prompts[0][:12]] * 6


@pytest.mark.slow
def test_sampling(folder: Path) -> None:
    found = speed.compare_sampling(plan(folder, "generate", "continuous batching"))
    assert found["equal"] == {"generate": 1.0, "continuous batching": 1.0}
    assert "100% of the tokens equal" in speed.lines("sampling", found)[1]


@pytest.mark.slow
def test_updates(folder: Path) -> None:
    found = speed.compare_updates(plan(folder))
    assert found["gradients"] < 1e-5
    assert "times ours" in speed.lines("update", found)[1]


@pytest.mark.slow
def test_whole_steps(folder: Path) -> None:
    pytest.importorskip("trl", reason="TRL comes with the extra `benchmarks`")
    found = speed.compare_steps(plan(folder, peer_problems=1))
    assert found["tokens"] == 3 * 5
    assert [len(turns) for turns in found["turns"].values()] == [1, 1, 1]


@pytest.mark.slow
def test_steps_with_tools(folder: Path) -> None:
    pytest.importorskip("trl", reason="TRL comes with the extra `benchmarks`")
    found = speed.compare_tools(plan(folder))
    assert all(tokens > 1000 for tokens in found["tokens"].values())


def test_ratios_are_of_one_round_and_of_one_problem() -> None:
    def turns(*seconds: float) -> list[Any]:
        return [speed.Turn(one, 2**30) for one in seconds]

    result = {"turns": {"ours": turns(2.0, 4.0), "peer": turns(3.0, 2.0)}, "problems": {"ours": 2, "peer": 1}}
    ours, theirs = speed.lines("x", result)
    assert ours == "x: ours 1.500 s a problem (1.000 to 2.000), 1.0 GiB"
    assert theirs == "x: peer 2.500 s, 2.00 times ours (1.00 to 3.00), 1.0 GiB"


def test_a_side_that_fails_tells_its_own_error(folder: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)broken failed:.*no_such_option"):
        speed.Side("broken", "ours:Sampling", folder=folder, shape=SHAPE, threads=1, no_such_option=1)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_limits_count_the_products_of_a_pass(folder: Path, dtype: str) -> None:
    limits = pytest.importorskip("limits", reason="the benchmarks are not there")
    found = limits.decoding(folder, SHAPE, threads=1, passes=2, dtype=dtype)
    rows, width, hidden, layers, heads, size = 6, 32, 48, 2, 4, 8
    weights = layers * (2 * width * width + 2 * width * 2 * size + 3 * width * hidden) + 100 * width
    # the prompt's 15 tokens, the first new one, one pass to warm up, and each pass's own token
    lengths = [15 + 1 + 1 + number + 1 for number in range(2)]
    pairs = sum(4 * layers * heads * size * rows * length for length in lengths) / 2
    assert found.rows == rows
    assert found.flops == pytest.approx(2 * rows * weights + pairs, rel=0.02)
    update = limits.updating(folder, SHAPE, threads=1, rounds=1, dtype=dtype)
    # the common beginning, two problems' rests, and completions but for their last tokens
    assert update.rows == 12 + 2 * 3 + 6 * 4
    assert min(found.best, found.in_turn) > 0
    assert "for the best of them" in str(update)
