"""The mlx backend beside mlx-lm-lora's GRPO, on the same weights and tokens: one sampling round, and one update.

    python benchmarks/mlx_speed.py --layers 4 --prompt 1024 --completion 64 --group 8

Both sides take turns, `--rounds` times; a ratio is that of two times of the same round, and the median of the ratios is
printed with the least and the greatest. Tokens are counted, greedy tokens compared, and the gradients must be equal
before any ratio is printed. The peer samples a whole group at once (its own default is one completion at a time), and
computes gradients in chunks of as many completions as there are prompts, as its trainer does; rewards take no time on
either side. The model is SmolLM2's shape with random weights and `--layers` layers.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm_lora.trainer import grpo_trainer as peer
from shape import Shape, add_options, shape_of, write_model
from work import grouped, sampled

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import StudentSpec
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.hooks.objectives import build_objective
from mentor_kit.rl.objective import ObjectiveSpec
from mentor_kit.utils.machine import cpu_name

OBJECTIVE = build_objective(ObjectiveSpec(preset="grpo", kl=0.0))
PEER = "mlx-lm-lora"
#: Largest norm of a difference of two gradients, to the largest norm of a gradient.
EQUAL = 1e-4


def main() -> None:
    """The comparison, as lines."""
    options = _options()
    shape = shape_of(options)
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_model(Path(scratch), options.layers, vocab_size=options.vocabulary)
        # kernels are compiled on a small piece of work
        _in_turn(Sides(folder, Shape(16, 2, 3, 1, 2)), 1)
        seconds, updates, given, gradients = _in_turn(Sides(folder, shape), options.rounds)
    equal = _check(given, gradients, shape)
    print(
        f"{cpu_name()}, {mx.default_device()}, mlx {version('mlx')}, "
        f"mlx-lm-lora {version('mlx-lm-lora')}; {shape}; {options.layers} layers, {options.vocabulary} tokens"
    )
    both = {name: [a + b for a, b in zip(seconds[name], updates[name], strict=True)] for name in seconds}
    for what, found in (("sampling", seconds), ("update", updates), ("both", both)):
        print(_line(what, found))
    print(f"sampling: {equal:.0%} of the tokens equal")
    print(f"update: gradients differ by {difference(*gradients.values()):.1e} of the largest")


class Sides:
    """Both programs with the same weights, and their workload.

    Args:
        folder: the model.
        shape: of prompts and completions.
    """

    def __init__(self, folder: Path, shape: Shape) -> None:
        from mentor_kit_mlx.backend import MLXBackend
        from mentor_kit_mlx.mlx_lm_import import mlx_lm
        from mentor_kit_mlx.options import MLXOptions

        options = MLXOptions(device="cpu" if not mx.is_available(mx.gpu) else "auto", dtype="float32")
        self.policy: Any = MLXBackend(options).load(StudentSpec(str(folder)), seed=0)
        self.policy.prepare(OptimizerSpec(clip=None))
        self.model = mlx_lm("utils").load_model(folder, model_config=self.policy._loaded.config)[0]
        self.model.set_dtype(mx.float32)
        self.shape = shape
        self.prompts = shape.prompts(self.policy.info.vocabulary)
        tokens, advantages = shape.completions(self.policy.info.vocabulary)
        self.completions, self.advantages = np.array(tokens), np.array(advantages, dtype=np.float32)
        self.groups = self._on_policy()

    def sample(self) -> list[list[int]]:
        """Greedy tokens of our engine."""
        return [list(done.ids) for done in sampled(self.policy, self.prompts, self.shape.completion, 0.0)]

    def sample_as_peer(self) -> list[list[int]]:
        """Greedy tokens of the peer, which nothing stops."""
        nothing = SimpleNamespace(eos_token_ids=[], encode=lambda *_, **__: [], decode=lambda ids: "")
        found, _, _ = peer.generate_grpo(
            self.model,
            nothing,
            self.prompts[:: self.shape.group],
            max_tokens=self.shape.completion,
            group_size=self.shape.group,
            batch_size=self.shape.group,
            end_token="",
            temperature=0.0,
            top_p=1.0,
            top_k=0,
            min_p=0.0,
        )
        return [one.tolist() for one in found]

    def update(self) -> dict[str, mx.array]:
        """Our gradients."""
        self.policy.optimizer.clear()
        self.policy.forward_backward(self.groups, OBJECTIVE)
        found: dict[str, mx.array] = self.policy.optimizer.gradients
        return found

    def update_as_peer(self) -> dict[str, mx.array]:
        """The peer's gradients, of its own loss without a KL term."""
        import mlx.nn as nn

        prompts = self.prompts[:: self.shape.group]
        self.model.train()
        _, gradients = peer._grpo_value_and_grad(
            nn.value_and_grad(self.model, peer.grpo_loss),
            self.model,
            len(prompts),
            batch=(prompts, None, None, None, None),
            completions=[mx.array(row) for row in self.completions],
            completion_texts=[""] * len(self.prompts),
            batch_indices=[row // self.shape.group for row in range(len(self.prompts))],
            advantages=mx.array(self.advantages),
            reward_metrics={},
            beta=0.0,
            epsilon=0.2,
            epsilon_high=0.2,
            ref_model=None,
            grpo_loss_type="grpo",
            importance_sampling_level="token",
            max_tokens=self.shape.completion,
        )
        mx.eval(gradients)
        return dict(tree_flatten(gradients))

    def _on_policy(self) -> list[TokenGroup]:
        """Made-up completions with the log-probabilities of these very weights, so that ratios are 1 as the peer's."""
        ones = np.ones(self.shape.completion, dtype=np.float32)
        found = self.policy.log_probs(self._groups([-ones] * len(self.prompts), ones))
        return self._groups([row for rows in found for row in rows], ones)

    def _groups(self, log_probs: Sequence[Any], ones: Any) -> list[TokenGroup]:
        rows = [
            TokenCompletion(ids, ones, old, float(advantage))
            for ids, old, advantage in zip(self.completions, log_probs, self.advantages, strict=True)
        ]
        return grouped(self.prompts, rows, self.shape.group)


def _in_turn(sides: Sides, rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]], Any, Any]:
    """Seconds of sampling and of the update, by side and round, and what each side gave last."""
    works = {
        "sampling": {"ours": sides.sample, PEER: sides.sample_as_peer},
        "update": {"ours": sides.update, PEER: sides.update_as_peer},
    }
    seconds: dict[str, dict[str, list[float]]] = {work: {"ours": [], PEER: []} for work in works}
    given: dict[str, dict[str, Any]] = {work: {} for work in works}
    for turn, (work, programs) in itertools.product(range(rounds), works.items()):
        for name, side in programs.items():
            started = time.perf_counter()
            given[work][name] = side()
            seconds[work][name].append(time.perf_counter() - started)
            print(f"round {turn + 1}: {work}: {name} {seconds[work][name][-1]:.2f} s", file=sys.stderr)
    return seconds["sampling"], seconds["update"], given["sampling"], given["update"]


