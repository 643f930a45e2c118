"""Ours beside the peers, on the same weights and tokens: sampling, the update, and a whole step of GRPO.

    python benchmarks/speed.py --layers 4 --prompt 1024 --completion 64 --group 8

All sides take turns, `--rounds` times; a ratio is that of two times of the same round, and the median of the ratios
is printed with the least and the greatest. Greedy tokens and gradients are compared before any ratio is printed. The
whole step is compared with TRL's where it is installed (`pip install 'mentor-kit[benchmarks]'`). The model is SmolLM2's
shape with random weights and `--layers` layers, or a folder given with `--model`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import peers
import torch

Side = Callable[[], Any]


@dataclass(frozen=True)
class Shape:
    """What is sampled and trained on."""

    prompt: int
    """Tokens all prompts begin with; each has `own` more."""
    own: int
    completion: int
    problems: int
    group: int

    def prompts(self, vocabulary: int) -> list[list[int]]:
        """A prompt for every sequence, those of a group next to each other."""
        rng = np.random.default_rng(0)
        common = rng.integers(0, vocabulary, self.prompt).tolist()
        problems = [common + rng.integers(0, vocabulary, self.own).tolist() for _ in range(self.problems)]
        return [problem for problem in problems for _ in range(self.group)]


def main() -> None:
    """Both comparisons, as lines or as JSON."""
    options = _options()
    shape = Shape(options.prompt, options.own, options.completion, options.problems, options.group)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.model or write_model(Path(scratch), options.layers)
        found = {what: COMPARISONS[what](folder, shape, options.rounds, options.threads) for what in options.what}
    machine = f"{platform.processor() or platform.machine()}, {options.threads} threads, torch {torch.__version__}"
    if options.json:
        print(
            json.dumps(
                {"machine": machine, "shape": vars(shape), "model": str(options.model or options.layers)} | found
            )
        )
        return
    print(f"{machine}; {shape}; {options.model or f'{options.layers} layers'}")
    for what, result in found.items():
        for line in lines(what, result):
            print(line)


def compare_sampling(folder: Path, shape: Shape, rounds: int, threads: int) -> dict[str, Any]:
    """Seconds of each side by round; every side must give the same number of tokens, greedily chosen."""
    policy, model = load_ours(folder, threads), peers.load(folder)
    prompts = shape.prompts(policy.info.vocabulary)
    sides: dict[str, Side] = {
        "ours": lambda: sample(policy, prompts, shape.completion),
        "generate": lambda: peers.generate(model, prompts, shape.completion),
        "continuous batching": lambda: peers.continuous_batching(model, prompts, shape.completion),
    }
    seconds, outputs = take_turns(sides, rounds)
    for name, rows in outputs.items():
        assert [len(row) for row in rows] == [shape.completion] * len(prompts), name
    same = {name: _equal(rows, outputs["ours"]) for name, rows in outputs.items() if name != "ours"}
    return {"seconds": seconds, "equal": same}


def compare_updates(folder: Path, shape: Shape, rounds: int, threads: int) -> dict[str, Any]:
    """Seconds of each side by round; gradients must be equal to 1e-4 of the largest parameter's norm."""
    from mentor_kit.objective import Objective
    from mentor_kit.policy import OptimizerSpec, TokenCompletion, TokenGroup

    policy, model = load_ours(folder, threads), peers.load(folder)
    prompts = shape.prompts(policy.info.vocabulary)
    rng = np.random.default_rng(1)
    completions = rng.integers(0, policy.info.vocabulary, (len(prompts), shape.completion))
    advantages = rng.normal(size=len(prompts)).astype(np.float32)
    ones = np.ones(shape.completion, dtype=np.float32)
    rows = [TokenCompletion(ids, ones, -ones, float(a)) for ids, a in zip(completions, advantages, strict=True)]
    starts = range(0, len(rows), shape.group)
    groups = [TokenGroup(np.array(prompts[s]), tuple(rows[s : s + shape.group])) for s in starts]
    objective = Objective(preset="rloo", aggregation="token")
    policy.prepare(OptimizerSpec(clip=None))

    def ours() -> int:
        policy.model.zero_grad()
        return policy.forward_backward(groups, objective).tokens

    def theirs() -> int:
        update, given = peers.unshared_update, (prompts, completions.tolist(), advantages.tolist())
        return peers.in_groups(update, model, shape.group, *given)

    seconds, tokens = take_turns({"ours": ours, "unshared": theirs}, rounds)
    assert tokens["ours"] == tokens["unshared"], tokens
    return {"seconds": seconds, "gradients": difference(policy.model, model)}


