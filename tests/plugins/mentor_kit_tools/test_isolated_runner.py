"""Real processes: whatever a tool does costs its own call, and nothing else."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import processes
import pytest
from mentor_kit_tools.limits import Limits
from mentor_kit_tools.process import WorkerProcess
from mentor_kit_tools.runner import Runner

from mentor_kit.core.tool import ToolError
from mentor_kit.rollout import run_async

HERE = Path(__file__).parent
#: Patient, since the machine may be busy; what hangs gets less.
LIMITS = Limits(seconds=30.0, cpu_seconds=20, memory_mb=256, output_kb=64, file_mb=1)
BRIEF = LIMITS.model_copy(update={"seconds": 0.75})
SETUP = {"module": "isolated_tools.py", "functions": [], "folder": str(HERE)}


def made(**options: Any) -> Runner:
    return Runner("mentor_kit_tools.functions:serve", SETUP, **{"limits": LIMITS, "workers": 2, **options})


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    runner = made()
    yield runner
    runner.close()


def call(runner: Runner, name: str, **arguments: Any) -> Any:
    return run_async(runner.call(name, arguments))


#: What a tool does, and what the model reads of it.
FAULTS = [
    ("leave", {"code": 7}, r"the tool ended its process \(exit code 7\)"),
    ("leave", {"code": 0}, r"the tool ended its process \(exit code 0\)"),
    ("stop", {}, r"SystemExit: 3"),
    ("crash", {}, r"the tool crashed \(SIGSEGV\)"),
    ("abort", {}, r"the tool crashed \(SIGKILL\)"),
    ("fill", {}, r"the tool ran out of memory \(more than 256 MiB\)"),
    ("large", {}, r"the result is larger than 64 KiB|ran out of memory"),
    ("flood", {}, r"the tool printed more than 64 KiB"),
    ("flood_errors", {}, r"the tool printed more than 64 KiB"),
    ("deafen", {}, r"the tool's process closed its connection"),
    ("babble", {}, r"the tool's process answered nonsense"),
    ("lie", {}, r"the tool's process answered something else"),
    ("write", {"path": "large", "megabytes": 3}, r"OSError: .*File too large"),
    ("deep", {}, r"Recursion|recursion|Circular|ValueError"),
    ("huge", {}, r"ValueError"),
    ("refuse", {"reason": "no such thing"}, r"^no such thing$"),
    ("fail", {"reason": "odd"}, r"^ValueError: odd$"),
]


@pytest.mark.parametrize(("name", "arguments", "reason"), FAULTS)
def test_a_fault_is_a_failed_call_with_its_reason_and_the_next_one_is_well(
    runner: Runner, name: str, arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ToolError, match=reason):
        call(runner, name, **arguments)
    assert call(runner, "add", a=2, b=3) == 5


def test_a_tool_that_hangs_is_killed_from_outside() -> None:
    runner = made(limits=BRIEF, workers=1)
    for name in ("hang", "spin", "hold_the_lock"):
        started = time.monotonic()
        with pytest.raises(ToolError, match=r"\b0\.75 s$"):
            call(runner, name)
        assert time.monotonic() - started >= 0.75
    runner.close()


def test_a_worker_lives_on_after_faults_that_are_the_callers(runner: Runner) -> None:
    before = {call(runner, "pid") for _ in range(3)}
    for name in ("refuse", "fail"):
        with pytest.raises(ToolError):
            call(runner, name, reason="x")
    assert call(runner, "pid") in before


def test_a_tool_that_forks_answers_once(runner: Runner) -> None:
    assert call(runner, "fork") == call(runner, "pid")
    assert call(runner, "add", a=1, b=1) == 2


def test_what_a_tool_started_dies_with_it(tmp_path: Path) -> None:
    runner = made(limits=BRIEF)
    with pytest.raises(ToolError, match="took longer"):
        call(runner, "child", path=str(tmp_path / "pid"))
    runner.close()
    assert _ends(int((tmp_path / "pid").read_text()))


def test_workers_die_with_their_trainer(tmp_path: Path) -> None:
    code = f"""
import sys, time
from mentor_kit_tools.process import Load, WorkerProcess
from pathlib import Path
load = Load("mentor_kit_tools.functions:serve", {SETUP!r}, Path({str(tmp_path)!r}))
worker = WorkerProcess(load)
import threading
print(worker.call("pid", {{}}, threading.Event()).value, flush=True)
worker.call("hang", {{}}, threading.Event())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        worker = int(trainer.stdout.readline())
        assert processes.runs(worker)
        trainer.kill()
    assert _ends(worker)


