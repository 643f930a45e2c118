"""The made-up large run of benchmarks/page.py is one that the package reads, and its page keeps to its limits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mentor_kit.runs import Run

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
page = pytest.importorskip("page", reason="the benchmarks are not there")


def test_the_made_up_run_is_a_run(tmp_path: Path) -> None:
    run = Run(page.made(tmp_path, 2, 16, 30))
    rollouts = list(run.rollouts())
    assert len(rollouts) == 2 * 16
    assert {len(scored.trajectory.tokens.ids) for scored in rollouts if scored.trajectory.tokens} == {30}
    assert len(run.demonstrations()) == 2 * 2 + page.EVALUATED
    assert len(run.evaluated(run.evaluations[0]["name"])) == page.EVALUATED
    assert page.made(tmp_path, 2, 16, 30) == run.path


@pytest.mark.slow
def test_a_large_runs_page_keeps_to_its_size_and_to_little_memory(tmp_path: Path) -> None:
    # 240 MB, of which a page holds a part: memory must not grow with the run
    run = page.made(tmp_path, 50, 256, 500)
    _, memory, size, rollouts = page.measured(run, tmp_path, "all", 5.0)
    assert size <= 5
    assert 0 < rollouts < 50 * 256
    assert memory < 500
    _, memory, size, rollouts = page.measured(run, tmp_path, "worst=20", 5.0)
    assert rollouts == 20 * page.GROUP
    assert memory < 500
