"""The stage, in a run of its own with the tiny student."""

from __future__ import annotations

import pytest
from mentor_kit import api

STAGE = {"use": "weather", "with": {"problems": 3, "attempts": 2}}


def test_the_shares_of_problems_are_recorded(tmp_path):
    run = api.run("quickstart", overrides={"train": [STAGE], "evaluate": {}}, output=tmp_path)
    (found,) = [event.values for event in run.events if event.kind == "difficulty"]
    assert found["problems"] == 3
    assert found["never"] + found["sometimes"] + found["always"] == pytest.approx(1)


def test_a_dry_run_counts_its_episodes():
    plan = api.plan("quickstart", overrides={"train": [STAGE], "evaluate": {}})
    assert plan.stages[0].episodes == 6
