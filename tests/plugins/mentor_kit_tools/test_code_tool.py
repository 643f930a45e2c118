"""The tool `code`: real interpreters, attacked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import CallState, call
from mentor_kit.core.errors import MissingError
from mentor_kit.core.task import Problem
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.hooks.loader import load_plugins
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.rollout import run_async
from mentor_kit.rollout.tools import cut_by_characters, run_call

pytest.importorskip("pydantic_monty")

REGISTRY = Registry(load_plugins())
PROBLEM = Problem(id="p", question="?", answer="")


def built(**options: Any) -> Any:
    spec = ComponentSpec.model_validate({"use": "code", "with": {"workers": 1, "seconds": 3, **options}})
    return REGISTRY.build("tools", spec, BuildContext(REGISTRY))


def ran(source: Any, *codes: str) -> list[tuple[CallState, str]]:
    """The calls of one episode."""
    toolbox = Toolbox([source])

    async def episode() -> list[tuple[CallState, str]]:
        found = []
        async with toolbox.open(PROBLEM, 1) as session:
            for code in codes:
                done, result = await run_call(
                    call("python", code=code),
                    toolbox.tools(PROBLEM),
                    session,
                    max_result_tokens=1000,
                    cut=cut_by_characters,
                )
                found.append((done.state, result.content))
        return found

    return run_async(episode())


@pytest.fixture(scope="module")
def source() -> Iterator[Any]:
    made = built(state="none")
    yield made
    made.runner.close()


def test_values_and_prints_are_what_the_model_reads(source: Any) -> None:
    found = ran(
        source,
        "sum(n * n for n in range(1, 11))",
        "print('a')\nprint('b')\n[1, 'x']",
        "print('only')",
        "'text'",
        "x = 1",
        "import math\nmath.comb(10, 3)",
    )
    assert found == [
        (CallState.EXECUTED, "385"),
        (CallState.EXECUTED, "a\nb\n[1, 'x']"),
        (CallState.EXECUTED, "only\n"),
        (CallState.EXECUTED, "text"),
        (CallState.EXECUTED, ""),
        (CallState.EXECUTED, "120"),
    ]


def test_errors_are_failed_calls_with_what_was_printed(source: Any) -> None:
    found = ran(source, "print('before')\n1 / 0", "def f(:", "nothing")
    assert [state for state, _ in found] == [CallState.FAILED] * 3
    assert "before" in found[0][1]
    assert "ZeroDivisionError" in found[0][1]
    assert "SyntaxError" in found[1][1]
    assert "NameError" in found[2][1]


def test_the_reason_survives_long_output_which_keeps_its_form(source: Any) -> None:
    ((_, long), (_, short)) = ran(
        source, "for i in range(900):\n    print('line', i)\n1 / 0", "print('a  b\\n c')\n1 / 0"
    )
    assert short == "error: a  b\n c\nZeroDivisionError: division by zero"
    assert long.startswith("error: line 0\nline 1\n")
    assert "[cut: " in long
    assert long.endswith("line 899\nZeroDivisionError: division by zero")


def test_sets_are_in_the_same_order_in_every_process() -> None:
    code = "set('abcdefghijklmnop')"
    found = []
    for _ in range(2):
        source = built()
        found.append(ran(source, code))
        source.runner.close()
    assert found[0] == found[1]


ATTACKS = [
    "open('/etc/passwd').read()",
    "from pathlib import Path\nPath('/etc/passwd').read_text()",
    "import os\nos.system('id')",
    "import os\nos.environ['HOME']",
    "import subprocess\nsubprocess.run(['id'])",
    "import socket\nsocket.create_connection(('127.0.0.1', 80))",
    "import urllib.request\nurllib.request.urlopen('http://127.0.0.1')",
    "__import__('os').getpid()",
    "().__class__.__base__.__subclasses__()[0].__init__.__globals__['os']",
    "while True:\n    pass",
    "x = []\nwhile True:\n    x.append('x' * 1_000_000)",
    "while True:\n    print('spam' * 1000)",
    "def f():\n    return f()\nf()",
    "9 ** 9 ** 9",
]


def test_attacks_fail_and_the_next_call_is_well(source: Any) -> None:
    for attack in ATTACKS:
        (bad, good) = ran(source, attack, "6 * 7")
        assert bad[0] is CallState.FAILED, (attack, bad)
        assert "root:" not in bad[1]
        assert good == (CallState.EXECUTED, "42"), attack


def test_chance_and_clock_are_the_same_in_every_run(source: Any) -> None:
    code = "import random, datetime\n(random.random(), datetime.datetime.now().isoformat())"
    first, second = ran(source, code, code)
    assert first[0] is CallState.EXECUTED
    assert first == second


def test_an_episode_keeps_its_variables_and_no_other_does() -> None:
    own = built()
    for _ in range(2):
        found = ran(own, "count = 1", "count = count + 1\ncount", "count")
        assert found[1:] == [(CallState.EXECUTED, "2")] * 2
    assert ran(own, "count")[0][0] is CallState.FAILED
    own.runner.close()


def test_without_the_package_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mentor_kit.hooks.references.find_spec", lambda name: None)
    with pytest.raises(MissingError) as caught:
        built()
    assert caught.value.hint == "pip install 'mentor-kit[code]'"
