"""Runs the miniature of the paper's comparison: three worlds, up to seven arms and a control, ten seeds; then compares.

    python benchmarks/miniature.py --output build/miniature

In the worlds `neutral` and `causes` arithmetic is trained, and records are looked at; in `records` the other way round.
Two arms are also trained for three times the steps, so that it is seen whether a gap lasts.

First it trains the model that two of the arms distil from. It may be stopped anywhere: given again it goes on where it
stopped. Seeds are run one after the other, each run with one thread, as many side by side as the machine has cores. The
outcomes of finished runs go into benchmarks/outcomes, from which benchmarks/evidence.py makes the tables of the docs.
"""

from __future__ import annotations

import argparse
import os
import time
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


def arms_of(worlds: tuple[str, ...], seeds: int) -> list[Arm]:
    """All runs, seed by seed."""
    found = []
    for seed in range(seeds):
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
    for seed in range(options.seeds):
        arms = [arm for arm in arms_of(tuple(options.worlds), options.seeds) if arm.seed == seed]
        planned = [arm.job(options.output, teacher) for arm in arms]
        for arm, seconds in zip(arms, side_by_side(planned, options.workers), strict=True):
            print(f"{arm.world} {arm.name} seed {arm.seed}: {seconds:.0f} s", flush=True)
        for world in options.worlds:
            _keep(world, [arm for arm in arms if arm.world == world], options)
    print(f"all runs: {(time.monotonic() - started) / 60:.1f} minutes with {options.workers} at a time", flush=True)
    for world in options.worlds:
        arms = [arm for arm in arms_of((world,), options.seeds) if not arm.long]
        runs = [str(run) for arm in arms if (run := finished(arm.folder(options.output))) is not None]
        target = options.output / f"{world}-comparison"
        jobs.mentorkit("compare", *runs, "--against", "sparse", "--output", str(target))


def _keep(world: str, arms: list[Arm], options: argparse.Namespace) -> None:
    """Merge the outcomes of one seed's runs."""
    study = Study(world, options.outcomes)
    runs = [(arm, run) for arm in arms if (run := finished(arm.folder(options.output))) is not None]
    study.add([(Run.open(run), arm.name, arm.seed) for arm, run in runs])


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
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    return parser.parse_args()


if __name__ == "__main__":
    main()
