"""What needs a GPU to be checked and measured, in ten minutes, into one table and one file of JSON: `make cuda`.

    python benchmarks/cuda.py --output build/cuda
    python benchmarks/cuda.py --only tests
    python benchmarks/cuda.py --pretend                         # on a CPU, without the tests marked `cuda`

The tests marked `cuda`, the quickstart, and `benchmarks/cuda_speed.py`. Each is a process of its own with a log in the
output folder, and one that fails stops no other. Ends with 0 where all are well, with 1 where one is not, and with 3
where there is no GPU of NVIDIA's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from checks import Check, counts, last_json, perform_all, ran_each_kind
from gpus import NEEDED, gpus

from mentor_kit.core.errors import ExitCode

#: Shares of the time: for the tests and for the quickstart; what is measured has the rest.
TESTS, QUICKSTART = 0.35, 0.2
#: Processes of tests, which share the GPU.
PROCESSES = 4
#: All that are marked `cuda`: others cannot even be collected with what is installed for these checks.
SUITES = tuple(
    f"tests/backends/mentor_kit_torch/{name}.py" for name in ("test_torch_on_cuda", "test_torch_on_cuda_16_bits")
)


def all_checks(output: Path, minutes: float, *, pretend: bool) -> list[Check]:
    """The checks, in order.

    Args:
        output: the folder of logs and runs.
        minutes: that they may take together.
        pretend: whether they run on the CPU: small ones, and no tests.
    """
    doctor, tests, quickstart = 0.05 * minutes, TESTS * minutes, QUICKSTART * minutes
    speed = minutes - doctor - tests - quickstart
    mentorkit = (sys.executable, "-m", "mentor_kit.cli")
    small = ("train.0.steps=2", "train.0.problems=2", "evaluate.at_start=false", "evaluate.on.0.problems=4",
             "evaluate.on.1.problems=4")  # fmt: skip
    settings = ("backend.use=torch", f"backend.device={'cpu' if pretend else 'cuda'}", *(small if pretend else ()))
    words = [word for setting in settings for word in ("--set", setting)]
    # no test begins late, as one that kills and resumes runs takes a while, and only where all end are they counted; a
    # student as small as the tests' keeps a CPU busy, and a GPU hardly
    suite = (
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-m",
        "cuda",
        "--each-kind",
        "--minutes",
        f"{0.6 * tests:g}",
        "--numprocesses",
        f"{PROCESSES}",
        "--maxschedchunk",
        "1",
        *SUITES,
    )
    measured = (sys.executable, str(Path(__file__).with_name("cuda_speed.py")), "--json")
    asked = ("--output", str(output / "speed.json"), "--minutes", f"{0.9 * speed:g}")
    found = [
        Check("doctor", (*mentorkit, "doctor", "--json"), doctor, last_json),
        Check("tests", suite, tests, counts, ran_each_kind),
        Check("quickstart", (*mentorkit, "run", "quickstart", *words, "--output", str(output / "runs"), "--json"),
              quickstart, last_json),
        Check("speed", (*measured, *asked, *(("--pretend",) if pretend else ())), speed, last_json),
    ]  # fmt: skip
    return [check for check in found if not (pretend and check.name == "tests")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks, print the table, write the report; returns the exit code."""
    options = _options(arguments)
    if not options.pretend and not gpus():
        print(NEEDED, file=sys.stderr)
        return ExitCode.MISSING
    output = options.output.resolve()
    # a CPU that pretends is slower
    checks = all_checks(output, options.minutes * (6 if options.pretend else 1), pretend=options.pretend)
    code = perform_all(checks, options.only, output / "cuda.json", pretended=options.pretend)
    log = output / "speed.log"
    if log.exists():
        print("\n".join(line for line in log.read_text("utf-8").splitlines() if not line.startswith(("$ ", "[{"))))
    return code


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/cuda"), help="the folder of logs and report")
    parser.add_argument("--only", nargs="+", metavar="CHECK", help="these checks alone, by name")
    parser.add_argument("--minutes", type=float, default=10.0, help="that everything may take")
    parser.add_argument("--pretend", action="store_true", help="on a CPU, without the tests")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
