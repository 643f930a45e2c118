"""Raw outcomes of evaluations in small parquet files, from which benchmarks/evidence.py computes its tables.

    runs ──last evaluations──> STUDY.parquet          a row an episode
         ──all evaluations───> STUDY-curves.parquet   a row an arm, seed, step, split and way of decoding
         ──steps of GRPO─────> STUDY-training.parquet a row an arm, seed and step

Files are merged: the rows of a run replace those of an earlier run of the same arm, seed and split. All columns are
typed here, so that files of different studies fit together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mentor_kit.report.arms import placed_reports, placed_steps, plan_of
from mentor_kit.runs import Run

#: Where the outcomes are kept that the docs' tables are made from.
FOLDER = Path(__file__).parent / "outcomes"

EPISODES = pa.schema(
    [
        ("arm", pa.string()),
        ("seed", pa.int16()),
        ("step", pa.int32()),  # training steps before the evaluation
        ("split", pa.string()),
        ("problem", pa.string()),
        ("decoding", pa.string()),  # greedy or sampled
        ("sample", pa.int16()),
        ("correct", pa.bool_()),
        ("calls", pa.int16()),  # of any kind
        ("wrong", pa.int16()),  # malformed, of unknown tools, with invalid arguments, failed
        ("recovered", pa.int16()),  # wrong calls after which a later turn has an executed one
        ("tools", pa.string()),  # names of the executed calls, in order, with blanks between
        ("teacher_tools", pa.string()),  # of the teacher's right solution; null where there is none
        ("reward", pa.float32()),  # null where the reward does not score the problem
        ("start", pa.string()),  # the arm whose student it began with; null for the study's own
    ]
)
CURVES = pa.schema(
    [
        ("arm", pa.string()),
        ("seed", pa.int16()),
        ("step", pa.int32()),
        ("split", pa.string()),
        ("decoding", pa.string()),
        ("right", pa.int32()),
        ("episodes", pa.int32()),
    ]
)
TRAINING = pa.schema(
    [
        ("arm", pa.string()),
        ("seed", pa.int16()),
        ("step", pa.int32()),
        ("accuracy", pa.float32()),  # the share of the step's rollouts that were right
        ("reward", pa.float32()),  # their mean, of the arm's own reward
        ("zero_variance_groups", pa.float32()),  # the share of groups from which nothing is learned
    ]
)
SCHEMAS = {"": EPISODES, "-curves": CURVES, "-training": TRAINING}

_WRONG = ("malformed", "unknown_tool", "invalid_arguments", "failed")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """The outcomes of one study, such as the miniature's neutral world."""

    name: str
    folder: Path = FOLDER

    @property
    def episodes(self) -> list[dict[str, Any]]:
        """A row for every episode of the last evaluations; none where nothing was run yet."""
        return self._read("")

    @property
    def curves(self) -> list[dict[str, Any]]:
        """A row for every evaluation of every step."""
        return self._read("-curves")

    @property
    def training(self) -> list[dict[str, Any]]:
        """A row for every step of GRPO."""
        return self._read("-training")

    def add(self, runs: Sequence[tuple[Run, str, int]]) -> None:
        """Merge the evaluations and steps of finished runs, each with its arm and seed."""
        rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in SCHEMAS}
        for run, arm, seed in runs:
            reports = placed_reports(run)
            last = {plan_of(report): report for report in reports}
            rows[""] += [row for report in last.values() for row in episode_rows(run, report, arm, seed)]
            rows["-curves"] += [row for report in reports for row in curve_rows(run, report, arm, seed)]
            rows["-training"] += training_rows(run, arm, seed)
        for kind, found in rows.items():
            self._merge(kind, found)

    def has(self, run: Run, arm: str, seed: int) -> bool:
        """Whether all evaluations of an arm and seed's run are in the files."""
        known = {_key(row) for row in self.curves}
        return all((arm, seed, plan_of(report)) in known for report in placed_reports(run))

    def _read(self, kind: str) -> list[dict[str, Any]]:
        file = self._file(kind)
        found: list[dict[str, Any]] = pq.read_table(file).to_pylist() if file.is_file() else []
        return found

    def _file(self, kind: str) -> Path:
        return self.folder / f"{self.name}{kind}.parquet"

    def _merge(self, kind: str, rows: Sequence[Row]) -> None:
        if not rows:
            return
        replaced = {_key(row) for row in rows}
        kept = [row for row in self._read(kind) if _key(row) not in replaced]
        schema, file = SCHEMAS[kind], self._file(kind)
        ordered = sorted([*kept, *rows], key=lambda row: [row[name] for name in _order(schema)])
        table = pa.Table.from_pylist(ordered, schema=schema)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".new-{file.name}")
        pq.write_table(table, temporary, compression="zstd", compression_level=19)
        temporary.replace(file)


def episode_rows(run: Run, report: Row, arm: str, seed: int) -> Iterator[dict[str, Any]]:
    """The rows of an evaluation's episodes."""
    for row in run.outcomes(str(report["name"])):
        yield {
            "arm": arm,
            "seed": seed,
            "step": int(report["at"]),
            "split": plan_of(report),
            **{
                name: row[name] for name in ("problem", "decoding", "sample", "correct", "calls", "recovered", "reward")
            },
            "wrong": sum(int(row[state]) for state in _WRONG),
            "tools": " ".join(row["tools"]),
            "teacher_tools": None if row["teacher_tools"] is None else " ".join(row["teacher_tools"]),
        }


def curve_rows(run: Run, report: Row, arm: str, seed: int) -> Iterator[dict[str, Any]]:
    """How many episodes of an evaluation were right, by the way of decoding."""
    rows = run.outcomes(str(report["name"]))
    episodes, right = (
        Counter(row["decoding"] for row in rows),
        Counter(row["decoding"] for row in rows if row["correct"]),
    )
    for decoding, count in episodes.items():
        where = {"arm": arm, "seed": seed, "step": int(report["at"]), "split": plan_of(report), "decoding": decoding}
        yield {**where, "right": right[decoding], "episodes": count}


def training_rows(run: Run, arm: str, seed: int) -> Iterator[dict[str, Any]]:
    """The metrics of a run's steps that sample rollouts."""
    for step in placed_steps(run):
        if "zero_variance_groups" in step:
            named = {name: step.get(name) for name in ("accuracy", "reward", "zero_variance_groups")}
            yield {"arm": arm, "seed": seed, "step": int(step["at"]), **named}


def _key(row: Row) -> tuple[Any, ...]:
    return row["arm"], row["seed"], row.get("split")


def _order(schema: pa.Schema) -> Iterable[str]:
    """The columns that tell rows apart: alike rows stand together, which makes the file small."""
    return [name for name in ("split", "arm", "decoding", "problem", "seed", "step", "sample") if name in schema.names]
