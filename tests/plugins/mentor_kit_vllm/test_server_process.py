"""Servers that the run starts: how they are started, what is said when they die, and that none is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mentor_kit_vllm.options import VLLMOptions
from mentor_kit_vllm.process import ServerProcess
from mentor_kit_vllm.service import VLLMService

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.errors import BackendError, MissingError


def python_that(folder: Path, body: str) -> str:
    """A program in Python's place, which runs `body` with the arguments that Python would have had."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{textwrap.dedent(body)}")
    path.chmod(0o755)
    return str(path)


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 120
    while not path.is_file() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path.read_text()


def is_alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.is_file() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_it_gets_its_arguments_and_environment_and_ends_with_what_it_started(tmp_path: Path) -> None:
    said = tmp_path / "said.json"
    python = python_that(
        tmp_path,
        f"""
        child = os.fork()
        if child == 0:
            time.sleep(300)
        env = {{name: os.environ.get(name) for name in ("VLLM_SERVER_DEV_MODE", "MINE")}}
        with open({str(said)!r} + ".new", "w") as file:
            json.dump([sys.argv[1:], env, child], file)
        os.rename({str(said)!r} + ".new", {str(said)!r})
        time.sleep(300)
        """,
    )
    process = ServerProcess(python, ["--model", "m"], {"MINE": "1"}, tmp_path / "log")
    process.start()
    arguments, environment, child = json.loads(wait_for(said))
    assert arguments[:2] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert arguments[-2:] == ["--model", "m"]
    assert process.url.endswith(arguments[arguments.index("--port") + 1])
    assert environment == {"VLLM_SERVER_DEV_MODE": "1", "MINE": "1"}
    assert process.alive
    process.stop()
    assert not process.alive
    assert not is_alive(child)


def test_one_that_dies_says_so_with_its_last_lines(tmp_path: Path) -> None:
    process = ServerProcess(python_that(tmp_path, "print('no room on the GPU'); sys.exit(3)"), [], {}, tmp_path / "log")
    process.start()
    while process.alive:
        time.sleep(0.02)
    error = process.died()
    assert "code 3" in error.message
    assert "no room on the GPU" in error.message
    assert str(tmp_path / "log") in str(error.hint)


def test_a_python_without_vllm_and_none_at_all(tmp_path: Path) -> None:
    process = ServerProcess("", [], {}, tmp_path / "log")
    process.start()
    while process.alive:
        time.sleep(0.02)
    assert isinstance(process.died(), MissingError)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux ends children with their parents")
def test_it_ends_when_the_run_is_killed(tmp_path: Path) -> None:
    said = tmp_path / "pid"
    python = python_that(tmp_path, f"open({str(said)!r}, 'w').write(str(os.getpid())); time.sleep(300)")
    code = (
        "import pathlib, time; from mentor_kit_vllm.process import ServerProcess; "
        f"process = ServerProcess({python!r}, [], {{}}, pathlib.Path({str(tmp_path / 'log')!r})); "
        "process.start(); time.sleep(300)"
    )
    run = subprocess.Popen([sys.executable, "-c", code], env=os.environ)
    pid = int(wait_for(said))
    run.kill()
    run.wait()
    deadline = time.monotonic() + 120
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("student", ["full"], indirect=True)
def test_a_server_that_dies_at_its_start_ends_the_run_at_once(
    policy_factory: Callable[[int | None], Policy],
    student: StudentSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    starts = tmp_path / "starts"
    python = python_that(tmp_path, f"open({str(starts)!r}, 'a').write('x'); print('no such GPU'); sys.exit(3)")
    service = VLLMService(VLLMOptions(start={"python": python}), tmp_path)
    try:
        with pytest.raises(BackendError, match="no such GPU") as caught:
            service.start(policy_factory(None), student)
    finally:
        service.close()
    assert starts.read_text() == "x"
    log = Path(str(caught.value.hint).rpartition(" ")[2])
    assert "no such GPU" in log.read_text()
