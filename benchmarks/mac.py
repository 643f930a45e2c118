"""What to check and to measure on a Mac, one after the other, into one file of JSON: `make mac`.

    python benchmarks/mac.py --output build/mac
    python benchmarks/mac.py --only doctor mps quickstart-mlx
    python benchmarks/mac.py --pretend                          # on Linux, with MLX for the CPU and the tiny student

Each check is a process of its own with a log in the output folder, and one that fails stops no other. Ends with 0 where
all are well, with 1 where one is not, and with 3 where this is no Mac. docs/mac.md says what each is for.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from checks import Check, counts, last_json, perform_all

from mentor_kit.backend.memory import GIB
from mentor_kit.core.errors import ExitCode
from mentor_kit.recipe.loading import load_recipe, recipe_names

#: Tests of what a Mac does in another way: the MLX backend, processes and their limits, locks, files.
CONTRACTS = ("tests/backends/mentor_kit_mlx",)
SYSTEM = ("tests/plugins/mentor_kit_tools", "tests/runs", "tests/platforms", "tests/recipe/test_closing.py")
#: Prints why MPS, or the device in its place, is not to be trusted; an empty string where it is.
TRIAL = "import json; from mentor_kit_torch.device_trial import device_fault as fault; print(json.dumps(fault({!r})))"
#: What makes a recipe small enough for any machine: its code runs all the same.
TINY = ("student.model=tiny-student", "student.chat_template=null", "rollout.system=null", "backend.dtype=float32")
#: The same for stages.
SMALL = {"grpo": ("problems=1", "group=2"), "sft": ("batch=2",)}


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
    return perform_all(checks, options.only, output / "mac.json", pretended=options.pretend)


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
