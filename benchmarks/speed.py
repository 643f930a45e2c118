"""Ours beside the peers, on the same weights and tokens: sampling, the update, a step of GRPO, a step with tools.

    python benchmarks/speed.py --layers 4 --prompt 1024 --completion 64 --group 8
    python benchmarks/speed.py --what step --model FOLDER --problems 8 --peer-problems 1
    python benchmarks/speed.py --what tools

Each side has a process of its own; all take turns, `--rounds` times. A ratio is that of two times a problem of the same
round, and the median of the ratios is printed with the least and the greatest, and the peaks of memory. Greedy tokens
and gradients are compared before any ratio is printed. Steps are compared with TRL's where it is installed
(`pip install 'mentor-kit[benchmarks]'`). The model is SmolLM2's shape with random weights and `--layers` layers, or a
folder given with `--model`; that of `tools` is the quickstart's student.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from shape import Shape, add_options, shape_of, write_model
from side import Side, Turn, take_turns

from mentor_kit.utils.machine import cpu_name


@dataclass(frozen=True)
class Plan:
    """The workload and the sides of a comparison."""

    folder: Path
    shape: Shape
    peer_problems: int
    """Peers may do fewer problems in a turn: their time is that many times a problem's."""
    rounds: int
    warm_up: int
    threads: int
    peers: tuple[str, ...] = ()
    """Names of the peers to compare with; empty for all."""
    turns: int = 4

    @property
    def theirs(self) -> Shape:
        """The peers' shape."""
        return replace(self.shape, problems=self.peer_problems)

    def turns_of(self, ours: Side, *peers: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
        """Ours and the chosen peers, (name, maker, arguments) each, in turns."""
        chosen = [peer for peer in peers if not self.peers or peer[0] in self.peers]
        per_turn = self.peer_problems if ours.per_turn > 1 else 1
        sides = [ours, *(Side(name, maker, per_turn=per_turn, **arguments) for name, maker, arguments in chosen)]
        counts = {side.name: side.per_turn for side in sides}
        return {"turns": take_turns(sides, self.rounds, self.warm_up), "problems": counts}


def compare_sampling(plan: Plan) -> dict[str, Any]:
    """Every side must give as many tokens, greedily chosen; they are the same but for ties in floating point."""
    common = {"folder": plan.folder, "threads": plan.threads}
    ours = Side("ours", "ours:Sampling", per_turn=plan.shape.problems, shape=plan.shape, **common)
    theirs = {"shape": plan.theirs, **common}
    found = plan.turns_of(
        ours,
        ("generate", "peers:Generate", theirs),
        ("generate, static cache", "peers:Generate", {"implementation": "static", **theirs}),
        ("continuous batching", "peers:ContinuousBatching", theirs),
    )
    outputs = {name: turns[-1].found["output"] for name, turns in found["turns"].items()}
    for name, rows in outputs.items():
        assert all(len(row) == plan.shape.completion for row in rows), name
    same = {name: equal(rows, outputs["ours"]) for name, rows in outputs.items() if name != "ours"}
    return {**found, "equal": same}


def compare_updates(plan: Plan) -> dict[str, Any]:
    """Gradients must be equal to 1e-4 of the largest parameter's norm, where all sides do the same problems."""
    with tempfile.TemporaryDirectory() as scratch:
        common = {"folder": plan.folder, "threads": plan.threads}
        keep = [Path(scratch) / name if plan.theirs == plan.shape else None for name in ("ours", "theirs")]
        ours = Side("ours", "ours:Update", per_turn=plan.shape.problems, shape=plan.shape, keep=keep[0], **common)
        peer = {"shape": plan.theirs, "keep": keep[1], **common}
        found = plan.turns_of(ours, ("unshared", "peers:UnsharedUpdate", peer))
        if keep[0] is not None:
            found["gradients"] = difference(*(str(file) for file in keep))
    return found


def compare_steps(plan: Plan) -> dict[str, Any]:
    """A whole step: sample, reward, advantages, update; all must sample and train as many tokens a problem."""
    common = {"folder": plan.folder, "threads": plan.threads}
    ours = Side("ours", "ours:Step", per_turn=plan.shape.problems, shape=plan.shape, **common)
    theirs = {"shape": plan.theirs, **common}
    found = plan.turns_of(
        ours, ("TRL", "trl_step:Step", theirs), ("TRL, head cut", "trl_step:Step", {"cut": True, **theirs})
    )
    tokens = {n: turns[-1].found["tokens"] / found["problems"][n] for n, turns in found["turns"].items()}
    assert len(set(tokens.values())) == 1, tokens
    return {**found, "tokens": tokens["ours"]}


def compare_tools(plan: Plan) -> dict[str, Any]:
    """A step of the quickstart, 16 problems by 8 episodes of up to four turns; no two samplers draw the same tokens."""
    given = {"problems": 16, "group": 8, "turns": plan.turns, "threads": plan.threads}
    found = plan.turns_of(Side("ours", "ours:ToolStep", **given), ("TRL, tools=", "trl_step:ToolStep", given))
    tokens = {name: [turn.found["tokens"] for turn in turns] for name, turns in found["turns"].items()}
    return {**found, "tokens": {name: statistics.mean(counts) for name, counts in tokens.items()}}


COMPARISONS: dict[str, Callable[[Plan], dict[str, Any]]] = {
    "sampling": compare_sampling,
    "update": compare_updates,
    "step": compare_steps,
    "tools": compare_tools,
}


def equal(rows: list[list[int]], others: list[list[int]]) -> float:
    """The share of tokens that are the same; a tie in floating point changes all that follow it."""
    pairs = [pair for row, other in zip(rows, others, strict=False) for pair in zip(row, other, strict=True)]
    return float(np.mean([a == b for a, b in pairs]))


def difference(first: str, second: str) -> float:
    """The largest norm of a difference of gradients, to the largest norm of a gradient; both are files."""
    import torch

    pairs = list(zip(torch.load(first), torch.load(second), strict=True))
    found = max(float((a - b).norm()) for a, b in pairs) / max(float(b.norm()) for _, b in pairs)
    assert found < 1e-4, f"gradients differ by {found}"
    return found


def lines(what: str, result: dict[str, Any]) -> list[str]:
    """A line for ours, and one with ratios for each peer."""
    ours = per_problem(result, "ours")
    tokens = result.get("tokens")
    found = [f"{what}: ours {statistics.median(ours):.3f} s a problem ({min(ours):.3f} to {max(ours):.3f})"]
    found[0] += f", {peak(result, 'ours') / 2**30:.1f} GiB"
    for name in result["turns"]:
        if name == "ours":
            continue
        seconds = per_problem(result, name)
        ratios = [theirs / mine for theirs, mine in zip(seconds, ours, strict=True)]
        found.append(
            f"{what}: {name} {statistics.median(seconds):.3f} s, {statistics.median(ratios):.2f} times ours "
            f"({min(ratios):.2f} to {max(ratios):.2f}), {peak(result, name) / 2**30:.1f} GiB"
        )
        if "equal" in result:
            found[-1] += f"; {result['equal'][name]:.0%} of the tokens equal"
        if isinstance(tokens, dict):
            found[-1] += f"; {tokens[name]:.0f} tokens sampled, ours {tokens['ours']:.0f}"
    if "gradients" in result:
        found.append(f"{what}: gradients differ by {result['gradients']:.1e} of the largest")
    return found


def per_problem(result: dict[str, Any], name: str) -> list[float]:
    """A side's seconds a problem, by round."""
    return [turn.seconds / result["problems"][name] for turn in result["turns"][name]]


def peak(result: dict[str, Any], name: str) -> int:
    """The most bytes a side's process held."""
    return max(turn.peak for turn in result["turns"][name])


def machine(threads: int) -> str:
    """The processor and the versions of the software."""
    import torch

    return f"{cpu_name()}, {threads} threads, torch {torch.__version__}"


def as_data(result: dict[str, Any]) -> dict[str, Any]:
    """A comparison for JSON, without the tokens."""

    def turn(one: Turn) -> dict[str, Any]:
        return {**asdict(one), "found": {k: v for k, v in one.found.items() if k != "output"}}

    return {**result, "turns": {name: [turn(one) for one in turns] for name, turns in result["turns"].items()}}


def main() -> None:
    """The comparisons, as lines or as JSON."""
    options = _options()
    shape = shape_of(options)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.model or write_model(Path(scratch), options.layers)
        plan = Plan(
            folder,
            shape,
            options.peer_problems or options.problems,
            options.rounds,
            options.warm_up,
            options.threads,
            tuple(options.peers),
            options.turns,
        )
        found = {what: COMPARISONS[what](plan) for what in options.what}
    if options.json:
        model = str(options.model or f"{options.layers} layers")
        header = {"machine": machine(options.threads), "shape": asdict(shape), "model": model}
        print(json.dumps(header | {what: as_data(result) for what, result in found.items()}))
        return
    print(f"{machine(options.threads)}; {shape}; {options.model or f'{options.layers} layers'}")
    for what, result in found.items():
        for line in lines(what, result):
            print(line)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    with_trl = ("step", "tools") if find_spec("trl") else ()
    parser.add_argument("--what", nargs="+", choices=COMPARISONS, default=["sampling", "update", *with_trl])
    parser.add_argument("--peers", nargs="+", default=[], help="names of the peers to compare with; all if left out")
    parser.add_argument("--model", type=Path)
    add_options(parser)
    parser.add_argument("--peer-problems", type=int, help="in a peer's turn; as many as ours if left out")
    parser.add_argument("--turns", type=int, default=4, help="the most turns of an episode with tools")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
