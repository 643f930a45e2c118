"""How `mentorkit run` ends: the page that a recipe asks for, and what to type next."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mentor_kit.report.page
from mentor_kit import api
from mentor_kit.cli import app as cli
from mentor_kit.report.next_steps import next_steps, next_steps_text
from mentor_kit.runs import Run

sys.path.append(str(Path(__file__).parents[1] / "report" / "page"))
from page_helpers import ReadPage, write_page_run

#: A run that needs no student: the teacher demonstrates two problems.
COLLECTS = ("run", "quickstart", "--set", "train=[{use: collect, with: {problems: 2}}]")
#: The commands after a run that trains.
COMMANDS = ["report", "chat", "rescore"]
Call = Callable[..., tuple[int, str, str]]


def the_run() -> Path:
    (found,) = Path("runs").glob("*/*")
    return found


def commands(text: str) -> list[list[str]]:
    """The commands that are listed, each as its words, without what is said about them."""
    _, _, listed = text.partition("\nnext:\n")
    return [shlex.split(re.split(r"\s{2,}", line.strip())[0]) for line in listed.splitlines() if "mentorkit" in line]


def test_the_quickstart_ends_with_its_page(mentorkit: Call) -> None:
    code, said, errors = mentorkit(*COLLECTS)
    assert (code, errors) == (0, "")
    page = the_run() / "report.html"
    assert f"report: {page}\n" in said
    (run,) = ReadPage(page).index["runs"]
    assert (run["id"], run["outcome"]) == (the_run().name, "done")


def test_a_result_for_programs_has_the_page_and_no_commands(mentorkit: Call) -> None:
    _, said, _ = mentorkit(*COLLECTS, "--json")
    assert json.loads(said.splitlines()[-1])["report"] == str(the_run() / "report.html")
    assert "next:" not in said


def test_without_a_page_the_command_that_writes_it_is_listed(mentorkit: Call) -> None:
    _, said, _ = mentorkit(*COLLECTS, "--set", "report=false")
    assert not (the_run() / "report.html").exists()
    (command,) = commands(said)
    assert command == ["mentorkit", "report", str(the_run())]
    assert mentorkit(*command[1:])[0] == 0


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_page_that_fails_does_not_fail_the_run(
    mentorkit: Call, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(mentor_kit.report.page, "write_page", fail)
    code, said, _ = mentorkit(*COLLECTS)
    assert code == 0
    assert "report: " not in said
    assert [command[1] for command in commands(said)] == ["report"]
    (warning,) = caplog.records
    assert str(the_run()) in warning.getMessage()
    assert Run.open(the_run()).outcome == "done"


def test_an_old_page_does_not_outlive_a_failure(mentorkit: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    mentorkit(*COLLECTS)

    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(mentor_kit.report.page, "write_page", fail)
    run = the_run()
    assert mentorkit("run", "--resume", str(run))[0] == 0
    assert not (run / "report.html").exists()


def test_runs_of_one_stage_make_no_page(mentorkit: Call) -> None:
    assert mentorkit("collect", "quickstart", "--problems", "1")[0] == 0
    assert not (the_run() / "report.html").exists()


def test_a_page_can_be_asked_for_when_a_run_is_resumed(mentorkit: Call) -> None:
    mentorkit(*COLLECTS, "--set", "report=false")
    done = api.resume(the_run(), overrides={"report": True})
    assert done.folder.report.is_file()


def trained(root: Path) -> Run:
    """A run of a recipe with a reward, with rollouts and a checkpoint."""
    folder = write_page_run(root)
    (folder / "recipe.yaml").write_text("name: small\nreward: {use: mentor}\n")
    checkpoint = folder / "checkpoints" / "0-grpo-step-000004"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.json").write_text("{}")
    return Run.open(folder)


def test_a_trained_run_has_commands_that_there_are(tmp_path: Path) -> None:
    import typer.main

    group: Any = typer.main.get_command(cli.app)
    run = trained(tmp_path / "my runs")
    listed = [shlex.split(step.command) for step in next_steps(run)]
    assert [words[1] for words in listed] == COMMANDS
    for words in listed:
        assert words == ["mentorkit", words[1], str(run.path)]
        assert words[1] in group.commands


def test_with_its_page_a_trained_run_needs_no_other(tmp_path: Path) -> None:
    run = trained(tmp_path)
    run.folder.report.touch()
    assert [shlex.split(step.command)[1] for step in next_steps(run)] == COMMANDS[1:]


@pytest.mark.parametrize("columns", [30, 60, 80, 120])
def test_a_command_stays_in_one_line(tmp_path: Path, columns: int) -> None:
    steps = next_steps(trained(tmp_path))
    lines = next_steps_text(steps, columns).splitlines()
    room = max(columns, *(len(step.command) + 2 for step in steps))
    for step in steps:
        assert [step.command in line for line in lines].count(True) == 1
        assert any(line.rstrip().endswith(step.purpose) for line in lines)
    assert all(len(line) <= room for line in lines)
