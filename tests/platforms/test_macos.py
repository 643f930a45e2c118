"""On macOS, as it is pretended, everything has a way: tool processes and their limits, locks, memory, a dry run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
import pytest
from pretended import play

from mentor_kit.core.errors import ExitCode

HERE = Path(__file__).parent
TESTS = HERE.parent
MACOS = os.pathsep.join([str(HERE / "macos"), str(HERE), os.environ.get("PYTHONPATH", "")])

Results = dict[tuple[str, ...], tuple[int, str, str]]

COMMANDS = (
    ("--version",),
    ("plugins",),
    ("plugins", "tools"),
    ("check", "quickstart"),
    ("check", "laptop/qwen3-0.6b"),
    ("schema", "--output", "schema.json"),
    ("runs",),
)
#: Commands that load models.
LOADERS = (("run", "quickstart", "--dry-run"), ("preview", "quickstart"), ("doctor",))
#: Libraries of this system, which macOS's loader does not know.
LIBRARIES = ("torch", "mlx.core", "transformers.models.llama.modeling_llama", "transformers.models.auto")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return dict(zip(COMMANDS, play("macos", COMMANDS, tmp_path_factory.mktemp("macos")), strict=True))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_work(results: Results, command: tuple[str, ...]) -> None:
    code, said, errors = results[command]
    assert (code, errors) == (ExitCode.DONE, "")
    assert said


def test_tools_in_processes_are_there(results: Results) -> None:
    lines = {line.split()[1]: line for line in results["plugins", "tools"][1].splitlines()}
    assert "not here" not in lines["python"]


@pytest.mark.slow
@pytest.mark.parametrize("command", LOADERS, ids=" ".join)
def test_commands_that_load_models_work(command: tuple[str, ...], tmp_path: Path) -> None:
    ((code, said, errors),) = play("macos", [command], tmp_path, *LIBRARIES)
    assert (code, bool(said)) == (ExitCode.DONE, True), errors


#: Tests that run as on macOS, too: those of processes, limits, locks and files.
SUITES = (
    "plugins/mentor_kit_tools/test_isolated_runner.py",
    "plugins/mentor_kit_tools/test_bad_tools_in_a_batch.py",
    "plugins/mentor_kit_tools/test_mcp_tools.py",
    "runs/test_folder.py",
    "runs/test_jsonl.py",
)


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_the_tests_of_processes_limits_locks_and_files_pass(suite: str) -> None:
    """What they assert holds on the other system, too."""
    # a client of HTTP asks macOS's own library for its certificates
    done = as_on_macos(str(TESTS / suite), "-k", "not http")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_tool_that_fills_the_memory_is_ended() -> None:
    """The system refuses a limit of the address space there; the memory is watched."""
    done = as_on_macos(str(TESTS / SUITES[0]), "-k", "reason and fill")
    assert (done.returncode, done.stdout[:2]) == (0, ". "), done.stdout + done.stderr


def as_on_macos(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "on_macos", "-p", "no:cacheprovider", *arguments],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": MACOS},
        timeout=600,
    )


def test_a_folder_that_runs_is_seen_by_others(tmp_path: Path) -> None:
    """The lock is asked about in the order of macOS's `struct flock`."""
    code = (
        "import sys; from pathlib import Path; from mentor_kit.runs.lock import FolderLock, is_locked\n"
        "assert sys.platform == 'darwin'; folder = Path(sys.argv[1])\n"
        "if sys.argv[2] == 'hold':\n"
        "    lock = FolderLock(folder); lock.acquire(); print('held', flush=True); sys.stdin.read()\n"
        "else:\n"
        "    print(is_locked(folder))\n"
    )
    environment = os.environ | {"PYTHONPATH": MACOS}

    def arguments(word: str) -> list[str]:
        return [sys.executable, "-c", code, str(tmp_path), word]

    def seen() -> str:
        return subprocess.run(arguments("ask"), capture_output=True, text=True, env=environment).stdout.strip()

    assert seen() == "False"
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments("hold"), stdin=pipe, stdout=pipe, text=True, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert seen() == "True"
        holder.kill()
    assert seen() == "False"


#: A stand-in for a trainer: starts a server by the wrapper, as the client of MCP does, and waits.
TRAINER = """
import subprocess, sys
command = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
wrapper = [sys.executable, "-m", "mentor_kit_tools.parent_death", *command]
server = subprocess.Popen(wrapper, start_new_session=sys.argv[1] == "session")
server.wait()
"""


@pytest.mark.parametrize("session", ["session", "no session"])
def test_a_server_ends_with_the_process_that_started_it(session: str) -> None:
    arguments = [sys.executable, "-c", TRAINER, session]
    environment = os.environ | {"PYTHONPATH": MACOS}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as trainer:
        assert trainer.stdout is not None
        server = int(trainer.stdout.readline())
        assert processes.runs(server)
        trainer.kill()
        deadline = time.monotonic() + 120
        while processes.runs(server) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not processes.runs(server)


@pytest.mark.parametrize(
    ("ending", "code"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 128 + 9), ("", 0)]
)
def test_a_wrapped_command_ends_as_it_would(ending: str, code: int) -> None:
    assert wrapped(sys.executable, "-c", ending).returncode == code


def test_a_wrapped_command_that_is_not_there_is_named() -> None:
    done = wrapped("no-such-command")
    assert done.returncode == 1
    assert "no-such-command" in done.stderr


def test_a_wrapped_command_gets_the_signals() -> None:
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
        "print('on', flush=True)\n"
        "signal.pause()\n"
    )
    arguments = [sys.executable, "-m", "mentor_kit_tools.parent_death", sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": MACOS}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "on\n"
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 5


def wrapped(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mentor_kit_tools.parent_death", *command],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": MACOS},
        timeout=300,
    )


def test_files_are_flushed_by_macos_own_request(tmp_path: Path) -> None:
    code = (
        "import fcntl, os, sys; from mentor_kit.runs.files import write_text; from pathlib import Path\n"
        "asked = []; real = fcntl.fcntl\n"
        "fcntl.fcntl = lambda handle, request, *more: asked.append(request) or real(handle, request, *more)\n"
        "write_text(Path(sys.argv[1]), 'text'); print(asked.count(fcntl.F_FULLFSYNC))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.txt")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": MACOS},
    )
    assert done.stdout.strip() == "2", done.stderr  # the file, and the entry of its folder
    assert (tmp_path / "a.txt").read_text() == "text"
