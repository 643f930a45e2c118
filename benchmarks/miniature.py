"""Runs the miniature of the paper's comparison: two worlds, seven arms and a control, three seeds; then compares.

    python benchmarks/miniature.py --output runs-miniature

First it trains the model that two of the arms distil from. Runs that are complete already are kept, so that the command
can be given again after an interruption. Each run has one thread; as many run side by side as the machine has cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mentor_kit.runs import Run

WORLDS = ("neutral", "causes")
ARMS = ("untrained", "sft", "sparse", "mentor", "mentor-f1", "distill", "mentor-sod")
CONTROL = "permuted"
#: The arms whose stage distils from the model that the recipe `miniature/teacher` trains.
DISTILLED = ("distill", "mentor-sod")


@dataclass(frozen=True)
class Job:
    """One run."""

    world: str
    arm: str
    seed: int

    @property
    def recipe(self) -> str:
        """The shipped recipe's name."""
        return f"miniature/{self.world}/{self.arm}"

    def folder(self, output: Path) -> Path:
        """Where its run folders go: a folder of its own, so that a finished run is found again."""
        return output / self.world / self.arm / f"seed-{self.seed}"


def main() -> None:
    """Run what is missing, two tables and their pictures."""
    options = _options()
    jobs = [Job(w, a, s) for w in options.worlds for s in range(options.seeds) for a in (*ARMS, CONTROL)]
    started = time.monotonic()
    teacher = _teacher(options.output)
    with ThreadPoolExecutor(options.workers) as pool:
        for job, seconds in zip(jobs, pool.map(lambda job: _run(job, options.output, teacher), jobs), strict=True):
            print(f"{job.recipe} seed {job.seed}: {seconds:.0f} s", flush=True)
    print(f"all runs: {(time.monotonic() - started) / 60:.1f} minutes with {options.workers} at a time", flush=True)
    for world in options.worlds:
        runs = [_finished(job.folder(options.output)) for job in jobs if job.world == world]
        target = options.output / f"{world}-comparison"
        _mentorkit("compare", *(str(run) for run in runs if run is not None), "--output", str(target))


def _teacher(output: Path) -> Path:
    """The folder of the model to distil from, trained if it is not there yet; one for all worlds and seeds."""
    folder = output / "teacher"
    if _finished(folder) is None:
        started = time.monotonic()
        _logged(folder, "miniature/teacher")
        print(f"miniature/teacher: {time.monotonic() - started:.0f} s", flush=True)
    found = _finished(folder)
    if found is None:
        raise SystemExit(f"{folder} has no finished run of miniature/teacher; its log.txt says why")
    return (found / "student").resolve()


def _run(job: Job, output: Path, teacher: Path) -> float:
    folder = job.folder(output)
    if _finished(folder) is not None:
        return 0.0
    started = time.monotonic()
    distilled = [f"train.0.teacher.model={teacher}"] if job.arm in DISTILLED else []
    _logged(folder, job.recipe, f"seed={job.seed}", *distilled)
    return time.monotonic() - started


def _logged(folder: Path, recipe: str, *settings: str) -> None:
    """Run a recipe into a folder with one thread, its output into a file there."""
    arguments = [word for setting in (*settings, "backend.threads=1") for word in ("--set", setting)]
    with (_made(folder) / "log.txt").open("w") as log:
        _mentorkit("run", recipe, *arguments, "--output", str(folder), "--plain", stdout=log)


def _mentorkit(*arguments: str, stdout: object = None) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mentor_kit.cli", *arguments]
    subprocess.run(command, check=True, env=environment, stdout=stdout)  # type: ignore[call-overload]


def _finished(folder: Path) -> Path | None:
    """The complete run below a job's folder, if there is one."""
    runs = (events.parent for events in sorted(folder.glob("*/*/events.jsonl")))
    return next((run for run in runs if Run.open(run).outcome == "done"), None)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs-miniature"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    return parser.parse_args()


if __name__ == "__main__":
    main()
