from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_helpers import Counter

from mentor_kit.core.errors import DataError
from mentor_kit.core.task import DeclaredTool, Problem
from mentor_kit.runs import RecordedProblem, RecordOptions, Run, RunContext, RunFolder, RunRecorder


class Killed(BaseException):
    pass


def problem(number: int) -> Problem:
    return Problem(id=f"p{number}", question=f"{number}?", answer=str(number), group="even" if number % 2 else "odd")


def train(folder: RunFolder, steps: int, die_at: int = 0) -> list[str]:
    """Every step uses its own problem, and the first one again; checkpoints are made after even steps."""
    recorder = RunRecorder(folder, RecordOptions(checkpoint_every=2))
    recorder.__enter__()
    try:
        student = Counter()
        recorder.start(student, {}, ["0-grpo"])
        context = RunContext(recorder, "0-grpo", is_first=True)
        for step in range(int((context.resumed() or {"step": 0})["step"]) + 1, steps + 1):
            context.write_problems([problem(0), problem(step), problem(0)])
            context.emit("step", step=step, steps=steps)
            if step == die_at:
                raise Killed
            if context.checkpoint_due(step, steps):
                context.checkpoint(step, {"step": step})
    except Killed:
        recorder._lock.release()
    else:
        recorder.__exit__(None, None, None)
    return [json.loads(line)["id"] for line in folder.problems.read_text().splitlines()]


def test_a_problem_is_kept_once(folder: RunFolder) -> None:
    assert train(folder, 3) == ["p0", "p1", "p2", "p3"]
    found = Run(folder).problems()
    assert list(found) == ["p0", "p1", "p2", "p3"]
    assert (found["p3"].question, found["p3"].key, found["p3"].split) == ("3?", "3", "train")
    assert (found["p3"].group, found["p3"].system, found["p3"].tools) == ("even", "", ())


@pytest.mark.parametrize("die_at", range(1, 7))
def test_a_killed_and_resumed_run_has_the_same_problems(tmp_path: Path, die_at: int) -> None:
    whole, killed = (RunFolder.create(tmp_path / name, "quick", "x") for name in ("whole", "killed"))
    expected = train(whole, 6)
    before = train(killed, 6, die_at)
    assert before == expected[: die_at + 1]
    with killed.problems.open("ab") as file:
        file.write(b'{"id": "half')
    assert train(killed, 6) == expected
    assert killed.problems.read_bytes() == whole.problems.read_bytes()


def test_everything_that_a_reader_needs_is_kept() -> None:
    tool = DeclaredTool(name="look", description="Look.", parameters={"type": "object", "properties": {}})
    full = Problem(id="a", question="?", answer="", split="dev", group="g", system="Be brief.", tools=(tool,))
    kept = RecordedProblem.of(full)
    assert kept.model_dump() == {
        "id": "a", "question": "?", "key": None, "split": "dev", "group": "g", "system": "Be brief.",
        "tools": ({"type": "function", "function": tool.model_dump(exclude={"bound"})},),
    }  # fmt: skip
    assert RecordedProblem.from_json(kept.to_json()) == kept


def test_a_broken_line_is_named(folder: RunFolder) -> None:
    folder.problems.write_text('{"id": "a", "question": "?"}\n{"id": 1}\n')
    with pytest.raises(DataError, match=r"problems\.jsonl:2: "):
        Run(folder).problems()
