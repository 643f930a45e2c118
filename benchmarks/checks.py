"""Checks of a machine, one after the other: each a process of its own with a log, all of them in one file of JSON."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from mentor_kit.core.errors import ExitCode
from mentor_kit.runs.environment import environment
from mentor_kit.runs.files import write_text

ROOT = Path(__file__).parents[1]


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
    """The numbers of tests by result, as pytest's last line has them, and of those for which no time was left."""
    words = output.replace(",", " ").split()
    results = ("passed", "failed", "error", "errors", "skipped", "deselected")
    found = {word: int(before) for before, word in pairwise(words) if word in results and before.isdecimal()}
    if left := re.search(r"(\d+) tests were not run", output):
        found["not run"] = int(left[1])
        found["skipped"] = found.get("skipped", 0) - found["not run"]
    if kinds := re.search(r"(\d+) of \d+ kinds have no test that was run", output):
        found["kinds not run"] = int(kinds[1])
    return found


def ran_each_kind(found: Any) -> bool:
    """Whether tests were run, and some of each kind."""
    return bool(found.get("passed")) and not found.get("kinds not run")


def ended_within(command: Sequence[str], seconds: float, folder: Path | None = None) -> tuple[int | None, str, str]:
    """Run a command; exit code, output and errors.

    Where it takes longer it is killed with everything that it started, which may hold its output open, and the code is
    None. What was written by then is there.
    """
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            said, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, errors = process.communicate()
            return None, said, errors
        except BaseException:  # Ctrl-C goes to this process alone
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, said, errors


def perform(check: Check, output: Path) -> Outcome:
    """Run a check, with its output in a log of its own."""
    log, start = output / f"{check.name}.log", time.monotonic()
    code, said, errors = ended_within(check.command, check.minutes * 60, ROOT)
    if code is None:
        code, errors = int(ExitCode.FAILED), f"{errors}\nended after {check.minutes:g} minutes\n"
    seconds = time.monotonic() - start
    log.write_text(f"$ {' '.join(check.command)}\n{said}\n{errors}", encoding="utf-8")
    try:
        found = check.read(said)
    except ValueError:
        found = None
    well = code == 0 and check.is_well(found)
    return Outcome(check.name, well, code, round(seconds, 1), " ".join(check.command), log.name, found)


def perform_all(checks: Sequence[Check], only: Sequence[str] | None, file: Path, **known: Any) -> ExitCode:
    """Run checks, and write the report after each, so that a run that is stopped leaves what it has.

    Args:
        checks: in the order in which they are run.
        only: the names of those that are run; None for all.
        file: the report; logs lie beside it.
        known: what the report says besides.
    """
    unknown = set(only or ()) - {check.name for check in checks}
    if unknown:
        print(
            f"no check is called {min(unknown)}; there are {', '.join(check.name for check in checks)}", file=sys.stderr
        )
        return ExitCode.USAGE
    file.parent.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {**known, "machine": environment(ROOT), "checks": []}
    for check in checks:
        if not only or check.name in only:
            print(f"{check.name} …", end=" ", flush=True)
            outcome = perform(check, file.parent)
            left = outcome.found.get("not run") if isinstance(outcome.found, dict) else None
            more = f"; no time was left for {left} tests" if left else ""
            print(f"{'ok' if outcome.well else 'FAILED'} in {outcome.seconds:g} s{more}", flush=True)
            report["checks"].append(asdict(outcome))
            write_text(file, json.dumps(report, indent=1) + "\n")
    failed = [outcome["name"] for outcome in report["checks"] if not outcome["well"]]
    print(f"report: {file}" + (f"; failed: {', '.join(failed)} (see their logs)" if failed else ""))
    return ExitCode.FAILED if failed else ExitCode.DONE
