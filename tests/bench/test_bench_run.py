"""The whole command, on a recipe with two stages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mentor_kit import api
from mentor_kit.cli import app as cli
from mentor_kit.core.errors import UsageError
from mentor_kit.recipe.settings import parse_settings

SMALL = [
    *("student.model=tiny-blank", "backend.threads=1", "rollout.max_turn_tokens=6", "rollout.max_turns=2"),
    *("train.0.problems=2", "train.0.group=3", "train.0.steps=50", "evaluate.every=25"),
]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's limits are measured for a moment: how exactly is not the point."""
    monkeypatch.setattr("mentor_kit_torch.flops_counter.MEASURED_SECONDS", 0.02)


def test_where_a_step_goes() -> None:
    found = api.bench("quickstart", overrides=parse_settings(SMALL), steps=2)
    (stage,) = found.stages
    assert (stage.key, stage.measured, stage.steps, stage.episodes) == ("0-grpo", 2, 50, 6)
    assert sum(stage.split.values()) == pytest.approx(stage.seconds, rel=1e-6)
    assert min(stage.split[part] for part in ("prefill", "decode", "update", "teacher", "idle")) > 0
    # every sampled token of every episode is trained on; none has more than two turns of six
    assert 6 <= stage.sampled == stage.trained <= 6 * 12
    assert found.limits is not None
    assert all(0 < share < 2 for share in stage.limit.values())
    assert found.evaluations == 3 * 500
    assert found.total > stage.total
    assert found.peak_memory is not None


@pytest.mark.parametrize("key", ["teacher", "train.0.teacher"])
def test_a_teacher_that_is_distilled_from_has_its_share(key: str) -> None:
    distils = [f"{key}={{use: local, with: {{model: tiny-student}}}}", "train.0.objective={preset: opd}"]
    (stage,) = api.bench("quickstart", overrides=parse_settings([*SMALL, *distils]), steps=1).stages
    assert stage.split["teacher"] > 0
    assert sum(stage.split.values()) == pytest.approx(stage.seconds, rel=1e-6)


def test_for_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [part for setting in SMALL for part in ("--set", setting)]
    assert cli.run_app(["bench", "quickstart", *settings, "--steps", "1", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["stages"][0]["measured"] == 1
    assert data["total_seconds"] > 0
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_measure(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run_app(["bench", "quickstart", "--set", "train=[]"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    with pytest.raises(UsageError, match="`steps`"):
        api.bench("quickstart", steps=0)
