"""Exports behind real servers of other projects: what the student says greedily arrives as the same parsed call."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import model_servers
from mentor_kit_trackers.rollouts import openai_messages

from mentor_kit import Run, api
from mentor_kit.chat.serving import UNNAMED
from mentor_kit.core.conversation import CallState, Message
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


def greedy_turns(run: Run) -> Iterator[tuple[tuple[Message, ...], Message]]:
    """The readable turns that the student said greedily in the last evaluation, each with the messages before it."""
    name = run.evaluations[-1]["name"]
    for scored, row in zip(run.evaluated(name), run.outcomes(name), strict=True):
        if row["decoding"] == "greedy":
            messages = scored.trajectory.messages
            for place, turn in enumerate(messages):
                readable = all(call.state is not CallState.MALFORMED for call in turn.tool_calls)
                if turn.role == "assistant" and readable:
                    yield messages[:place], turn


def asked(url: str, model: str, messages: Sequence[Message], tools: list[dict[str, Any]]) -> dict[str, Any]:
    """The assistant's message."""
    body = {
        **{"model": model, "messages": openai_messages(messages), "tools": tools},
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
    expected = list(greedy_turns(run))
    tools = schemas()
    assert {len(turn.tool_calls) for _, turn in expected} >= {0, 1}
    assert any(messages[-1].role == "tool" for messages, _ in expected)
    with model_servers.model_server(kind, student, command.replace(UNNAMED, str(model_servers.TINY))) as served:
        for messages, turn in expected:
            message = asked(served.url, name, messages, tools)
            calls = [made["function"] for made in message.get("tool_calls") or []]
            assert [(made["name"], json.loads(made["arguments"])) for made in calls] == [
                (made.name, dict(made.arguments)) for made in turn.tool_calls
            ]
            assert (message.get("content") or "").strip() == turn.content
