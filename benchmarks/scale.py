"""A step of the quickstart with its tools in one process and two, sampled here and by vLLM, with staleness 0 and 1.

    python benchmarks/scale.py
    python benchmarks/scale.py --wait 0.3 --rounds 5
    python benchmarks/scale.py --servers http://127.0.0.1:8000
    python benchmarks/scale.py --wait 0.3 --learn --ways one --steps 24 --rounds 1 --warm-up 0
    python benchmarks/scale.py --wait 0.3 --learn --ways one --steps 48 --rounds 1 --warm-up 0 \
        --set train.0.problems=16 train.0.minibatches=1

Each way has a process of its own; all take turns, `--rounds` times. A ratio is that of a step's time to the first way's
in the same round: the median is printed with the least and the greatest. What two processes sum is counted, and has to
be what the dry run says. vLLM needs a server of the quickstart's student (docs/scale.md); without `--servers` it is
left out, as is what is not installed.

On a busy machine a step takes longer, and the wait for a tool does not. So the time on a quiet one is given as well:
the processor's time of all threads, and the waiting for tools of the one that samples and updates.

With `--learn` students learn, and the last split of the recipe says how much, with its 95 % interval.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from side import Side, Turn, take_turns

from mentor_kit.report.tables import Sheet
from mentor_kit.utils.machine import cpu_name


def main() -> None:
    """Run all ways, and print their table."""
    options = _options()
    sides = _sides(options)
    first = sides[0].name
    turns = take_turns(sides, options.rounds, options.warm_up)
    heads = ("way", "a step, s", "times the first", "processor, s", "waiting, s", "both, times the first", "summed, MB")
    heads += ("greedy accuracy",) * options.learn
    rows = tuple(_row(name, turns[name], turns[first]) for name in turns)
    print(f"{cpu_name()}, {options.threads} threads; a tool's call waits {options.wait:g} s\n")
    print(Sheet("", heads, rows).markdown())


def _sides(options: argparse.Namespace) -> list[Side]:
    ways = [("one process", 1, False), ("two processes", 2, False)]
    if find_spec("mentor_kit_torch.launch") is None:
        print("left out: two processes, which this torch backend cannot")
        ways = ways[:1]
    if options.ways == "one":
        ways = ways[:1]
    if options.servers:
        ways.append(("one process and vLLM", 1, True))
    else:
        print("left out: vLLM, as no `--servers` are given")
    return [
        Side(
            f"{name}, staleness {staleness}",
            "scale_side:ScaleRun",
            steps=options.steps,
            wait=options.wait,
            processes=processes,
            staleness=staleness,
            servers=tuple(options.servers) if served else (),
            threads=options.threads,
            learn=options.learn,
            settings=tuple(options.set),
        )
        for name, processes, served in ways
        for staleness in (0, 1)
    ]


def _row(name: str, turns: list[Turn], first: list[Turn]) -> tuple[str, ...]:
    for turn in turns:
        summed, expected = turn.found["summed"], turn.found["expected"]
        assert summed == expected, f"{name}: {summed} bytes were summed a step, and {expected} were expected"
    wall = _times([turn.seconds for turn in turns], [turn.seconds for turn in first])
    # a process that waits for another one does so on neither of the two parts of the quiet clock
    quiet: tuple[str, ...] = ("–", "–", "–")
    if not turns[0].found["expected"]:
        _, ratios = _times([turn.found["quiet"] for turn in turns], [turn.found["quiet"] for turn in first])
        quiet = (_median(turns, "processor"), _median(turns, "waited"), ratios)
    learned = () if turns[-1].found["accuracy"] is None else (_percent(turns[-1].found["accuracy"]),)
    return (name, *wall, *quiet, f"{turns[0].found['summed'] / 1e6:.1f}", *learned)


def _median(turns: Sequence[Turn], name: str) -> str:
    return f"{statistics.median(turn.found[name] for turn in turns):.2f}"


def _percent(found: Mapping[str, Any]) -> str:
    accuracy, low, high = (100 * found[name] for name in ("accuracy", "low", "high"))
    return f"{accuracy:.1f} % ({low:.1f} to {high:.1f})"


def _times(seconds: Sequence[float], first: Sequence[float]) -> tuple[str, str]:
    """The median of a way's times, and its ratios to the first way's."""
    ratios = [one / base for one, base in zip(seconds, first, strict=True)]
    return (
        f"{statistics.median(seconds):.2f}",
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8, help="of a turn")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds that a tool's call takes")
    parser.add_argument(
        "--servers", nargs="+", default=[], help="addresses of vLLM servers of the quickstart's student"
    )
    parser.add_argument("--ways", choices=("all", "one"), default="all", help="one: of one process alone")
    parser.add_argument("--learn", action="store_true", help="train as the recipe says, and evaluate")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the recipe")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
