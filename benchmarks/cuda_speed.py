"""Sampling, the update and a whole step on a GPU, beside peers and the device's limits: one table, one file of JSON.

    python benchmarks/cuda_speed.py --output build/cuda/speed.json --minutes 5
    python benchmarks/cuda_speed.py --pretend                     # on a CPU, with small shapes: whether it runs

Models are SmolLM2-135M's and Qwen3-1.7B's shape with random weights, in bfloat16. Rows have a prompt in common and an
ending each of their own; completions have 64 tokens. Each side has a process of its own, one after the other, and ends
with its share of the time: what is not measured then is said to be so. A token's time is what completions of 64 tokens
take longer than such of one. Peers are those that are installed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from checks import ended_within
from rich.console import Console
from rich.table import Table
from shape import qwen3_1_7b, smollm2_135m, write_random

from mentor_kit.core.errors import ExitCode
from mentor_kit.runs.files import write_text

Case = dict[str, int]
#: SmolLM2's context of 8,192 has no room for completions behind as many tokens.
MODELS: dict[str, Callable[..., Any]] = {
    "SmolLM2-135M": partial(smollm2_135m, max_position_embeddings=16384),
    "Qwen3-1.7B": qwen3_1_7b,
}
ROWS, PROMPTS = (64, 8, 256), (1024, 8192)
#: What a CPU can do in a minute: for tests of this program.
TINY = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 48, "vocab_size": 128, "head_dim": 8,
        "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What a side does with a model."""

    side: str
    model: str
    cases: tuple[Case, ...]
    share: float
    """Of the time that is left when it starts, the most it may take."""
    needs: str = ""
    """The package that it needs; empty for none."""


def plan(rows: Sequence[int], prompts: Sequence[int], own: int, completion: int) -> list[Work]:
    """All work, the most wanted first."""

    def case(many: int, prompt: int) -> Case:
        return {"rows": many, "prompt": prompt, "own": own, "completion": completion}

    first = (case(rows[0], prompts[0]),)
    grid = tuple(case(many, prompt) for prompt in prompts for many in rows)
    small, large = MODELS
    found = [Work("limits", small, first, 0.5)]
    for model in (small, large):
        found += [
            Work("ours", model, grid, 0.3),
            Work("launches", model, first, 0.3),
            Work("update", model, grid, 0.3),
            Work("update launches", model, first, 0.3),
        ]
    found += [Work("step", small, first, 0.3), Work("TRL's step", small, first, 0.4, "trl")]
    for model in (small, large):
        found += [
            Work("generate, static cache", model, grid, 0.4),
            Work("vLLM", model, grid, 0.4, "vllm"),
            Work("continuous batching", model, grid, 0.3),
            Work("generate", model, first, 0.3),
            Work("unshared update", model, first, 0.3),
        ]
    return [*found, Work("step", large, first, 0.5), Work("TRL's step", large, first, 0.5, "trl")]


def measure(work: Work, folder: Path, device: str, dtype: str, seconds: float) -> list[dict[str, Any]]:
    """What a side found, with its name and its model's; cases that it did not come to have an `error` that says why."""
    known = {"side": work.side, "model": work.model}
    if work.needs and find_spec(work.needs) is None:
        return [{**known, **case, "error": f"{work.needs} is not installed"} for case in work.cases]
    given = {"side": work.side, "folder": str(folder), "device": device, "dtype": dtype, "cases": work.cases}
    command = [sys.executable, str(Path(__file__).with_name("cuda_side.py")), json.dumps(given)]
    code, output, errors = ended_within(command, seconds)
    reason = "out of time" if code is None else _reason(errors)
    found = [json.loads(line) for line in output.splitlines() if line.startswith("{") and line.endswith("}")]
    left = work.cases[len(found) :]
    return [{**known, **one} for one in found] + [{**known, **case, "error": reason} for case in left]