def compare_steps(folder: Path, shape: Shape, rounds: int, threads: int) -> dict[str, Any]:
    """Seconds of a whole step: sample, reward, advantages, update; both must sample and train as many tokens."""
    from trl_step import Step

    from mentor_kit.advantages import advantages
    from mentor_kit.objective import Objective
    from mentor_kit.policy import OptimizerSpec, TokenCompletion, TokenGroup

    policy = load_ours(folder, threads)
    prompts = shape.prompts(policy.info.vocabulary)
    objective = Objective(preset="grpo", kl=0.0)
    policy.prepare(OptimizerSpec())

    def ours() -> int:
        done = run_engine(policy, prompts, shape.completion, temperature=1.0)
        rewards = np.array([float(sum(one.ids) % 7) for one in done]).reshape(-1, shape.group)
        ones = np.ones(shape.completion, dtype=np.float32)
        rows = [
            TokenCompletion(np.array(one.ids), ones, np.array(one.log_probs, dtype=np.float32), float(a))
            for one, a in zip(done, advantages(np, rewards, objective.advantage).reshape(-1), strict=True)
        ]
        starts = range(0, len(rows), shape.group)
        groups = [TokenGroup(np.array(prompts[s]), tuple(rows[s : s + shape.group])) for s in starts]
        tokens: int = policy.forward_backward(groups, objective).tokens
        policy.optimizer_step(1e-6)
        return tokens

    theirs = Step(folder, prompts[:: shape.group], shape.group, shape.completion)
    seconds, tokens = take_turns({"ours": ours, "TRL": theirs}, rounds)
    assert tokens["ours"] == tokens["TRL"], tokens
    return {"seconds": seconds, "tokens": tokens["ours"]}


def difference(first: Any, second: Any) -> float:
    """The largest norm of a difference of gradients, to the largest norm of a gradient."""
    pairs = [(a.grad, b.grad) for a, b in zip(first.parameters(), second.parameters(), strict=True)]
    found = max(float((a - b).norm()) for a, b in pairs) / max(float(b.norm()) for _, b in pairs)
    assert found < 1e-4, f"gradients differ by {found}"
    return found


def take_turns(sides: dict[str, Side], rounds: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds by side and round, after a round to warm up, and what each side gave last."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    given: dict[str, Any] = {}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            started = time.perf_counter()
            given[name] = side()
            if turn:
                # a side may know better what was its own work
                seconds[name].append(getattr(side, "seconds", None) or time.perf_counter() - started)
    return seconds, given


def lines(what: str, result: dict[str, Any]) -> list[str]:
    """A line for ours, and one with ratios for each peer."""
    ours = result["seconds"]["ours"]
    found = [f"{what}: ours {statistics.median(ours):.3f} s ({min(ours):.3f} to {max(ours):.3f})"]
    for name, seconds in result["seconds"].items():
        if name == "ours":
            continue
        ratios = [theirs / mine for theirs, mine in zip(seconds, ours, strict=True)]
        equal = f"; {result['equal'][name]:.0%} of the tokens equal" if "equal" in result else ""
        found.append(
            f"{what}: {name} {statistics.median(seconds):.3f} s, {statistics.median(ratios):.2f} times ours "
            f"({min(ratios):.2f} to {max(ratios):.2f}){equal}"
        )
    if "gradients" in result:
        found.append(f"{what}: gradients differ by {result['gradients']:.1e} of the largest")
    return found


def load_ours(folder: Path, threads: int) -> Any:
    """The student on the torch backend, in float32."""
    from mentor_kit_torch.backend import TorchBackend
    from mentor_kit_torch.options import TorchOptions

    from mentor_kit.policy import StudentSpec

    options = TorchOptions(device="cpu", dtype="float32", threads=threads)
    return TorchBackend(options).load(StudentSpec(model=str(folder)), seed=0)


def sample(policy: Any, prompts: Sequence[Sequence[int]], new_tokens: int) -> list[list[int]]:
    """Greedy tokens of the engine."""
    return [list(one.ids) for one in run_engine(policy, prompts, new_tokens, temperature=0.0)]


def run_engine(policy: Any, prompts: Sequence[Sequence[int]], new_tokens: int, *, temperature: float) -> list[Any]:
    """A completion for each prompt; the engine's sessions end afterwards."""
    from mentor_kit.policy import SampleRequest

    engine = policy.engine()
    for index, prompt in enumerate(prompts):
        engine.submit(SampleRequest(str(index), str(index), prompt, temperature, new_tokens, frozenset(), seed=index))
    found: dict[int, Any] = {}
    while engine.busy:
        found |= {int(done.id): done for done in engine.step()}
    for index in range(len(prompts)):
        engine.release(str(index))
    return [found[index] for index in range(len(prompts))]


def write_model(folder: Path, layers: int, **changes: Any) -> Path:
    """SmolLM2-135M's shape with random weights, cut to so many layers; `changes` are other values of its config."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape: dict[str, Any] = {
        **{"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": layers},
        **{"num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192},
        **{"bos_token_id": None, "eos_token_id": None, "pad_token_id": None, "initializer_range": 0.05},
    }
    LlamaForCausalLM(LlamaConfig(**(shape | changes), tie_word_embeddings=True)).save_pretrained(folder)
    return folder


COMPARISONS: dict[str, Callable[[Path, Shape, int, int], dict[str, Any]]] = {
    "sampling": compare_sampling,
    "update": compare_updates,
    "step": compare_steps,
}


def _equal(rows: list[list[int]], others: list[list[int]]) -> float:
    """The share of tokens that are the same; a tie in floating point changes all that follow it."""
    return float(
        np.mean([a == b for row, other in zip(rows, others, strict=True) for a, b in zip(row, other, strict=True)])
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--what",
        nargs="+",
        choices=COMPARISONS,
        default=[what for what in COMPARISONS if what != "step" or find_spec("trl")],
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--prompt", type=int, default=1024)
    parser.add_argument("--own", type=int, default=16)
    parser.add_argument("--completion", type=int, default=64)
    parser.add_argument("--problems", type=int, default=1)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
