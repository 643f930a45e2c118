"""The evaluation, in a run of its own with the tiny student."""

from __future__ import annotations

import pytest
from mentor_kit import api
from mentor_kit.core.errors import UsageError


def test_the_student_is_asked_without_tools(tmp_path):
    on = [{"split": "in-domain", "problems": 4}, {"use": "weather", "with": {"problems": 4}}]
    run = api.run("quickstart", overrides={"train": ["evaluate"], "evaluate.on": on}, output=tmp_path)
    reports = {event.values["split"]: event.values for event in run.events if event.kind == "evaluation"}
    assert set(reports) == {"in-domain", "in-domain-without-tools"}
    assert reports["in-domain-without-tools"]["problems"] == 4
    episodes = run.evaluated("0-evaluate-000000-in-domain-without-tools")
    assert all(not item.trajectory.executed for item in episodes)


def test_a_split_that_the_task_does_not_have_is_refused(tmp_path):
    on = [{"use": "weather", "with": {"split": "nowhere"}}]
    with pytest.raises(UsageError, match="'nowhere'"):
        api.run("quickstart", overrides={"train": ["evaluate"], "evaluate.on": on}, output=tmp_path)