def _reason(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it ended without a word"


def tables(found: list[dict[str, Any]]) -> list[Table]:
    """Sampling by model, rows and prompt; update and step; what they start and wait for; and what is wanted of them."""
    limits = next((one for one in found if one["side"] == "limits" and "error" not in one), None)
    made = (_sampling(found, limits), _others(found, limits), _launches(found), _targets(found, limits))
    return [table for table in made if table.row_count]


SAMPLERS = ("ours", "generate, static cache", "generate", "continuous batching", "vLLM")


def _sampling(found: list[dict[str, Any]], limits: dict[str, Any] | None) -> Table:
    table = Table(title="sampling: ms a token of all rows", title_justify="left")
    for column in ("model", "rows", "prompt", "ours", "of the bandwidth", *SAMPLERS[1:], "equal tokens"):
        table.add_column(column, justify="left" if column == "model" else "right")
    by_case: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for one in found:
        if one["side"] in SAMPLERS:
            by_case.setdefault((one["model"], one["rows"], one["prompt"]), {})[one["side"]] = one
    for (model, rows, prompt), sides in by_case.items():
        ours = sides.get("ours", {})
        share = _share(ours.get("bytes"), ours.get("token"), limits and limits["bandwidth"])
        peers = [_milliseconds(sides.get(name, {})) for name in SAMPLERS[1:]]
        table.add_row(model, str(rows), str(prompt), _milliseconds(ours), share, *peers, _equal(sides))
    return table


def _milliseconds(one: dict[str, Any]) -> str:
    return f"{one['token'] * 1e3:.2f}" if "token" in one else str(one.get("error", "-"))


def _share(done: float | None, seconds: float | None, best: float | None) -> str:
    found = _ratio(done, seconds, best)
    return "-" if found is None else f"{found:.0%}"


def _equal(sides: dict[str, dict[str, Any]]) -> str:
    """The share of the first tokens that peers draw as we do; ties in 16 bits part them."""
    ours = sides.get("ours", {}).get("output")
    pairs = [
        (mine, theirs)
        for name, one in sides.items()
        if ours and name != "ours"
        for mine, theirs in zip(chain(*ours), chain(*one.get("output", [])), strict=False)
    ]
    return f"{sum(mine == theirs for mine, theirs in pairs) / len(pairs):.0%}" if pairs else "-"


def _others(found: list[dict[str, Any]], limits: dict[str, Any] | None) -> Table:
    table = Table(title="update and step: seconds", title_justify="left")
    for column in ("work", "model", "rows", "prompt", "seconds", "of the products' limit"):
        table.add_column(column, justify="right" if column in ("rows", "prompt", "seconds") else "left")
    for one in found:
        if one["side"] in ("update", "unshared update", "step", "TRL's step"):
            seconds = f"{one['seconds']:.3f}" if "seconds" in one else str(one["error"])
            share = _share(one.get("flops"), one.get("seconds"), limits and limits["flops"])
            table.add_row(one["side"], one["model"], str(one["rows"]), str(one["prompt"]), seconds, share)
    return table


def _launches(found: list[dict[str, Any]]) -> Table:
    table = Table(title="a decoding pass, and an update", title_justify="left")
    counts = ("kernels", "launches", "copies", "waits", "operations")
    for column in ("of", "model", "rows", *counts):
        table.add_column(column, justify="left" if column in ("of", "model") else "right")
    for one in found:
        if one["side"] in ("launches", "update launches"):
            values = [f"{one[name]:.1f}" if name in one else str(one.get("error", "-")) for name in counts]
            table.add_row("pass" if one["side"] == "launches" else "update", one["model"], str(one["rows"]), *values)
    return table


def _targets(found: list[dict[str, Any]], limits: dict[str, Any] | None) -> Table:
    """What is wanted of an H100 or H200 in bfloat16, and whether it is there."""
    small, large = MODELS
    first = {(one["side"], one["model"]): one for one in reversed(found) if "error" not in one}
    token = first.get(("ours", small), {}).get("token")
    read = first.get(("ours", large), {})
    steps = [first.get((side, small), {}).get("seconds") for side in ("TRL's step", "step")]
    wanted: list[tuple[str, str, float | None, Callable[[float], bool]]] = [
        (f"{small}: ms a token", "at most 3", token and 1e3 * token, lambda value: value <= 3.0),
        (
            f"{large}: of the bandwidth in decoding",
            "0.60",
            _ratio(read.get("bytes"), read.get("token"), limits and limits["bandwidth"]),
            lambda value: value >= 0.6,
        ),
        *(
            (
                f"{model}: of the products' limit in the update",
                "0.40",
                _ratio(*(first.get(("update", model), {}).get(name) for name in ("flops", "seconds")),
                       limits and limits["flops"]),
                lambda value: value >= 0.4,
            )
            for model in MODELS
        ),
        (f"{small}: a step of TRL's by ours", "5", _ratio(*steps, 1.0), lambda value: value >= 5.0),
    ]  # fmt: skip
    table = Table(title=f"wanted on an H100 or H200, {ROWS[0]} rows behind {PROMPTS[0]:,} tokens", title_justify="left")
    for column in ("what", "wanted", "found", "is there"):
        table.add_column(column, justify="left" if column in ("what", "is there") else "right")
    if first:
        for what, least, value, is_met in wanted:
            shown, met = ("not measured", "-") if value is None else (f"{value:.2f}", "yes" if is_met(value) else "no")
            table.add_row(what, least, shown, met)
    return table


def _ratio(done: float | None, by: float | None, best: float | None) -> float | None:
    return done / by / best if done and by and best else None


def versions() -> dict[str, str]:
    """Of the packages that matter here, where they are installed, and of the driver."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("torch", "triton", "transformers", "trl", "vllm", "flashinfer-python", "mentor-kit"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        found["driver"] = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        found["driver"] = "unknown"
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, write the file; returns the exit code: 1 where ours was not measured at all."""
    options = _options(arguments)
    end = time.monotonic() + 60 * options.minutes
    device, dtype = ("cpu", "float32") if options.pretend else ("cuda", "bfloat16")
    works = plan((8, 16), (24,), 3, 6) if options.pretend else plan(ROWS, PROMPTS, 16, 64)
    found: list[dict[str, Any]] = []
    report: dict[str, Any] = {"pretended": options.pretend, "versions": versions(), "found": found}
    with tempfile.TemporaryDirectory() as scratch:
        folders: dict[str, Path] = {}
        for work in works:
            if work.model not in folders:
                config = MODELS[work.model](**(TINY if options.pretend else {}))
                folders[work.model] = write_random(Path(scratch) / work.model, config, device, dtype)
            left = end - time.monotonic()
            found += measure(work, folders[work.model], device, dtype, max(left * work.share, 1.0))
            # after each, so that a run that is stopped leaves what it has
            write_text(options.output, json.dumps(report, indent=1) + "\n")
    console = Console(width=150)
    for table in tables(found):
        console.print(table)
    if options.json:
        print(json.dumps([{name: value for name, value in one.items() if name != "output"} for one in found]))
    return ExitCode.DONE if any("token" in one for one in found if one["side"] == "ours") else ExitCode.FAILED


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/cuda/speed.json"), help="the file of JSON")
    parser.add_argument("--minutes", type=float, default=5.0, help="the time after which no more is measured")
    parser.add_argument("--json", action="store_true", help="print, as the last line, what was found as JSON")
    parser.add_argument("--pretend", action="store_true", help="on a CPU, with small shapes")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
