"""What a run shows: lines worked out by hand."""

from __future__ import annotations

import json
import re

import pytest

from mentor_kit.cli import display as module
from mentor_kit.cli.display import LiveDisplay, PlainDisplay, RemainingTime, display, show
from mentor_kit.core.event import DIAGNOSIS, Event
from mentor_kit.report.tables import Sheet


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the display sees, in seconds; tests set its only entry."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def step(number: int, **values: object) -> Event:
    return Event("step", "now", "0-grpo", number, {"steps": 30, **values})


def test_time_left_is_that_of_the_last_steps(clock: list[float]) -> None:
    seen = RemainingTime()
    assert seen.left("a", 1, 31) == "?"
    clock[0] += 10
    assert seen.left("a", 2, 31) == "4:50"  # 29 steps of 10 s
    clock[0] += 2
    assert seen.left("a", 3, 31) == "2:48"  # 28 steps of (10 + 2) / 2 s
    assert seen.left("b", 1, 3) == "?"
    clock[0] += 3600
    assert seen.left("b", 2, 3) == "1:00:00"


def test_time_left_forgets_slow_beginnings(clock: list[float]) -> None:
    seen = RemainingTime()
    seen.left("a", 1, 1000)
    clock[0] += 5000
    for number in range(2, 41):
        left = seen.left("a", number, 1000)
        clock[0] += 1
    assert left == "16:00"  # 960 steps of 1 s


def test_a_step_in_a_line(clock: list[float]) -> None:
    shown = PlainDisplay()
    line = shown.line(step(3, reward=0.51234, accuracy=0.25, similarity=0.667, loss=1.0, tokens_per_second=4812.3))
    assert line == "0-grpo step 3/30  reward 0.512  right 0.25  similarity 0.67  4,812 tok/s  ? left"
    clock[0] += 2
    assert shown.line(step(4, loss=1.5)) == "0-grpo step 4/30  loss 1.500  0:52 left"


def test_an_evaluation_in_a_line() -> None:
    values = {
        "split": "in-domain",
        "greedy": {"accuracy": 0.925, "low": 0.85, "high": 0.97},
        "sampled": {"accuracy": 0.5, "low": 0.4, "high": 0.6},
        "similarity": 0.9,
    }
    line = PlainDisplay().line(Event("evaluation", "now", "0-grpo", 10, values))
    assert line == (
        "0-grpo evaluation at step 10, in-domain: greedy 92.5 % [85, 97], sampled 50.0 % [40, 60], similarity 0.90"
    )


def test_what_nobody_needs_to_see_is_not_shown() -> None:
    shown = PlainDisplay()
    assert shown.line(Event("checkpoint", "now", "0-grpo", 10)) == ""
    assert shown.line(Event("unheard-of", "now")) == ""
    assert shown.line(Event("note", "now", values={"text": "top_p < 1"})) == "note: top_p < 1"


