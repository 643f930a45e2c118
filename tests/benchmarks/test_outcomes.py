"""The files of raw outcomes: their schema, what a run's rows become, and what replaces what."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
outcomes = pytest.importorskip("outcomes", reason="the benchmarks are not there")
evaluated_run = pytest.importorskip("evaluated_runs").evaluated_run


def test_a_runs_last_evaluation_is_kept_by_episode_and_all_of_them_as_counts(tmp_path: Path) -> None:
    study = outcomes.Study("small", tmp_path)
    assert study.episodes == study.curves == []
    study.add([(evaluated_run(tmp_path, "small-mentor", 3, ["0000", "1101"]), "mentor", 3)])
    assert [row["correct"] for row in study.episodes if row["decoding"] == "greedy"] == [True, True, False, True]
    assert study.episodes[0] == {
        "arm": "mentor", "seed": 3, "step": 10, "split": "out-of-domain", "problem": "p0", "decoding": "greedy",
        "sample": 0, "correct": True, "calls": 3, "wrong": 2, "recovered": 1, "tools": "add sqrt",
        "teacher_tools": "add", "reward": 0.5, "start": None,
    }  # fmt: skip
    greedy = [row for row in study.curves if row["decoding"] == "greedy"]
    assert [(row["step"], row["right"], row["episodes"]) for row in greedy] == [(0, 0, 4), (10, 3, 4)]


def test_a_run_replaces_an_earlier_one_of_its_arm_seed_and_split_alone(tmp_path: Path) -> None:
    study = outcomes.Study("small", tmp_path)
    first = [(arm, seed) for arm in ("mentor", "sparse") for seed in (0, 1)]
    study.add([(evaluated_run(tmp_path, f"a-{arm}", seed, ["11"]), arm, seed) for arm, seed in first])
    study.add([(evaluated_run(tmp_path, "a-mentor", 0, ["11"], "in-domain"), "mentor", 0)])
    study.add([(evaluated_run(tmp_path / "again", "a-mentor", 0, ["001"]), "mentor", 0)])
    right: dict[tuple[str, int, str], list[bool]] = {}
    for row in study.episodes:
        if row["decoding"] == "greedy":
            right.setdefault((row["arm"], row["seed"], row["split"]), []).append(row["correct"])
    others = {(arm, seed, "out-of-domain"): [True, True] for arm, seed in first}
    assert right == others | {
        ("mentor", 0, "out-of-domain"): [False, False, True],
        ("mentor", 0, "in-domain"): [True, True],
    }


def test_files_that_are_kept_have_the_schema_and_are_small() -> None:
    import pyarrow.parquet as pq

    kept = sorted(outcomes.FOLDER.glob("*.parquet"))
    for file in kept:
        study, dash, kind = file.stem.partition("-")
        assert study in ("quickstart", "smollm2", "neutral", "causes", "records")
        assert pq.read_schema(file).remove_metadata() == outcomes.SCHEMAS[dash + kind], file.name
        assert file.stat().st_size < 1_000_000
