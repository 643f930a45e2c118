"""Exports behind real servers of other projects: what the student says greedily arrives as the same parsed call."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import model_servers

from mentor_kit import Run, api
from mentor_kit.chat.serving import UNNAMED
from mentor_kit.hooks import default_registry
from mentor_kit.recipe.assembly import assemble_components
from mentor_kit.recipe.settings import parse_settings

pytestmark = pytest.mark.slow

SMALL = ["train.0.steps=2", "evaluate.on.0.problems=3", "evaluate.on.1.problems=3", "report=false"]


@pytest.fixture(scope="module", params=["model", "adapter"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    more = ["student.adapter=lora"] if request.param == "adapter" else []
    root = tmp_path_factory.mktemp(request.param)
    return api.run("quickstart", overrides=parse_settings([*SMALL, *more]), output=root / "runs")


def schemas() -> list[dict[str, Any]]:
    """The recipe's tools in the form of OpenAI's API."""
    loaded = api.check("quickstart")
    with closing(assemble_components(loaded, default_registry())) as components:
        (problem,) = components.task.problems("in-domain", 0, 1)
        return [tool.schema for tool in components.toolbox.tools(problem).values()]


def questions(run: Run) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Questions of the last evaluation, with the first call that the student made greedily."""
    for scored in run.evaluated(run.evaluations[-1]["name"]):
        question, turn = scored.trajectory.messages[:2]
        if scored.trajectory.id.endswith("#0") and len(turn.tool_calls) == 1:
            yield question.content, turn.tool_calls[0].name, dict(turn.tool_calls[0].arguments)


def asked(url: str, model: str, question: str, tools: list[dict[str, Any]]) -> dict[str, Any]:
    """The assistant's message."""
    body = {
        **{"model": model, "messages": [{"role": "user", "content": question}], "tools": tools},
        **{"temperature": 0, "max_tokens": 60},
    }
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        message: dict[str, Any] = json.loads(answer.read())["choices"][0]["message"]
    return message


#: Of each server the name in `api.serving`, and the formats that it loads.
SERVERS = {
    "transformers": ("transformers", ("transformers",)),
    "mlx": ("mlx-lm", ("transformers",)),
    "vllm": ("vLLM", ("transformers", "adapter")),
}


CASES = [(kind, written) for kind, (_, formats) in SERVERS.items() for written in formats]


@pytest.mark.parametrize(("kind", "format"), CASES)
def test_the_printed_command_starts_a_server_that_answers_with_the_students_call(
    kind: str, format: str, run: Run, tmp_path: Path
) -> None:
    if kind == "mlx":
        pytest.importorskip("mlx_lm")
    if kind == "vllm" and model_servers.VLLM not in os.environ:
        pytest.skip(f"{model_servers.VLLM} names no Python with vLLM")
    if format == "adapter" and run.recipe["student"]["adapter"] is None:
        pytest.skip("this run has no adapter")
    student = api.export(run, tmp_path / "student", format=format)
    (command,) = [found.command for found in api.serving(student, format=format) if found.program == SERVERS[kind][0]]
    name = "student" if format == "adapter" else str(student)
    expected = list(questions(run))
    assert expected
    with model_servers.model_server(kind, student, command.replace(UNNAMED, str(model_servers.TINY))) as served:
        for question, tool, arguments in expected:
            message = asked(served.url, name, question, schemas())
            (call,) = message["tool_calls"]
            assert call["function"]["name"] == tool
            assert json.loads(call["function"]["arguments"]) == arguments
            assert "<tool_call>" not in (message.get("content") or "")
