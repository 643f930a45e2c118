"""Runs SmolLM2-135M-Instruct on the arithmetic tools: a cold start, four arms with three seeds each, and a control.

    python benchmarks/smollm2.py --output build/smollm2

    model ──> cold start ──> mentor, sparse, mentor-f1, sft (seed 0), the control permuted ──> mentor, … (seed 1) ──> …

Each is evaluated in domain, out of domain, on records, and on BFCL; at last the model before the cold start is, too.

It may be stopped anywhere: given again it goes on where it stopped. After each run its outcomes are merged into
benchmarks/outcomes/smollm2.parquet, from which benchmarks/evidence.py makes the tables of docs/evidence.md. With
`--first-seed` another machine goes on behind the seeds that are there already; it makes the cold start anew.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import smollm2_model
from jobs import Job, finished, stoppable
from outcomes import FOLDER, Study

from mentor_kit.report.arms import training_steps
from mentor_kit.runs import Run

STUDY = "smollm2"
COLD, PRETRAINED = "cold-start", "pretrained"
ARMS = ("mentor", "sparse", "mentor-f1", "sft")
CONTROL = "permuted"


@dataclass(frozen=True)
class Plan:
    """What is run, and where."""

    output: Path
    model: Path
    """The pretrained model's folder."""
    study: Study
    seeds: range = range(3)
    arms: tuple[str, ...] = (*ARMS, CONTROL)
    threads: int = 2
    settings: tuple[str, ...] = ()
    """Settings for the cold start and the arms."""
    bfcl: int | None = None
    """Problems of each of BFCL's categories; the recipe's if left out, 0 for none."""

    @property
    def runs(self) -> list[tuple[str, int]]:
        """The arms and seeds to train from the cold start, in their order; one seed of the control says enough."""
        return [(arm, seed) for seed in self.seeds for arm in self.arms if arm != CONTROL or seed == 0]

    def finish(self) -> None:
        """Run what is not done yet, and merge each run's outcomes."""
        start = self._train(COLD, 0, self.model)
        for arm, seed in self.runs:
            self._train(arm, seed, start / "student")
        if 0 in self.seeds:
            self._train(PRETRAINED, 0, self.model)

    def _train(self, arm: str, seed: int, model: Path) -> Path:
        """A finished run of an arm, evaluated on BFCL too."""
        folder = self.output / arm / f"seed-{seed}"
        settings = (f"student.model={model.resolve()}", f"seed={seed}")
        if arm != PRETRAINED:
            settings += self.settings
        seconds = Job(f"{STUDY}/{arm}", folder / "run", settings, threads=self.threads).finish()
        run = finished(folder / "run")
        assert run is not None
        self._note(run, arm, seed, seconds)
        if self.bfcl != 0:
            subject = {"student": model} if arm == PRETRAINED else {"evaluates": run}
            seconds = Job(f"{STUDY}/bfcl", folder / "bfcl", self._bfcl, threads=self.threads, **subject).finish()
            evaluation = finished(folder / "bfcl")
            assert evaluation is not None
            self._note(evaluation, arm, seed, seconds)
        return run

    @property
    def _bfcl(self) -> tuple[str, ...]:
        """Settings of the evaluations on BFCL."""
        if self.bfcl is None:
            return ()
        on = (f"{{split: {name}, problems: {self.bfcl}, samples: 0}}" for name in ("simple_python", "multiple"))
        return (f"evaluate.on=[{', '.join(on)}]",)

    def _note(self, folder: Path, arm: str, seed: int, seconds: float) -> None:
        """Merge a run's outcomes, if it was run just now or is not in the file yet."""
        run = Run.open(folder)
        if seconds or not self.study.has(run, arm, seed):
            self.study.add([(run, arm, seed)])
            steps = training_steps(run)
            print(f"{run.name} seed {seed}: {steps} steps, {seconds / 60:.1f} minutes", flush=True)


def main() -> None:
    """Run what is missing."""
    options = _options()
    plan = Plan(
        output=options.output,
        model=options.model or smollm2_model.prepare(options.output),
        study=Study(STUDY, options.outcomes),
        seeds=range(options.first_seed, options.seeds),
        arms=tuple(options.arms),
        threads=options.threads,
        settings=tuple(options.set),
        bfcl=options.bfcl if find_spec("bfcl_eval") else 0,
    )
    if plan.bfcl == 0 and options.bfcl != 0:
        print("bfcl-eval is not installed, so nothing is evaluated on it: pip install --no-deps bfcl-eval")
    with stoppable():
        plan.finish()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/smollm2"))
    parser.add_argument("--model", type=Path, help="the pretrained model's folder; made from a package if left out")
    parser.add_argument("--outcomes", type=Path, default=FOLDER)
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N - 1")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="leave out the seeds before N")
    parser.add_argument("--arms", nargs="+", choices=(*ARMS, CONTROL), default=[*ARMS, CONTROL])
    parser.add_argument("--set", action="append", default=[], help="a setting of the cold start and the arms")
    parser.add_argument("--bfcl", type=int, help="problems of each of BFCL's categories; the recipe's if left out")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
