"""The tools `mcp`, with real servers over stdio and HTTP."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import processes
import pytest

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import CallState, call
from mentor_kit.core.errors import MissingError, PluginError
from mentor_kit.core.task import Problem
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.hooks.loader import load_plugins
from mentor_kit.hooks.registry import BuildContext, ComponentError, Registry
from mentor_kit.rollout import run_async
from mentor_kit.rollout.tools import cut_by_characters, run_call

pytestmark = pytest.mark.skipif(find_spec("mcp") is None, reason="mcp is not installed")

HERE = Path(__file__).parent
REGISTRY = Registry(load_plugins())
PROBLEM = Problem(id="p", question="?", answer="")
STDIO = ["python", "mcp_tool_server.py"]
#: The machine may be busy.
PATIENT = {"seconds": 120, "cpu_seconds": 60, "output_kb": 256, "start_seconds": 240}


def built(**options: Any) -> Any:
    spec = ComponentSpec.model_validate({"use": "mcp", "with": options})
    return REGISTRY.build("tools", spec, BuildContext(REGISTRY, recipe_folder=HERE))


def played(source: Any, *calls: Any) -> list[tuple[CallState, str]]:
    toolbox = Toolbox([source])

    async def episode() -> list[tuple[CallState, str]]:
        found = []
        async with toolbox.open(PROBLEM, 1) as session:
            for one in calls:
                tools = toolbox.tools(PROBLEM)
                done, result = await run_call(one, tools, session, max_result_tokens=500, cut=cut_by_characters)
                found.append((done.state, result.content))
        return found

    return run_async(episode())


@pytest.fixture(scope="module")
def stdio() -> Iterator[Any]:
    source = built(command=STDIO, environment={"GIVEN": "1"}, limits=PATIENT)
    yield source
    source.runner.close()


@pytest.fixture(scope="module")
def http() -> Iterator[Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(HERE / "mcp_tool_server.py"), str(port)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        url = f"http://127.0.0.1:{port}/mcp"
        source = built(url=url, headers={"Authorization": "Bearer x"}, limits=PATIENT)
        yield source
        source.runner.close()
    finally:
        server.kill()
        server.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail("the server did not start")


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_tools_of_a_server(transport: str, request: pytest.FixtureRequest) -> None:
    source = request.getfixturevalue(transport)
    tools = {tool.name: tool for tool in source.tools(PROBLEM)}
    assert {"add", "keep", "fail", "leave", "hang", "flood"} <= set(tools)
    assert tools["add"].description == "Add two numbers."
    assert tools["add"].check({"a": 1, "b": 2}) == ""
    assert tools["add"].check({"a": "one", "b": 2})
    found = played(
        source, call("add", a=2, b=3), call("fail", reason="out of ink"), call("add", a=2), call("add", a=4, b=5)
    )
    assert found[0] == (CallState.EXECUTED, "5")
    assert found[1][0] is CallState.FAILED
    assert "out of ink" in found[1][1]
    assert found[2][0] is CallState.INVALID_ARGUMENTS
    assert found[3] == (CallState.EXECUTED, "9")
    # the library for servers warns of such names, and takes them
    assert played(source, call("calc_minus", a=5, b=3), call("Take_away", a=5, b=4)) == [
        (CallState.EXECUTED, "2"),
        (CallState.EXECUTED, "1"),
    ]


def test_a_server_that_ends_or_floods_costs_its_own_call(stdio: Any) -> None:
    found = played(stdio, call("leave"), call("add", a=1, b=2), call("flood"), call("add", a=3, b=4))
    assert found[0][0] is CallState.FAILED
    assert "gone" in found[0][1]
    assert found[1] == (CallState.EXECUTED, "3")
    assert found[2] == (CallState.FAILED, "error: the result is larger than 256 KiB")
    assert found[3] == (CallState.EXECUTED, "7")


def test_a_server_sees_no_secrets(stdio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", "sk-secret")
    ((state, names),) = played(stdio, call("variables"))
    assert state is CallState.EXECUTED
    assert "GIVEN" in names.split()
    assert "TEACHER_KEY" not in names


def test_a_server_that_hangs_is_ended_with_its_worker() -> None:
    source = built(command=STDIO, limits={**PATIENT, "seconds": 4}, tools=["hang", "number"])
    assert [tool.name for tool in source.tools(PROBLEM)] == ["hang", "number"]
    first, hung, second = played(source, call("number"), call("hang"), call("number"))
    assert hung == (CallState.FAILED, "error: the tool took longer than 4 s")
    assert second[0] is CallState.EXECUTED
    assert first[1] != second[1]
    assert _is_over(int(first[1]))
    source.runner.close()


def _is_over(pid: int) -> bool:
    """Whether the process is gone, or a zombie, within a while."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not processes.runs(pid):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_an_episode_may_have_a_server_of_its_own() -> None:
    source = built(command=STDIO, state="episode", limits=PATIENT)
    for _ in range(2):
        assert played(source, call("keep", word="a"), call("keep", word="b"))[1] == (CallState.EXECUTED, "a b")
    source.runner.close()


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"command": ["no-such-command-here"]}, "no connection to 'no-such-command-here'"),
        ({"command": ["python", "-c", "print('hello')"]}, "no connection to"),
        ({"url": "http://127.0.0.1:9/mcp"}, "no connection to 'http://127.0.0.1:9/mcp'"),
        ({"command": STDIO, "limits": PATIENT, "tools": ["ad"]}, r"has no tool 'ad' \(did you mean 'add'\?\)"),
    ],
)
def test_a_server_that_cannot_be_used_says_why(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(PluginError, match=reason) as caught:
        built(**options)
    assert caught.value.hint


@pytest.mark.parametrize("options", [{}, {"url": "x", "command": ["y"]}, {"command": ["x"], "headers": {"a": "b"}}])
def test_faulty_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ComponentError, match="command"):
        REGISTRY.check("tools", ComponentSpec.model_validate({"use": "mcp", "with": options}))


def test_without_the_package_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mentor_kit.hooks.references.find_spec", lambda name: None)
    with pytest.raises(MissingError) as caught:
        built(url="http://localhost/mcp")
    assert caught.value.hint == "pip install 'mentor-kit[mcp]'"