def _ends(pid: int) -> bool:
    """Whether the process is gone within ten seconds: one that was killed takes a moment on a busy machine."""
    deadline = time.monotonic() + 10
    while processes.runs(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not processes.runs(pid)


def test_processor_time_over_all_threads_is_limited() -> None:
    runner = made(limits=LIMITS.model_copy(update={"seconds": 200.0, "cpu_seconds": 1}))
    with pytest.raises(ToolError, match=r"\b1 s\b"):
        runner.call_now("spin", {})
    assert runner.call_now("add", {"a": 1, "b": 2}) == 3
    runner.close()


def test_results_carry_what_the_model_should_read(runner: Runner) -> None:
    assert call(runner, "tell", text="seen\nby the model") == "seen\nby the model\n"
    assert call(runner, "echo", text="größer \udc80 ∞") == "größer \udc80 ∞"
    assert call(runner, "later", seconds=0) == "later"
    found = call(runner, "odd")
    assert found["set"] == [1]
    assert found["bytes"] == "b"
    assert "Thread" in found["self"]


def test_secrets_of_the_trainer_are_not_seen(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", "sk-secret")
    own = made(environment={"GIVEN": "yes"})
    names = call(own, "variables")
    own.close()
    assert "GIVEN" in names
    assert "TEACHER_KEY" not in names


def test_the_working_folder_is_temporary_and_goes_with_the_runner() -> None:
    own = made()
    place = Path(call(own, "folder"))
    assert place.is_dir()
    assert place != Path.cwd()
    own.close()
    assert not place.exists()


def test_an_episode_may_have_a_process_of_its_own() -> None:
    runner = made()

    async def episode(times: int) -> list[Any]:
        async with runner.own() as worker:
            return [await worker.call("count", {}) for _ in range(times)]

    async def both() -> list[list[Any]]:
        return await asyncio.gather(episode(3), episode(2))

    assert run_async(both()) == [[1, 2, 3], [1, 2]]
    runner.close()


def test_an_own_process_that_died_starts_anew_and_ends_with_its_episode() -> None:
    runner = made()

    async def episode() -> tuple[Any, Any, Any]:
        async with runner.own() as worker:
            before = await worker.call("count", {})
            with pytest.raises(ToolError, match="exit code 2"):
                await worker.call("leave", {"code": 2})
            return before, await worker.call("count", {}), await worker.call("pid", {})

    before, after, pid = run_async(episode())
    assert (before, after) == (1, 1)
    assert _ends(pid)
    runner.close()


def test_a_cancelled_call_does_not_hold_its_worker() -> None:
    runner = made(limits=LIMITS.model_copy(update={"seconds": 900.0}), workers=1)

    async def impatient() -> Any:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(runner.call("hang", {}), 0.2)
        return await runner.call("add", {"a": 1, "b": 1})

    assert run_async(impatient()) == 2
    runner.close()


def test_closed_runners_say_so() -> None:
    runner = made()
    runner.close()
    with pytest.raises((ToolError, RuntimeError)):
        call(runner, "add", a=1, b=2)


def _pipes() -> set[str]:
    return {path.name for path in processes.OPEN_FILES.iterdir()}


def test_no_process_or_pipe_is_left_behind() -> None:
    before = _pipes()
    runner = made()
    for name in ("leave", "abort", "flood"):
        with pytest.raises(ToolError):
            runner.call_now(name, {"code": 1} if name == "leave" else {})
    pid = runner.call_now("pid", {})
    runner.close()
    assert _ends(pid)
    assert _pipes() <= before  # other tests' runners may be cleared meanwhile


def test_output_tools_replace_is_no_harm(runner: Runner) -> None:
    call(runner, "replace_output")
    assert call(runner, "add", a=1, b=2) == 3


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("import os; os._exit(9)", r"exit code 9"),
        ("import nothing_like_it", "No module named 'nothing_like_it'"),
        ("while True: pass", "took longer than 1 s"),
        ("x = [0] * (1 << 40)", "ran out of memory"),
        ("x = 1", "has no public functions"),
        ("def f(a): ...", "parameter 'a' has no type annotation"),
    ],
)
def test_a_program_that_cannot_be_loaded_says_why(tmp_path: Path, module: str, reason: str) -> None:
    (tmp_path / "m.py").write_text(module)
    setup = {"module": "m.py", "functions": [], "folder": str(tmp_path)}
    limits = LIMITS.model_copy(update={"start_seconds": 1.0 if "while" in module else 60.0})
    with pytest.raises(ToolError, match=reason):
        Runner("mentor_kit_tools.functions:serve", setup, limits=limits)


def test_worker_is_the_same_from_call_to_call(runner: Runner) -> None:
    assert isinstance(runner._state.idle[0], WorkerProcess)
    assert len({call(runner, "pid") for _ in range(5)}) <= 2


@pytest.mark.slow
def test_processes_find_room_where_few_files_may_be_open(tmp_path: Path) -> None:
    """macOS's terminals allow 256 of them, and each process takes four."""
    code = f"""
import asyncio, contextlib
from mentor_kit_tools.runner import Runner
async def play(runner):
    async with contextlib.AsyncExitStack() as stack:
        owned = [await stack.enter_async_context(runner.own()) for _ in range(5)]
        return [await one.call("add", {{"a": 1, "b": 2}}) for one in owned]
print(*asyncio.run(play(Runner("mentor_kit_tools.functions:serve", {SETUP!r}))))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (20, 256)),
    )
    assert done.stdout.split() == ["3"] * 5, done.stderr
