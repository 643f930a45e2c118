"""Compares decoding and the update with the machine's fastest matrix products of as many rows.

    python benchmarks/limits.py --model FOLDER

The products that a pass is made of are counted by the backend (`mentorkit bench` uses the same counts), and divided by
the pass's time: the median of the passes, and of the updates. Two rates stand beside that, both of products of as many
rows with matrices of the model's layers, in the same type, as they lie in memory: of the matrix that is fastest again
and again, out of the processor's cache; and of all the layers' matrices in turn, as a pass needs them, out of memory. A
pass also attends, normalises and draws; those are no products, or smaller ones, so it cannot reach either.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ours import Ours, Update
from shape import Shape, add_options, shape_of, write_model
from speed import machine

from mentor_kit.backend.sampling import SampleRequest


@dataclass(frozen=True)
class Rate:
    """The measured rate, beside the best."""

    what: str
    rows: int
    seconds: float
    flops: float
    best: float
    """FLOP/s of one matrix, again and again."""
    in_turn: float
    """FLOP/s of all matrices, one after the other."""

    def __str__(self) -> str:
        reached = self.flops / self.seconds
        return (
            f"{self.what}: {self.rows} rows, {self.seconds:.3f} s, {self.flops / 1e9:.0f} GFLOP, "
            f"{reached / 1e9:.0f} GFLOP/s; {reached / self.in_turn:.0%} of {self.in_turn / 1e9:.0f} for the layers' "
            f"products alone, {reached / self.best:.0%} of {self.best / 1e9:.0f} for the best of them"
        )


def decoding(folder: Path, shape: Shape, threads: int, passes: int, dtype: str = "float32") -> Rate:
    """Passes of all sequences at once, each of which has a prompt of its own behind it."""
    policy = Ours(folder, shape, threads, dtype=dtype).policy
    engine = policy.engine()
    for number, prompt in enumerate(shape.prompts_apart(policy.info.vocabulary)):
        name = str(number)
        engine.submit(SampleRequest(name, name, tuple(prompt), 1.0, passes + 4, frozenset(), seed=number))
    for _ in range(3):  # the prompts, and two passes to warm up
        engine.step()
    before = policy.work()["decode"].flops
    seconds = _median(engine.step, passes)
    flops = (policy.work()["decode"].flops - before) / passes
    rows = shape.problems * shape.group
    return Rate("decode", rows, seconds, flops, *best_rates(policy.model, rows))


def updating(folder: Path, shape: Shape, threads: int, rounds: int, dtype: str = "float32") -> Rate:
    """Gradients of all problems, whose tokens are run once where they are shared."""
    update = Update(folder, shape, threads, dtype=dtype)
    update()
    before = update.policy.work()["update"]
    seconds = _median(update, rounds)
    after = update.policy.work()["update"]
    rows, flops = (after.tokens - before.tokens) // rounds, (after.flops - before.flops) / rounds
    return Rate("update", rows, seconds, flops, *best_rates(update.policy.model, rows))


@torch.no_grad()
def best_rates(model: Any, rows: int) -> tuple[float, float]:
    """FLOP/s of products of `rows` rows: with the layers' fastest matrix, and with all of them in turn."""
    matrices = [p for p in model.get_decoder().layers.parameters() if p.ndim == 2]
    states = {matrix.shape[1]: torch.randn(rows, matrix.shape[1], dtype=matrix.dtype) for matrix in matrices}

    def rate(chosen: list[Any]) -> float:
        flops = sum(2.0 * rows * matrix.numel() for matrix in chosen)
        return flops / _median_over(0.5, lambda: [torch.nn.functional.linear(states[m.shape[1]], m) for m in chosen])

    one_of_a_kind = {matrix.shape: matrix for matrix in matrices}
    return max(rate([matrix]) for matrix in one_of_a_kind.values()), rate(matrices)


def _median_over(least: float, work: Callable[[], object]) -> float:
    """The median time of calls over about so many seconds, at least three of them, after one to warm up."""
    work()
    return _median(work, max(3, round(least / _median(work, 1))))


def _median(work: Callable[[], object], count: int) -> float:
    """Return the median time of calls, in seconds."""
    found = []
    for _ in range(count):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def main() -> None:
    """A line for decoding and one for the update."""
    options = _options()
    shape = shape_of(options)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.model or write_model(Path(scratch), options.layers)
        model = options.model or f"{options.layers} layers"
        print(f"{machine(options.threads)}; {shape}; {model}; {options.dtype}")
        print(decoding(folder, shape, options.threads, options.passes, options.dtype))
        print(updating(folder, shape, options.threads, options.rounds, options.dtype))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    add_options(parser, problems=8)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--passes", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