def _line(what: str, seconds: dict[str, list[float]]) -> str:
    ours, theirs = seconds["ours"], seconds[PEER]
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return (
        f"{what}: ours {statistics.median(ours):.2f} s, {PEER} {statistics.median(theirs):.2f} s, "
        f"{statistics.median(ratios):.2f} times ours ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def difference(ours: dict[str, mx.array], theirs: dict[str, mx.array]) -> float:
    """The largest norm of a difference of gradients, to the largest norm of a gradient."""
    norms = [float(mx.linalg.norm(value)) for value in theirs.values()]
    return max(float(mx.linalg.norm(ours[name] - value)) for name, value in theirs.items()) / max(norms)


def _check(tokens: dict[str, Any], gradients: dict[str, Any], shape: Shape) -> float:
    """Both did the same work; the share of greedy tokens that are equal."""
    for name, rows in tokens.items():
        assert [len(row) for row in rows] == [shape.completion] * shape.problems * shape.group, name
    assert gradients["ours"].keys() == gradients[PEER].keys()
    gap = difference(*gradients.values())
    assert gap < EQUAL, f"gradients differ by {gap}"
    pairs = zip(tokens["ours"], tokens[PEER], strict=True)
    return statistics.mean(a == b for row, other in pairs for a, b in zip(row, other, strict=True))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--vocabulary", type=int, default=49152)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
