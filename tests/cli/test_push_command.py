"""`mentorkit push` and `mentorkit export` as a person and a program use them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "api"))
from hub_stand_in import WRITE, hub_stand_in


@pytest.fixture
def mentorkit(mentorkit: Any, tmp_path: Path) -> Any:
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "config.json").write_text("{}")
    (tmp_path / "student" / "README.md").write_text("---\nlicense: mit\n---\n# mine\n")
    return mentorkit


def test_a_dry_run_shows_files_sizes_and_the_card(mentorkit: Any) -> None:
    code, said, _ = mentorkit("push", "student", "me/mine", "--dry-run")
    assert code == 0
    assert said.splitlines()[:2] == ["  README.md    28 B", "  config.json  2 B"]
    assert "me/mine: 2 files, 30 B" in said
    assert said.endswith("# mine\n\n")
    found = json.loads(mentorkit("push", "student", "me/mine", "--dry-run", "--json")[1])
    assert (found["dry_run"], found["commit"], found["bytes"]) == (True, None, 30)


def test_a_push(mentorkit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_stand_in() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", WRITE)
        code, said, _ = mentorkit("push", "student", "me/mine", "--private")
        assert code == 0
        assert f"pushed: {hub.url}/me/mine (2 files, 30 B, commit {hub.repositories['me/mine'].commits[0][:7]})" in said
        assert hub.repositories["me/mine"].private
        code, _, errors = mentorkit("push", "student", "me/mine")
        assert code == 2
        assert "--update" in errors
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
        code, said, errors = mentorkit("push", "student", "me/mine", "--json")
        assert code == 1
        assert json.loads(said)["kind"] == "error"
        assert "hf_wrong" not in said + errors


@pytest.mark.parametrize(
    "arguments",
    [
        ("student", "mine", "--dry-run"),
        ("nothing", "me/mine", "--dry-run"),
        ("student", "me/mine", "--dry-run", "--license", "mit"),
        ("student", "me/mine", "--dry-run", "--benchmark", "test"),
    ],
)
def test_what_is_wrong_on_the_command_line(mentorkit: Any, arguments: tuple[str, ...]) -> None:
    code, said, errors = mentorkit("push", *arguments)
    assert (code, said) == (2, "")
    assert errors.startswith("error: ")
