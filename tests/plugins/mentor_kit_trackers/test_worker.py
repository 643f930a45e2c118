"""A tracker in its process: it gets everything once, and whatever it does costs the run nothing."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from mentor_kit_trackers.options import WandbOptions
from mentor_kit_trackers.tracker import WorkerTracker
from tracked import begin, events, expected, notes, tracked
from tracked_run import DIAGNOSIS, Request, run, tracker

from mentor_kit.core.event import Event
from mentor_kit.core.secret import Secret
from mentor_kit.hooks.tracker import Tracker

#: A diagnosis as trackers show it.
ADVICE = f"{DIAGNOSIS['text']} {DIAGNOSIS['advice']}"


def journal(run: Path) -> list[list[Any]]:
    return [json.loads(line) for line in (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()]


def curves(calls: list[list[Any]]) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for method, *given in calls:
        if method == "point":
            for name, value in given[2].items():
                found.setdefault(name, []).append((given[1], value))
    return found


def follow(folder: Path, writer: str, **options: Any) -> Path:
    """A run of this process with a writer; the run folder."""
    run_folder = begin(folder)
    run(Request(str(run_folder), ""), tracker(f"fake_writers:{writer}", options))
    assert events(run_folder)[-1]["kind"] in ("run_end", "note")
    return run_folder


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_writer_gets_everything_once_and_is_closed_last(tmp_path: Path) -> None:
    folder = follow(tmp_path, "Journal", rollouts={"every": 2, "problems": 1, "episodes": 2})
    calls = journal(folder)
    assert calls[0][:3] == ["open", "quick", "1"]
    assert calls[0][3]["name"] == "quick"
    assert calls[-1] == ["close", "done"]
    assert curves(calls) == expected(folder)
    # rollouts come with their teacher's demonstration, an evaluation's with its event
    assert [call[1:] for call in calls if call[0] == "rollouts"] == [
        ["grpo/evaluation/in-domain", 0, ["p1#0", "p1#1"], ["scripted"] * 2],
        ["grpo", 1, ["p1#0", "p1#1"], ["scripted"] * 2],
        ["grpo", 2, ["p2#0", "p2#1"], ["scripted"] * 2],
        ["grpo/evaluation/in-domain", 2, ["p1#0", "p1#1"], ["scripted"] * 2],
        ["grpo", 4, ["p1#0", "p1#1"], ["scripted"] * 2],
        ["grpo/evaluation/in-domain", 4, ["p1#0", "p1#1"], ["scripted"] * 2],
    ]
    assert [call[1:] for call in calls if call[0] == "message"] == [["equal-rewards", ADVICE, 3, "warning"]]


@pytest.mark.parametrize("kill_after", [1, 3])
def test_a_tracker_that_cannot_forget_gets_no_step_twice(tmp_path: Path, kill_after: int) -> None:
    folder = begin(tmp_path)
    request = Request(str(folder), "fake_writers:Journal", kill_after=kill_after)
    assert tracked(request, tmp_path).returncode == -signal.SIGKILL
    assert tracked(Request(str(folder), "fake_writers:Journal"), tmp_path).returncode == 0
    calls = journal(folder)
    # what the killed process had sent is there before the next one begins
    (second,) = [place for place, call in enumerate(calls) if call[0] == "open" and place]
    assert calls[second - 1] == ["close", "interrupted"]
    found, wanted = curves(calls), expected(folder)
    assert {name: [step for step, _ in points] for name, points in found.items()} == {
        name: [step for step, _ in points] for name, points in wanted.items()
    }
    assert found["grpo/reward"] == wanted["grpo/reward"]
    rollouts = [tuple(call[1:3]) for call in calls if call[0] == "rollouts"]
    assert len(rollouts) == len(set(rollouts)) == 4
    assert [call[1:3] for call in calls if call[0] == "message"] == [["equal-rewards", ADVICE]]


@pytest.mark.slow
def test_a_tracker_that_lost_the_run_gets_all_of_it_again(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    run(Request(str(folder), "", steps=2), tracker("fake_writers:Forgetful", {}))
    before = len(journal(folder))
    run(Request(str(folder), ""), tracker("fake_writers:Forgetful", {}))
    again = journal(folder)[before:]
    assert curves(again) == expected(folder)
    assert [call[1:4] for call in again if call[0] == "rollouts"][1] == ["grpo", 1, ["p1#0", "p1#1"]]


def test_a_tracker_of_a_resumed_run_gets_what_it_lacks(tmp_path: Path) -> None:
    """One that failed, and one that the run did not have before."""
    folder = begin(tmp_path)
    run(Request(str(folder), "", steps=2), tracker("fake_writers:Exits", {}))
    run(Request(str(folder), ""), tracker("fake_writers:Journal", {}))
    found = curves(journal(folder))["grpo/reward"]
    # the writer failed at step 2, so that whether the tracker has it is not known: it is sent again
    assert found == [(1, 0.125), (2, 0.25), (2, 0.25), (3, 0.375), (4, 0.5)]


@pytest.mark.slow
def test_a_long_run_may_take_its_time_to_be_sent_again(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    run(Request(str(folder), "", steps=40))
    # 61 points take the tracker twelve seconds, many times its time to begin
    assert (
        tracked(Request(str(folder), "fake_writers:Slow", {"timeout": 4}, steps=44, seconds=4), tmp_path).returncode
        == 0
    )
    assert not notes(folder)
    assert curves(journal(folder)) == expected(folder)


def test_noise_stays_in_the_trackers_own_file(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    begun = time.monotonic()
    done = tracked(Request(str(folder), "fake_writers:Noisy"), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - begun < 60
    assert journal(folder)[-1] == ["close", "done"]
    (log,) = (folder / "trackers").glob("*.log")
    text = log.read_text(encoding="utf-8")
    assert "printed to standard output" in text
    assert "written to standard error" in text


@pytest.mark.parametrize(
    ("writer", "reason"),
    [("FailsToOpen", "connection refused"), ("Exits", "enough"), ("Crashes", "signal 9"), ("Missing", "Missing")],
)
def test_a_tracker_that_fails_is_one_note(tmp_path: Path, writer: str, reason: str) -> None:
    folder = follow(tmp_path, writer)
    (note,) = notes(folder)
    assert reason in note
    assert "\n" not in note
    assert [event["step"] for event in events(folder) if event["kind"] == "step"] == [1, 2, 3, 4]


def test_a_key_reaches_the_writer_and_no_file(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    options = WandbOptions.model_validate({"key": Secret("hunter22", "${env:KEY}"), "timeout": 60})
    run(Request(str(folder), ""), WorkerTracker("fake", "fake_writers:RepeatsKey", options))
    (note,) = notes(folder)
    assert "8 letters" in note
    texts = {path: path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file()}
    assert any("8 letters" in text for path, text in texts.items() if path.suffix == ".log")
    assert not [path for path, text in texts.items() if "hunter22" in text]


@pytest.mark.slow
def test_an_import_may_take_longer_than_an_answer(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    run(Request(str(folder), "", seconds=2.5), tracker("fake_writers:SlowImport", {"timeout": 4}))
    assert not notes(folder)
    assert curves(journal(folder)) == expected(folder)


def test_a_tracker_that_hangs_is_waited_for_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    folder = follow(tmp_path, "HangsAtOpen", timeout=1.5)
    assert time.monotonic() - begun < 60
    (note,) = notes(folder)
    assert "switched off" in note


@pytest.mark.slow
def test_trackers_that_hang_at_the_end_are_waited_for_side_by_side(tmp_path: Path) -> None:
    folder, begun = begin(tmp_path), time.monotonic()
    hanging = [tracker("fake_writers:HangsAtClose", {"timeout": 8}, f"fake{number}") for number in range(8)]
    run(Request(str(folder), "", steps=1), *hanging)
    assert time.monotonic() - begun < 60  # one after the other they take 64
    assert len(notes(folder)) == 8
    assert [call for call in journal(folder) if call[0] == "close"] == [["close", "done"]] * 8


@pytest.mark.slow
def test_a_run_that_is_tracked_twice_at_a_place_is_said_once(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    twice = [tracker("fake_writers:Journal", {"timeout": 1}) for _ in range(2)]
    run(Request(str(folder), "", steps=4, seconds=4), *twice)
    (note,) = notes(folder)
    assert "twice" in note
    assert curves(journal(folder)) == expected(folder)


@pytest.mark.slow
def test_what_hangs_at_the_end_is_killed_with_all_it_started(tmp_path: Path) -> None:
    folder = follow(tmp_path, "HangsAtClose", timeout=8)
    (note,) = notes(folder)
    assert "8 s" in note
    assert journal(folder)[-1] == ["close", "done"]
    grandchild = int((folder / "grandchild").read_text(encoding="utf-8"))
    ended = time.monotonic() + 60
    while is_running(grandchild) and time.monotonic() < ended:
        time.sleep(0.05)
    assert not is_running(grandchild)


def test_steps_do_not_wait_for_a_slow_tracker(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    behind: list[int] = []

    class Watcher(Tracker):
        def event(self, event: Event) -> None:
            if event.kind == "run_end":
                behind.append(len(expected(folder)["grpo/reward"]) - len(steps(folder)))

    run(Request(str(folder), "", steps=12), Watcher(), tracker("fake_writers:Slow", {}))
    # its steps and evaluations take it four seconds beside its start
    assert behind[0] > 0
    assert len(steps(folder)) == 12
    assert curves(journal(folder)) == expected(folder)


def steps(run: Path) -> list[tuple[int, float]]:
    """What a tracker has of the reward."""
    return curves(journal(run)).get("grpo/reward", []) if (run / "journal.jsonl").exists() else []
