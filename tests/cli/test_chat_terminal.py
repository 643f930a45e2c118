"""`mentorkit chat` at a terminal: a person who types, presses Ctrl-C in the middle of an answer, and leaves."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

import mentor_kit
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.runs import Run
from mentor_kit.runs.records import read_scored

pytestmark = pytest.mark.slow

#: prompt_toolkit switches bracketed paste on when it is ready for a line.
READY = r"\x1b\[\?2004h"
#: The command, with a pause before every token that is drawn.
SLOWLY = """
import time
from mentor_kit.backend.engine import StepEngine
step = StepEngine.step
StepEngine.step = lambda engine: (time.sleep(0.2), step(engine))[1]
from mentor_kit.cli import main
main()
"""
TWO_TOOLS = "Start with 416.84. Take it 55 times. Keep 0 digits after the point. What is the result?"

Start = Callable[..., pexpect.spawn]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    overrides = {"train.0.steps": 1, "evaluate.on": [], "train.0.problems": 2, "train.0.group": 2}
    return mentor_kit.run("quickstart", overrides=overrides, output=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def chat(trained: Run, tmp_path: Path) -> Iterator[Start]:
    begun: list[pexpect.spawn] = []

    def start(*arguments: str, columns: int = 80, program: tuple[str, ...] = ("-m", "mentor_kit.cli")) -> pexpect.spawn:
        # a runner may have set the size of its own terminal
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        environment = {
            **inherited,
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "TERM": "xterm-256color",
            "XDG_STATE_HOME": str(tmp_path / "state"),
        }
        child = pexpect.spawn(
            sys.executable,
            [*program, "chat", str(trained.path), "--temperature", "0", *arguments],
            cwd=str(tmp_path),
            env=environment,
            dimensions=(40, columns),
            encoding="utf-8",
            timeout=600,
        )
        begun.append(child)
        child.expect(READY)
        return child

    yield start
    for child in begun:
        if child.isalive():
            child.kill(signal.SIGKILL)
            child.wait()
        child.close()


def said(child: pexpect.spawn, line: str) -> str:
    """What is shown for a line, as text."""
    child.sendline(line)
    child.expect(READY)
    return plain(child.before or "")


def plain(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).replace("\r", "")


def leave(child: pexpect.spawn) -> int | None:
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


def test_questions_tools_problems_and_what_is_saved(chat: Start, tmp_path: Path) -> None:
    child = chat()
    answer = said(child, TWO_TOOLS)
    two_calls = r"  multiply\(a=416.84, b=55\) → 22926.2\n  \w+\(number=22926.2.*\) → (\d+)\n\\boxed\{\1\}"
    assert re.search(two_calls, answer)
    assert "failed: division by zero" in said(child, '/tool divide {"a": 1, "b": 0}')
    shown = said(child, "/problem in-domain-0")
    assert "the teacher's demonstration" in shown
    assert re.search(r"reward \d\.\d{3}\n  correct +\d\.\d\d → ", shown)
    assert "did you mean '/save'" in said(child, "/sav x")
    said(child, "/save episodes.jsonl")
    said(child, "/save shown.jsonl demonstrations")
    child.sendline("/quit")
    assert leave(child) == 0
    scored = read_scored(tmp_path / "episodes.jsonl")
    assert {item.trajectory.problem_id for item in scored} == {"in-domain-0", "chat-0"}
    assert all(item.trajectory.tokens is not None for item in scored)
    shown_lines = (tmp_path / "shown.jsonl").read_text().splitlines()
    assert [Demonstration.from_json(line).trajectory for line in shown_lines] == [
        item.trajectory.model_copy(update={"tokens": None}) for item in scored
    ]


BROKEN_TOOLS = '''
def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    raise RuntimeError("the mill stands still")
'''


def test_an_error_of_a_tool_is_shown_and_read_by_the_student(chat: Start, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN_TOOLS)
    tools = f"tools=[{{use: python, with: {{module: {tmp_path / 'broken.py'}, workers: 1}}}}]"
    child = chat("--set", tools)
    answer = said(child, TWO_TOOLS)
    assert re.search(r"multiply\(.*\) ✗ failed: RuntimeError: the mill stands still\n", answer)
    assert "the mill stands still" not in answer.splitlines()[-1]  # the student goes on
    child.sendcontrol("d")
    assert leave(child) == 0


def test_ctrl_c_stops_an_answer_and_keeps_the_chat(chat: Start) -> None:
    child = chat(program=("-c", SLOWLY))
    child.sendline(TWO_TOOLS)
    child.expect("multiply")
    child.sendcontrol("c")
    child.expect("stopped")
    child.expect(READY)
    assert "22926.2" in said(child, "/retry")
    child.sendcontrol("c")
    assert leave(child) == 0


@pytest.mark.parametrize("columns", [80, 120])
def test_answers_side_by_side_or_below_each_other(chat: Start, columns: int) -> None:
    child = chat("--against", "untrained", columns=columns)
    shown = said(child, TWO_TOOLS)
    answers = [line for line in shown.splitlines() if "\\boxed" in line]
    if columns == 80:
        assert shown.index("student:") < shown.index("untrained:")
        assert len(answers) == 2
    else:
        assert re.search(r"student +untrained", shown)
        assert answers[-1].count("\\boxed") == 2
    child.sendcontrol("d")
    assert leave(child) == 0


def test_earlier_lines_come_back_in_the_next_chat(chat: Start) -> None:
    first = chat()
    said(first, "/temperature 0")
    first.sendcontrol("d")
    assert leave(first) == 0
    second = chat()
    second.send("\x1b[A")
    second.expect("/temperature 0")
    second.sendcontrol("c")
    assert leave(second) == 0
