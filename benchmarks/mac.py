"""What to check and to measure on a Mac, one after the other, into one file of JSON: `make mac`.

    python benchmarks/mac.py --output build/mac
    python benchmarks/mac.py --only doctor mps quickstart-mlx
    python benchmarks/mac.py --pretend                          # on Linux, with MLX for the CPU and the tiny student

Each check is a process of its own with a log in the output folder, and one that fails stops no other. Ends with 0 where
all are well, with 1 where one is not, and with 3 where this is no Mac. docs/mac.md says what each is for.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from mentor_kit.backend.memory import GIB
from mentor_kit.core.errors import ExitCode
from mentor_kit.recipe.loading import load_recipe, recipe_names
from mentor_kit.runs.environment import environment
from mentor_kit.runs.files import write_text

ROOT = Path(__file__).parents[1]
#: Tests of what a Mac does in another way: the MLX backend, processes and their limits, locks, files.
CONTRACTS = ("tests/backends/mentor_kit_mlx",)
SYSTEM = ("tests/plugins/mentor_kit_tools", "tests/runs", "tests/platforms", "tests/recipe/test_closing.py")
#: Prints why MPS, or the device in its place, is not to be trusted; an empty string where it is.
TRIAL = "import json; from mentor_kit_torch.device_trial import device_fault as fault; print(json.dumps(fault({!r})))"
#: What makes a recipe small enough for any machine: its code runs all the same.
TINY = ("student.model=tiny-student", "student.chat_template=null", "rollout.system=null", "backend.dtype=float32")
#: The same for stages.
SMALL = {"grpo": ("problems=1", "group=2"), "sft": ("batch=2",)}


@dataclass(frozen=True)
class Check:
    """A command, and how its output is read."""

    name: str
    command: tuple[str, ...]
    minutes: float
    """The time after which it is ended."""
    read: Callable[[str], Any]
    """What goes into the report, from its standard output."""
    is_well: Callable[[Any], bool] = lambda found: found is not None


@dataclass(frozen=True)
class Outcome:
    """How a check ended."""

    name: str
    well: bool
    code: int
    seconds: float
    command: str
    log: str
    """The file with its output."""
    found: Any
    """What was read of its output; None where it could not be."""


def last_json(output: str) -> Any:
    """The last line as JSON."""
    lines = output.splitlines()
    return json.loads(lines[-1]) if lines else None


def counts(output: str) -> Any:
    """The numbers of tests by result, as pytest's last line has them."""
    words = output.replace(",", " ").split()
    results = ("passed", "failed", "error", "errors", "skipped", "deselected")
    return {word: int(before) for before, word in pairwise(words) if word in results and before.isdecimal()}


def short(recipe: str) -> tuple[str, ...]:
    """Settings that leave a recipe two steps of each stage, and no evaluation."""
    stages = range(len(load_recipe(recipe).recipe.train))
    return (*(f"train.{index}.steps=2" for index in stages), "evaluate.at_start=false", "evaluate.at_end=false")


def small(recipe: str) -> tuple[str, ...]:
    """Settings that leave a recipe's stages few episodes a step."""
    stages = enumerate(load_recipe(recipe).recipe.train)
    return tuple(f"train.{index}.{setting}" for index, stage in stages for setting in SMALL[stage.use])


def room() -> float:
    """GiB that macOS lends the GPU; without a GPU, any number."""
    from mentor_kit_mlx.memory import limit
    from mentor_kit_mlx.options import MLXOptions

    found = limit(MLXOptions())
    return math.inf if found is None else found / GIB


def laptop_recipes(most: float) -> list[str]:
    """The laptop recipes that may take at most so many GiB."""
    names = [name for name in recipe_names() if name.startswith("laptop/") and name != "laptop/base"]
    return [name for name in names if load_recipe(name).recipe.backend.options["memory"] <= most]


