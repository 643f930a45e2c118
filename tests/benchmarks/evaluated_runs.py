"""Run folders with evaluations and the rows of their episodes, written by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mentor_kit.runs import Run

sys.path.append(str(Path(__file__).parents[1] / "report"))
from report_helpers import report, step, write_run

ROW = {
    "group": "", "key": "1", "answer": "1", "ending": "answered", "turns": 2, "calls": 3, "executed": 1,
    "malformed": 1, "unknown_tool": 0, "invalid_arguments": 1, "failed": 0, "recovered": 1, "tools": ["add", "sqrt"],
    "teacher_tools": ["add"], "tokens": 9, "reward": 0.5,
}  # fmt: skip


def evaluated_run(root: Path, name: str, seed: int, marks: Sequence[str], split: str = "out-of-domain") -> Run:
    """A run with an evaluation after each of some steps: a sign a problem, 1 for right greedily, never sampled."""
    reports = [
        report(10 * at, split, sum(map(int, right)) / len(right), 0.0, problems=len(right),
               outcomes={f"p{n}": [float(sign), 0.0] for n, sign in enumerate(right)})
        for at, right in enumerate(marks)
    ]  # fmt: skip
    steps = [step(n, accuracy=n / 20, reward=0.5, zero_variance_groups=0.25) for n in range(1, 10 * len(marks) - 9)]
    run = write_run(root, name, seed, reports, steps)
    for at, right in enumerate(marks):
        rows: list[dict[str, Any]] = [
            ROW
            | {"problem": f"p{n}", "decoding": decoding, "sample": 0, "correct": decoding == "greedy" and sign == "1"}
            for decoding in ("greedy", "sampled")
            for n, sign in enumerate(right)
        ]
        file = run.folder.evaluation / f"0-grpo-{10 * at:06d}-{split}.outcomes.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run
