"""Times steps of the quickstart alone and beside a program that keeps one core busy, by how long threads wait spinning.

    python benchmarks/busy_cores.py

Sides take turns. The first one's threads wait as PyTorch's library would have them, the other's as mentor-kit has them
(`mentor_kit_torch.thread_waits`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from mentor_kit_torch.thread_waits import POLICY, SPINS

from mentor_kit.report.tables import Sheet
from mentor_kit.utils.machine import cpu_name

#: Spins that are given to each side; the library's own number is this one where it has a core for each thread.
SIDES: Mapping[str, Mapping[str, str]] = {"PyTorch's own": {SPINS: "300000"}, "mentor-kit's": {}}
#: At the lowest priority, as a program in the background.
BUSY = (sys.executable, "-c", "import os; os.nice(19)\nwhile True: pass")


def main() -> None:
    """Time the sides in turns and print a table."""
    options = _options()
    seconds: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for turn in range(options.rounds):
        for busy in (False, True):
            for side in list(SIDES)[:: -1 if turn % 2 else 1]:
                with a_busy_core(busy):
                    seconds[side, busy].append(step_seconds(SIDES[side], options.steps))
    heads = ("threads wait", "alone, s a step", "beside a busy core, s a step", "ratio")
    print(Sheet("", heads, tuple(_rows(seconds))).markdown())
    print(f"{cpu_name()}, {os.cpu_count()} cores, rounds: {options.rounds}, steps of each: {options.steps}")


def _rows(seconds: Mapping[tuple[str, bool], Sequence[float]]) -> Iterator[tuple[str, ...]]:
    for side in SIDES:
        alone, beside = (statistics.median(seconds[side, busy]) for busy in (False, True))
        yield side, f"{alone:.2f}", f"{beside:.2f}", f"{beside / alone:.1f}"


@contextmanager
def a_busy_core(busy: bool) -> Iterator[None]:
    """A program that uses one core until the end; none where not asked for."""
    program = subprocess.Popen(BUSY, start_new_session=True) if busy else None
    try:
        yield
    finally:
        if program is not None:
            program.kill()
            program.wait()


def step_seconds(environment: Mapping[str, str], steps: int) -> float:
    """Seconds of a step of the quickstart in a process with these variables."""
    command = [sys.executable, "-m", "mentor_kit.cli", "bench", "quickstart", "--json", "--steps", str(steps)]
    clean = {name: value for name, value in os.environ.items() if name not in (POLICY, SPINS, "OMP_NUM_THREADS")}
    found = subprocess.run(command, env={**clean, **environment}, stdout=subprocess.PIPE, check=True, text=True)
    (stage,) = json.loads(found.stdout)["stages"]
    return float(stage["seconds"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
