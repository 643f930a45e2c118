"""`mentorkit report` in this process: what it writes, what it says, and the code it ends with."""

import json
import sys
from pathlib import Path

import pytest

from mentor_kit import api
from mentor_kit.core.errors import DataError, UsageError

sys.path.append(str(Path(__file__).parents[1] / "report" / "page"))
from page_helpers import ReadPage, rollout, write_lines, write_page_run


@pytest.fixture
def mentorkit(mentorkit, tmp_path):
    write_page_run(tmp_path / "runs")
    return mentorkit


def test_a_run_by_its_name(mentorkit):
    code, said, errors = mentorkit("report", "small", "-o", "pages/run.html")
    assert (code, errors) == (0, "")
    assert said.startswith("page: pages/run.html (64 rollouts, 48 evaluated episodes, ")
    assert ReadPage(Path("pages/run.html")).index["runs"][0]["name"] == "small"


def test_what_is_left_out_is_said_as_json_too(mentorkit):
    code, said, _ = mentorkit("report", "small", "--rollouts", "every=2", "--json")
    found = json.loads(said)
    assert code == 0
    assert (found["page"], found["rollouts"], found["episodes"]) == ("run.html", 32, 48)
    assert found["bytes"] == Path("run.html").stat().st_size
    assert len(found["notes"]) == 1


def test_a_run_named_twice_is_one(mentorkit):
    assert mentorkit("report", "small", "small")[0] == 0
    assert len(ReadPage(Path("run.html")).index["runs"]) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("small", "--rollouts", "best=3"),
        ("small", "--megabytes", "0"),
        ("small", "-o", "runs"),
        (),
    ],
)
def test_mistakes_end_with_2_and_write_nothing(mentorkit, arguments):
    code, said, errors = mentorkit("report", *arguments)
    assert (code, said) == (2, "")
    assert errors.startswith("error: ")
    assert not Path("run.html").exists()


def test_a_broken_file_ends_with_1_and_leaves_the_old_page(mentorkit):
    assert mentorkit("report", "small")[0] == 0
    before = Path("run.html").read_bytes()
    (file,) = Path("runs").glob("*/*/rollouts/0-grpo/step-000003.jsonl")
    file.write_text("nothing\n")
    code, _, errors = mentorkit("report", "small")
    assert code == DataError("").exit_code
    assert "step-000003.jsonl:1" in errors
    assert Path("run.html").read_bytes() == before


def test_a_file_of_episodes_beside_its_run(mentorkit):
    rows = [rollout("train-1-0", attempt, "said in a chat", 1) for attempt in (0, 2)]
    rows[1]["trajectory"]["agent"] = "scripted"
    write_lines(Path("chat.jsonl"), rows)
    code, said, _ = mentorkit("report", "small", "chat.jsonl", "--rollouts", "none", "--json")
    assert (code, json.loads(said)["rollouts"]) == (0, 2)
    page = ReadPage(Path("run.html"))
    (step,) = page.index["runs"][0]["rollouts"]["steps"]
    assert step["label"] == "chat.jsonl"
    (problem,) = page.chunk(f"rollouts/{step['key']}")["problems"]
    assert [attempt.get("agent") for attempt in problem["attempts"]] == [None, "scripted"]
    assert len(problem["demonstrations"]) == 1
    assert mentorkit("report", "chat.jsonl")[0] == 2


def test_from_python(mentorkit, tmp_path):
    page = api.report("small", tmp_path / "run.html", rollouts="worst=2", output="runs")
    assert page.rollouts == 8
    with pytest.raises(UsageError):
        api.report("small", 3)
    with pytest.raises(UsageError):
        api.report([], tmp_path / "none.html")