def all_checks(output: Path, *, pretend: bool, most: float = math.inf) -> list[Check]:
    """The checks, the shortest first.

    Args:
        output: the folder of logs and runs.
        pretend: whether laptop recipes get the tiny student, and few steps.
        most: GiB that a laptop recipe may take.
    """
    mentorkit, pytest = (
        (sys.executable, "-m", "mentor_kit.cli"),
        (sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
    )
    laptop = laptop_recipes(most)
    runs = str(output / "runs")

    def tests(name: str, folders: Sequence[str]) -> Check:
        return Check(name, (*pytest, "-o", "addopts=", "-m", "not slow and not cuda", *folders), 60, counts)

    def trained(name: str, recipe: str, *settings: str) -> Check:
        words = [word for setting in settings for word in ("--set", setting)]
        return Check(name, (*mentorkit, "run", recipe, *words, "--output", runs, "--json"), 120, last_json)

    def measured(recipe: str, *settings: str) -> Check:
        words = [word for setting in settings for word in ("--set", setting)]
        steps = "1" if pretend else "3"
        name = f"bench-{recipe.rpartition('/')[2]}"
        return Check(name, (*mentorkit, "bench", recipe, *words, "--steps", steps, "--json"), 120, last_json)

    def smaller(recipe: str) -> tuple[str, ...]:
        return (*TINY, *small(recipe)) if pretend else ()

    quick = (*short("quickstart"), *small("quickstart")) if pretend else ()
    mlx = ("backend.use=mlx",)
    return [
        Check("doctor", (*mentorkit, "doctor", "--json"), 5, last_json),
        Check(
            "mps",
            (sys.executable, "-c", TRIAL.format("cpu" if pretend else "mps")),
            10,
            last_json,
            lambda found: found == "",
        ),
        tests("system", SYSTEM),
        tests("contracts", CONTRACTS),
        trained("quickstart-torch", "quickstart", *quick),
        trained("quickstart-mlx", "quickstart", *mlx, *quick),
        measured("quickstart", *mlx, *(small("quickstart") if pretend else ())),
        *(trained(name.replace("/", "-"), name, *smaller(name), *short(name)) for name in laptop),
        *(measured(name, *smaller(name)) for name in laptop),
    ]


def perform(check: Check, output: Path) -> Outcome:
    """Run a check, with its output in a log of its own."""
    log, start = output / f"{check.name}.log", time.monotonic()
    try:
        done = subprocess.run(
            check.command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=check.minutes * 60,
            check=False,
            errors="replace",
        )
        code, said, errors = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        said, errors = (text.decode("utf-8", "replace") if text else "" for text in (late.stdout, late.stderr))
        code, errors = int(ExitCode.FAILED), f"{errors}\nended after {check.minutes:g} minutes\n"
    seconds = time.monotonic() - start
    log.write_text(f"$ {' '.join(check.command)}\n{said}\n{errors}", encoding="utf-8")
    try:
        found = check.read(said)
    except ValueError:
        found = None
    well = code == 0 and check.is_well(found)
    return Outcome(check.name, well, code, round(seconds, 1), " ".join(check.command), log.name, found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks, and write the report; returns the exit code."""
    options = _options(arguments)
    is_mac = sys.platform == "darwin" and platform.machine() == "arm64"
    if not is_mac and not options.pretend:
        print(
            f"this is {platform.system()} on {platform.machine()}, not a Mac with Apple Silicon; "
            "`python benchmarks/mac.py --pretend` runs the checks as far as they go",
            file=sys.stderr,
        )
        return ExitCode.MISSING
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    checks = all_checks(output, pretend=options.pretend, most=math.inf if options.pretend else room())
    unknown = set(options.only or ()) - {check.name for check in checks}
    if unknown:
        print(
            f"no check is called {min(unknown)}; there are {', '.join(check.name for check in checks)}", file=sys.stderr
        )
        return ExitCode.USAGE
    report: dict[str, Any] = {"pretended": options.pretend, "machine": environment(ROOT), "checks": []}
    for check in checks:
        if not options.only or check.name in options.only:
            print(f"{check.name} …", end=" ", flush=True)
            outcome = perform(check, output)
            print(f"{'ok' if outcome.well else 'FAILED'} in {outcome.seconds:g} s", flush=True)
            report["checks"].append(asdict(outcome))
            # after each, so that a run that is stopped leaves what it has
            write_text(output / "mac.json", json.dumps(report, indent=1) + "\n")
    failed = [outcome["name"] for outcome in report["checks"] if not outcome["well"]]
    print(f"report: {output / 'mac.json'}" + (f"; failed: {', '.join(failed)} (see their logs)" if failed else ""))
    return ExitCode.FAILED if failed else ExitCode.DONE


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Checks and measures what there is on a Mac.")
    parser.add_argument("--output", type=Path, default=Path("build/mac"), help="the folder of logs and report")
    parser.add_argument("--only", nargs="+", metavar="CHECK", help="these checks alone, by name")
    parser.add_argument(
        "--pretend", action="store_true", help="on any machine, with MLX for the CPU and the tiny student"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