def test_on_a_terminal_steps_are_a_bar_and_the_rest_is_above_it(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveDisplay() as live:
        live.event(step(30, reward=0.5))
        live.progress("0-grpo", 30, 30, {"steps": 30, "reward": 0.5})
        live.progress("1-collect", 64, 100, {"kept": 60})
        live.event(Event("note", "now", values={"text": "[odd] markup stays"}))
    said = capsys.readouterr().out
    assert "note: [odd] markup stays" in said
    assert "30/30" in said
    assert "reward 0.500" in said
    assert "64/100" in said


def test_stages_without_steps_show_how_far_they_are(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    shown = PlainDisplay()
    shown.progress("0-collect", 64, 200, {"kept": 60})
    clock[0] += 10
    shown.progress("0-collect", 128, 200, {"kept": 120})
    shown.progress("1-grpo", 3, 30, {"steps": 30})
    # 64 problems took 10 s, so that 72 take 11.25 s
    shown.progress("0-collect", 200, 200, {"kept": 190})
    assert capsys.readouterr().out == "0-collect 64/200  ? left\n0-collect 128/200  0:11 left\n0-collect 200/200\n"


def test_episodes_are_told_of_now_and_then(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    shown = PlainDisplay()
    for done in range(1, 26):
        shown.progress("0-evaluate", done, 40, {"episodes": done})
        clock[0] += 1
    # the 1st at 100 s; the 11th and the 21st 10 and 20 s later, an episode a second
    assert capsys.readouterr().out == "0-evaluate 11/40  0:29 left\n0-evaluate 21/40  0:19 left\n"
    clock[0] += 10
    shown.progress("0-evaluate", 1, 40, {"episodes": 1})
    assert capsys.readouterr().out == "0-evaluate 1/40  ? left\n"


def test_an_evaluation_says_that_it_begins_and_then_how_far_it_is(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = PlainDisplay()
    for _ in range(2):
        for done in range(13):
            shown.progress("1-grpo", done, 12, {"episodes": done})
            clock[0] += 1
    said = capsys.readouterr().out.splitlines()
    assert said == 2 * ["1-grpo evaluation 0/12", "1-grpo evaluation 10/12  0:02 left"]


def test_programs_are_told_of_evaluations_as_well(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with display(as_json=True, plain=False) as shown:
        for done in range(13):
            shown.progress("1-grpo", done, 12, {"episodes": done})
            shown.progress("1-grpo", done, 12, {"steps": 12})
            clock[0] += 1
        shown.progress("0-collect", 64, 200, {"kept": 60})
        shown.event(step(1))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["kind"], line["stage"]) for line in lines] == [
        ("progress", "1-grpo"), ("progress", "1-grpo"), ("progress", "0-collect"), ("step", "0-grpo"),
    ]  # fmt: skip
    assert [line["values"] for line in lines[:3]] == [
        {"done": 0, "total": 12, "episodes": 0},
        {"done": 10, "total": 12, "episodes": 10},
        {"done": 64, "total": 200, "kept": 60},
    ]


@pytest.mark.parametrize("done", [1, 30])
def test_a_run_of_one_step_and_a_last_step_have_no_time_left(clock: list[float], done: int) -> None:
    shown = PlainDisplay()
    shown.line(step(done - 1, loss=1.0))
    clock[0] += 2
    line = shown.line(Event("step", "now", "0-grpo", done, {"steps": done, "loss": 1.5}))
    assert line == f"0-grpo step {done}/{done}  loss 1.500"


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_the_live_line_keeps_stage_step_total_and_time(
    columns: int, clock: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with LiveDisplay() as live:
        for number in (1, 2):
            values = {"steps": 1000, "reward": 0.512, "accuracy": 0.25, "similarity": 0.67, "tokens_per_second": 4812.3}
            live.progress("1-grpo", number, 1000, values)
            clock[0] += 2
    line = next(line for line in capsys.readouterr().out.splitlines() if "1-grpo" in line)
    assert len(line) <= columns
    for word in ("1-grpo", "2/1000", "33:16 left", "reward"[: columns - 35]):
        assert word in line


@pytest.mark.parametrize("width", [60, 80])
def test_tables_fit_the_columns_there_are(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = ("split", "similarity", "95 % interval", "calls", "malformed, %", "unknown, %", "failed, %", "turns")
    rows = tuple((f"split-{n}", "0.68", "0.56 to 0.76", "2.18", "0.0", "0.0", "0.0", "3.18") for n in range(8))
    monkeypatch.setenv("COLUMNS", str(width))
    for terminal in (False, True):
        monkeypatch.setattr("sys.stdout.isatty", lambda terminal=terminal: terminal)
        show([Sheet("Use of tools", heads, rows)], plain=False)
        said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
        assert max(map(len, said.splitlines())) <= width
        for word in (*heads, "split-7", "0.56 to 0.76"):
            assert word in said


def diagnosis() -> Event:
    values = {"name": "no-calls", "text": "the student calls no tools", "advice": "raise `a.b`", "settings": ["a.b"]}
    return Event(DIAGNOSIS, "now", "0-grpo", 3, values)


def test_a_diagnosis_has_its_advice_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = PlainDisplay().line(diagnosis()).splitlines()
    assert lines == ["warning: 0-grpo step 3: the student calls no tools", "  what helps: raise `a.b`"]
    monkeypatch.setenv("COLUMNS", "30")
    assert max(map(len, PlainDisplay().line(diagnosis()).splitlines())) <= 30


@pytest.mark.parametrize("form", ["json", "live"])
def test_a_diagnosis_is_shown_in_every_form(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    if form == "json":
        with display(as_json=True, plain=False) as shown:
            shown.event(diagnosis())
        found = json.loads(capsys.readouterr().out)
        assert (found["kind"], found["step"], found["values"]["settings"]) == (DIAGNOSIS, 3, ["a.b"])
    else:
        with LiveDisplay() as live:
            live.event(diagnosis())
        assert "the student calls no tools" in capsys.readouterr().out
