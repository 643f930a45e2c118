"""What a student's card says beside what is known from its run."""

from __future__ import annotations

from pathlib import Path

import pytest

from mentor_kit import api
from mentor_kit.api.student_cards import CardOptions
from mentor_kit.core.errors import UsageError


@pytest.mark.parametrize("name", ["mit", "apache-2.0", "cc-by-nc-sa-4.0", "llama3.2", "lgpl-lr", "other"])
def test_identifiers_of_the_hub_are_taken(name: str) -> None:
    assert CardOptions(license=name).license == name


@pytest.mark.parametrize("name", ["", "MIT", "Apache 2.0", "apache-2.0\n", "a: b", "apache-"])
def test_what_is_no_identifier_of_a_licence_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="license"):
        CardOptions(license=name)


@pytest.mark.slow
def test_a_student_of_two_domains_that_imitated(tmp_path: Path) -> None:
    stage = {
        "use": "sft",
        "with": {"steps": 1, "batch": 2, "split": "train", "optimizer": {"use": "adamw", "lr": 1e-6}},
    }
    changes = {"student.model": "tiny-student", "train": [stage], "evaluate": {"on": []}}
    run = api.run("students/tiny", overrides=changes, output=tmp_path)
    card = (run.path / "student" / "README.md").read_text(encoding="utf-8")
    (tools,) = [line for line in card.splitlines() if line.startswith("| tools |")]
    assert "`sqrt`" in tools
    assert "`join_rows`" in tools
    assert "## Reward" not in card  # nothing was learned from it


@pytest.mark.slow
def test_a_student_that_learned_from_a_reward(tmp_path: Path) -> None:
    few = {"train.0.steps": 1, "train.0.problems": 2, "train.0.group": 2, "train.0.minibatches": 1}
    run = api.run("quickstart", overrides={**few, "evaluate": {"on": []}, "report": False}, output=tmp_path)
    card = (run.path / "student" / "README.md").read_text(encoding="utf-8")
    assert "## Reward" in card
    assert "`join_rows`" not in card
