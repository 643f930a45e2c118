"""Runs the miniature of the paper's comparison: three worlds, up to seven arms and a control, ten seeds; then compares.

    python benchmarks/miniature.py --output build/miniature

In the worlds `neutral` and `causes` arithmetic is trained, and records are looked at; in `records` the other way round.
Two arms are also trained for three times the steps, so that it is seen whether a gap lasts.

First it trains the model that two of the arms distil from. It may be stopped anywhere: given again it goes on where it
stopped. Seeds are run one after the other, each run with one thread, as many side by side as the machine has cores.

The outcomes of each finished run go into benchmarks/outcomes, from which benchmarks/evidence.py makes the tables of the
docs. With `--first-seed` another machine goes on behind the seeds that are there already.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jobs
from jobs import Job, finished, side_by_side, stoppable
from outcomes import FOLDER, Study

from mentor_kit.runs import Run

WORLDS = ("neutral", "causes", "records")
ARMS = ("untrained", "sft", "sparse", "mentor", "mentor-f1", "distill", "mentor-sod")
CONTROL = "permuted"
#: The arms whose stage distils from the model that the recipe `miniature/teacher` trains; that model knows no records.
DISTILLED = ("distill", "mentor-sod")
#: The arms that are trained for three times the steps, too.
LENGTHENED = ("sparse", "mentor")
LONG_STEPS = 120


@dataclass(frozen=True)
class Arm:
    """One run of the comparison."""

    world: str
    recipe: str
    """The recipe's name in its world."""
    seed: int
    long: bool = False
    """Whether it has three times the steps."""

    @property
    def name(self) -> str:
        """The arm's name."""
        return f"{self.recipe}-long" if self.long else self.recipe

    def folder(self, output: Path) -> Path:
        """Where its run folders go."""
        return output / self.world / self.name / f"seed-{self.seed}"

    def job(self, output: Path, teacher: Path) -> Job:
        """Its job.

        Args:
            output: the folder of all runs.
            teacher: the folder of the model to distil from.
        """
        settings = [f"seed={self.seed}"]
        if self.recipe in DISTILLED:
            settings.append(f"train.0.teacher.model={teacher}")
        if self.long:
            name = f"name=miniature-{self.world}-{self.name}"
            settings += [name, f"train.0.steps={LONG_STEPS}", "evaluate.every=20"]
        return Job(f"miniature/{self.world}/{self.recipe}", self.folder(output), tuple(settings))


def arms_of(worlds: Sequence[str], seeds: Iterable[int]) -> list[Arm]:
    """All runs, seed by seed."""
    found = []
    for seed in seeds:
        for world in worlds:
            arms = [arm for arm in (*ARMS, CONTROL) if world != "records" or arm not in DISTILLED]
            found += [Arm(world, arm, seed) for arm in arms]
            found += [Arm(world, arm, seed, long=True) for arm in LENGTHENED]
    return found


def main() -> None:
    """Run what is missing, keep outcomes, and write each world's comparison."""
    options = _options()
    with stoppable():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    started = time.monotonic()
    teacher = _teacher(options.output)
    arms = arms_of(options.worlds, range(options.first_seed, options.seeds))
    planned = [arm.job(options.output, teacher) for arm in arms]
    for arm, seconds in zip(arms, side_by_side(planned, options.workers), strict=True):
        print(f"{arm.world} {arm.name} seed {arm.seed}: {seconds:.0f} s", flush=True)
        _keep(arm, seconds, options)
    print(f"all runs: {(time.monotonic() - started) / 60:.1f} minutes with {options.workers} at a time", flush=True)
    for world in options.worlds:
        compared = [arm.folder(options.output) for arm in arms if arm.world == world and not arm.long]
        runs = [str(run) for folder in compared if (run := finished(folder)) is not None]
        target = options.output / f"{world}-comparison"
        jobs.mentorkit("compare", *runs, "--against", "sparse", "--output", str(target))


def _keep(arm: Arm, seconds: float, options: argparse.Namespace) -> None:
    """Merge the outcomes of a finished run, if it ran just now or is not in the files yet."""
    folder = finished(arm.folder(options.output))
    if folder is None:
        return
    study, run = Study(arm.world, options.outcomes), Run.open(folder)
    if seconds or not study.has(run, arm.name, arm.seed):
        study.add([(run, arm.name, arm.seed)])


def _teacher(output: Path) -> Path:
    """The folder of the model to distil from, trained if it is not there yet; one for all worlds and seeds."""
    folder = output / "teacher"
    if seconds := Job("miniature/teacher", folder).finish():
        print(f"miniature/teacher: {seconds:.0f} s", flush=True)
    found = finished(folder)
    if found is None:
        raise SystemExit(f"{folder} has no finished run of miniature/teacher; its log.txt says why")
    return (found / "student").resolve()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/miniature"))
    parser.add_argument("--outcomes", type=Path, default=FOLDER)
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="seeds 0 to N - 1")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="leave out the seeds before N")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    return parser.parse_args()


if __name__ == "__main__":
    main()
