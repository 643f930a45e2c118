"""Fills a folder with the wheels that a machine without a network needs beside its own PyTorch and transformers.

    python benchmarks/wheels.py --output build/wheels --python 3.12 pytest pytest-timeout hypothesis

They are those of mentor-kit's extra `torch` and of the named packages, in the versions that are installed here, with
what they need, but for what a PyTorch with transformers is never without.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

#: What the machine has: beginnings of names.
THERE = ("torch", "transformers", "triton", "numpy", "nvidia-", "cuda-")
#: Tags of the platforms whose wheels are taken; pip takes those of an exact tag alone.
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64",
             "manylinux_2_5_x86_64", "manylinux1_x86_64")  # fmt: skip


def needed(wanted: Iterable[str], python: str) -> dict[str, str]:
    """Packages with all that they need, and the versions of these that are installed here.

    Args:
        wanted: requirements, such as `mentor-kit[torch]`.
        python: the version of Python for which they are needed, such as `3.12`.

    Raises:
        importlib.metadata.PackageNotFoundError: one of them is not installed here.
    """
    found: dict[str, str] = {}
    asked: set[str] = set()
    waiting = list(wanted)
    while waiting:
        requirement = Requirement(waiting.pop())
        environments = [
            {"extra": extra, "python_version": python, "sys_platform": "linux"} for extra in ("", *requirement.extras)
        ]
        installed = distribution(requirement.name)
        key = f"{canonicalize_name(requirement.name)}[{','.join(sorted(requirement.extras))}]"
        if key in asked:
            continue
        asked.add(key)
        found[canonicalize_name(requirement.name)] = installed.version
        for line in installed.requires or ():
            marker = Requirement(line).marker
            if marker is None or any(marker.evaluate(environment) for environment in environments):
                waiting.append(line.partition(";")[0])
    return found


def main() -> int:
    """Build our wheel, fetch the others; returns pip's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/wheels"))
    parser.add_argument("--python", default="3.12", help="the version of Python on the other machine")
    parser.add_argument("packages", nargs="*", help="beside mentor-kit's extra torch")
    options = parser.parse_args()
    wanted = needed(["mentor-kit[torch]", *options.packages], options.python)
    pins = [
        f"{name}=={version}" for name, version in sorted(wanted.items()) if not name.startswith((*THERE, "mentor-kit"))
    ]
    pip = [sys.executable, "-m", "pip"]
    root = Path(__file__).parents[1]
    built = subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(options.output), str(root)])
    if built.returncode:
        return built.returncode
    only = ["--no-deps", "--only-binary=:all:", "--python-version", options.python, "--implementation", "cp"]
    tags = [word for platform in PLATFORMS for word in ("--platform", platform)]
    return subprocess.run([*pip, "download", "--quiet", *only, *tags, "-d", str(options.output), *pins]).returncode


if __name__ == "__main__":
    sys.exit(main())
