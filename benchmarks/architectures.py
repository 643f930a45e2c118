"""The table of architectures by backend in docs/families.md, from checks of small random models.

    python benchmarks/architectures.py                       # what is not checked yet, a process for each
    python benchmarks/architectures.py --again qwen3_5 lfm2  # these once more
    python benchmarks/architectures.py --backends torch
    python benchmarks/architectures.py --table               # writes the table from what is checked

Outcomes are kept in benchmarks/architectures.json, so that it can be stopped and started again. A check that does not
hold has its reason, and stands in the table with whose limit it is: `LIMITS` has those that are other programs'.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from architecture_kinds import ARCHITECTURES
from architecture_limits import limit_of
from checks import ended_within

HERE = Path(__file__).parent
OUTCOMES, PAGE = HERE / "architectures.json", HERE.parent / "docs/families.md"
BEGIN, END = "<!-- architectures: begin -->", "<!-- architectures: end -->"
BACKENDS = ("torch", "mlx")
#: Columns of a backend's table: the check, and its heading.
COLUMNS = {
    "torch": {
        "rows": "rows",
        "sampling": "sampling",
        "gradient": "gradient",
        "recomputing": "recomputing",
        "transformers": "`transformers`",
        "adapter": "`adapter`",
        "mlx": "in MLX",
    },
    "mlx": {
        "rows": "rows",
        "sampling": "sampling",
        "gradient": "gradient",
        "recomputing": "recomputing",
        "transformers": "`transformers`",
        "adapter": "`adapter`",
        "mlx": "`mlx`",
        "mlx-adapter": "`mlx-adapter`",
    },
}
#: The reason of a check that is still to be made.
UNCHECKED = "not checked yet"
#: Seconds that the checks of an architecture may take.
TIMEOUT = 1800

Outcomes = dict[str, dict[str, Any]]
"""By architecture: the cells of each backend, by check."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Check what was asked for, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", nargs="*", default=[], metavar="NAME", help="check these once more")
    parser.add_argument("--only", nargs="*", default=list(ARCHITECTURES), metavar="NAME", help="check no others")
    parser.add_argument("--outcomes", type=Path, default=OUTCOMES, help="the file that keeps what is checked")
    parser.add_argument("--backends", nargs="*", default=BACKENDS, choices=BACKENDS)
    parser.add_argument("--table", action="store_true", help="write the table into docs/families.md")
    chosen = parser.parse_args(arguments)
    if unknown := {*chosen.again, *chosen.only} - ARCHITECTURES.keys():
        parser.error(f"no architecture is called {', '.join(sorted(unknown))}; they are {', '.join(ARCHITECTURES)}")
    outcomes = read_outcomes(chosen.outcomes)
    if chosen.table:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), table(outcomes)), encoding="utf-8")
        return
    for name in chosen.only:
        cells = outcomes["architectures"].setdefault(name, {})
        if wanted := [backend for backend in chosen.backends if backend not in cells or name in chosen.again]:
            cells |= check(name, wanted)
            outcomes["versions"] |= {package: version(package) for package in PACKAGES}
            chosen.outcomes.write_text(json.dumps(outcomes, indent=1) + "\n", encoding="utf-8")
            for backend in wanted:
                failed = {key: cell["reason"] for key, cell in cells[backend].items() if not cell["holds"]}
                print(f"{name} {backend}: {failed or 'all'}", flush=True)


#: Packages whose versions the outcomes depend on.
PACKAGES = ("torch", "transformers", "peft", "mlx", "mlx-lm")


def read_outcomes(file: Path) -> Outcomes:
    """What is checked already."""
    if file.is_file():
        found: Outcomes = json.loads(file.read_bytes())
        return found
    return {"versions": {}, "architectures": {}}


def check(name: str, backends: Sequence[str]) -> dict[str, Any]:
    """The cells of an architecture by backend, from a process of their own."""
    command = [sys.executable, str(HERE / "architecture_checks.py"), name, *backends]
    code, said, errors = ended_within(command, TIMEOUT)
    if code is None:
        reason = f"the checks took longer than {TIMEOUT} s"
    else:
        try:
            found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
            return found
        except (IndexError, ValueError):
            reason = (errors.strip().splitlines() or ["the process ended without a word"])[-1][:300]
    return {backend: {"loads": {"holds": False, "error": None, "reason": reason}} for backend in backends}


def table(outcomes: Outcomes) -> str:
    """The Markdown of both tables, with the limits below."""
    versions = ", ".join(f"{name} {found}" for name, found in outcomes["versions"].items())
    notes: dict[str, int] = {}
    parts = [f"Checked with {versions}."]
    for backend in BACKENDS:
        columns = COLUMNS[backend]
        heads = ["architecture", "models", *(["calls"] if backend == "torch" else []), *columns.values()]
        lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
        for name, kind in ARCHITECTURES.items():
            cells = outcomes["architectures"].get(name, {}).get(backend, {})
            calls = [_calls(name, notes)] if backend == "torch" else []
            row = [f"`{name}`", kind.models, *calls, *(_cell(name, backend, key, cells, notes) for key in columns)]
            lines.append(f"| {' | '.join(row)} |")
        parts += [f"On `{backend}`:", "\n".join(lines)]
    if notes:
        parts += ["Limits:", "\n".join(f"{number}. {text}" for text, number in notes.items())]
    return "\n\n".join(parts)


def _cell(name: str, backend: str, key: str, cells: Mapping[str, Any], notes: dict[str, int]) -> str:
    cell = cells.get(key) or cells.get("loads") or {"holds": False, "reason": "not checked"}
    if not cell["holds"]:
        note = limit_of(name, backend, key) or f"mentor-kit: {cell['reason']}"
        return f"{'?' if cell['reason'] == UNCHECKED else 'no'} ({notes.setdefault(note, len(notes) + 1)})"
    error = cell["error"]
    return "yes" if error is None else "exact" if error == 0 else f"{error:.0e}"


def _calls(name: str, notes: dict[str, int]) -> str:
    """The family of the models' calls."""
    calls = ARCHITECTURES[name].calls
    if calls:
        return f"`{calls}`"
    note = "models: their template shows no tools; `student: {chat_template: hermes}` gives them one that does"
    if calls is None:
        note = (
            "not tried: the models' own template was not at hand; the family is found from it when a student is loaded"
        )
    return f"{'no' if calls == '' else '?'} ({notes.setdefault(note, len(notes) + 1)})"


def with_table(page: str, text: str) -> str:
    """The page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def failures(outcomes: Outcomes) -> Iterator[tuple[str, str, str, str]]:
    """Architecture, backend, check and reason of each check that does not hold."""
    for name, backends in outcomes["architectures"].items():
        for backend, cells in backends.items():
            for key, cell in cells.items():
                if not cell["holds"]:
                    yield name, backend, key, cell["reason"]


if __name__ == "__main__":
    main()
