"""What held the quickstart back: its recipe beside its former settings and others, with more updates and larger ones.

    python benchmarks/quickstart_study.py --output build/quickstart-study

The recipe makes 6,144 rollouts, in groups of any size, its former settings 7,680, all other arms 7,168. It may be
stopped anywhere: given again it goes on where it stopped. The outcomes go into benchmarks/outcomes, from which
benchmarks/evidence.py makes the tables of docs/evidence.md.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from jobs import Job, finished, side_by_side, stoppable
from outcomes import FOLDER, Study

from mentor_kit.runs import Run

STUDY = "quickstart"
#: As the quickstart was: one update a step on half the rollouts, in more and smaller steps.
_FORMER = (
    "train.0.steps=60",
    "train.0.problems=16",
    "train.0.minibatches=1",
    "train.0.optimizer.lr=5.0e-4",
    "evaluate.every=20",
)
#: Four steps more than the recipe, and smaller ones.
_TWO = ("train.0.steps=28", "train.0.optimizer.lr=6.0e-4", "evaluate.every=14")
_BONUS = "train.0.objective.entropy=0.01"

#: The arms and what each changes in the quickstart's recipe.
ARMS: Mapping[str, tuple[str, ...]] = {
    "former": _FORMER,
    "recipe": (),
    "groups of 4": ("train.0.problems=64", "train.0.group=4"),
    "groups of 16": ("train.0.problems=16", "train.0.group=16"),
    "two updates": _TWO,
    "two updates, bonus": (*_TWO, _BONUS),
    "one update, bonus": (*_TWO, _BONUS, "train.0.minibatches=1"),
    "twice the rate": (*_TWO, _BONUS, "train.0.optimizer.lr=1.2e-3"),
    "Muon": (*_TWO, _BONUS, "train.0.optimizer={use: muon, lr: 2.0e-3, warmup: 5, schedule: linear, final: 0.1}"),
}


def main() -> None:
    """Run what is missing, seed by seed, and keep each seed's outcomes."""
    options = _options()
    with stoppable():
        for seed in range(options.seeds):
            jobs = [_job(arm, seed, options.output) for arm in ARMS]
            for arm, seconds in zip(ARMS, side_by_side(jobs, options.workers), strict=True):
                print(f"{arm} seed {seed}: {seconds:.0f} s", flush=True)
            runs = [(finished(job.folder), arm) for job, arm in zip(jobs, ARMS, strict=True)]
            Study(STUDY, options.outcomes).add([(Run.open(run), arm, seed) for run, arm in runs if run is not None])


def _job(arm: str, seed: int, output: Path) -> Job:
    folder = output / arm.replace(", ", "-").replace(" ", "-") / f"seed-{seed}"
    return Job("quickstart", folder, (*ARMS[arm], f"seed={seed}"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/quickstart-study"))
    parser.add_argument("--outcomes", type=Path, default=FOLDER)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
