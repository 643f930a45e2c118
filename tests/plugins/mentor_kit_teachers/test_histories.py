"""What goes back to a server is valid for the strictest one, whatever was said; tools are run again every time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_servers import ChatServer
from doubling import REGISTRY, context, next_step, shown, teacher
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_teachers.anthropic_messages import AnthropicMessages
from mentor_kit_teachers.openai_chat import OpenAIChat
from strict_histories import check_anthropic, check_openai

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import CallState, Message, ToolResult, assistant, call, system, tool_result, user
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.toolbox import FunctionTools, Toolbox

OPENAI = OpenAIChat("m", None, "k", {})
ANTHROPIC = AnthropicMessages("m", None, "k", {"max_tokens": 9})


pytestmark = pytest.mark.usefixtures("key")


def asked(use: str, folder: Path, server: ChatServer, **options: Any) -> Any:
    url = server.url if use == "anthropic" else f"{server.url}/v1"
    retry = {"first_wait": 0.01, "retries": 0}
    return teacher(use, folder, model="m", url=url, cache="a", when_none="show", retry=retry, **options)


ARGUMENTS: list[Any] = [
    '{"n": 2 "y"}',
    '{"n": ',
    "[2]",
    '"two"',
    "NaN",
    '{"n": NaN}',
    "n=2",
    "{'n': 2}",
    '{"n": "\\ud800"}',
    '{"n": "\ud800"}',
    "{" * 3000,
    '{"n": 1, "n": 2}',
    [2],
    7,
    "null",
    "",
    None,
    {},
    {"n": "two"},
    {"n": {"n": [float("nan")]}},
    json.loads('{"n": ' * 60 + "1" + "}" * 60),
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda value: repr(value)[:30])
def test_calls_with_any_arguments_go_back_as_json_objects(server, tmp_path, arguments):
    """The server of these tests refuses a history that is not valid, which would end the episode as refused."""

    def shape(made: dict[str, Any]) -> dict[str, Any]:
        for written in made["choices"][0]["message"].get("tool_calls", []):
            if not json.loads(written["function"]["arguments"])["n"] - 1:
                written["function"]["arguments"] = arguments
        return made

    def script(question: str, results: list[str], times: int) -> tuple[str, dict[str, int] | None]:
        # after a call that failed, it makes the same with right arguments
        if results and "error" in results[0]:
            said, made = next_step(question.replace("Double 1", "Double 2"), results[1:])
            return said.replace("8", "4"), made
        return next_step(question, results)

    server.shape, server.script = shape, script
    (found,) = shown(asked("openai", tmp_path, server), 1)
    assert found.correct
    assert found.trajectory is not None
    assert found.trajectory.calls[0].state in (CallState.MALFORMED, CallState.INVALID_ARGUMENTS)
    assert [c.state for c in found.trajectory.calls[1:]] == [CallState.EXECUTED] * 2
    sent = server.bodies[-1]["messages"]
    assert isinstance(json.loads(sent[2]["tool_calls"][0]["function"]["arguments"]), dict)


@pytest.mark.parametrize("given_id", ["", None, 7, "call-0", " "])
def test_calls_without_an_id_of_their_own_get_one(server, tmp_path, given_id):
    def shape(made: dict[str, Any]) -> dict[str, Any]:
        for written in made["choices"][0]["message"].get("tool_calls", []):
            written["id"] = given_id
        return made

    server.shape = shape
    (found,) = shown(asked("openai", tmp_path, server), 1)
    assert found.correct


NAMES: list[Any] = ["functions.double", "dou ble", "düble", "d" * 200, "", None, 3, {"x": 1}]


@pytest.mark.parametrize("name", NAMES, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("use", ["openai", "anthropic"])
def test_names_that_no_tool_can_have(server, tmp_path, use, name):
    def shape(made: dict[str, Any]) -> dict[str, Any]:
        for written in made.get("content", []):
            if written["type"] == "tool_use":
                written |= {"name": name, "id": "not allowed!", "input": "[]"}
        for written in made.get("choices", []):
            for one in written["message"].get("tool_calls", []):
                one["function"]["name"] = name
        return made

    server.shape = shape
    server.script = lambda question, results, times: (r"\boxed{4}", None) if results else next_step(question, [])
    if use == "anthropic":
        server.script = lambda question, results, times: (
            (r"\boxed{4}", None) if len(results) == 1 else next_step(question, [])
        )
    (found,) = shown(asked(use, tmp_path, server), 1)
    assert found.correct
    assert found.trajectory is not None
    assert found.trajectory.calls[0].state in (CallState.MALFORMED, CallState.UNKNOWN_TOOL)


@pytest.mark.parametrize(
    "calls", [{"function": {"name": "double", "arguments": "{}"}}, "double(1)", [None], ["x"], [[]]]
)
def test_calls_of_any_shape_are_calls(server, tmp_path, calls):
    def shape(made: dict[str, Any]) -> dict[str, Any]:
        if "tool_calls" in made["choices"][0]["message"]:
            made["choices"][0]["message"]["tool_calls"] = calls
        return made

    server.shape = shape
    server.script = lambda question, results, times: (r"\boxed{4}", None) if results else next_step(question, [])
    (found,) = shown(asked("openai", tmp_path, server), 1)
    assert found.correct
    assert found.trajectory is not None
    assert len(found.trajectory.calls) == 1


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.characters(categories=["Cs"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
WORDS = st.sampled_from(["", " ", "words", None, "\ud800"]) | ANY
CALLS = st.fixed_dictionaries(
    {"function": st.fixed_dictionaries({"name": ANY, "arguments": ANY | st.just('{"n": 1}')}) | ANY},
    optional={"id": ANY, "type": ANY},
)
BLOCKS = st.fixed_dictionaries({"type": st.just("text")}, optional={"text": WORDS}) | st.fixed_dictionaries(
    {"type": st.just("tool_use")}, optional={"id": ANY, "name": ANY, "input": ANY}
)


def results_of(said: Message) -> list[Message]:
    return [tool_result(ToolResult(name=made.name, content="4", ok=False)) for made in said.tool_calls] or [user("?")]


@given(st.lists(st.tuples(WORDS, st.lists(CALLS, max_size=3) | ANY), min_size=1, max_size=3))
def test_any_turns_of_chat_completions_make_a_valid_history(turns):
    body = OPENAI.with_messages(OPENAI.opening({}), [system("Be exact."), user("Go.")])
    for content, calls in turns:
        reply = {"choices": [{"message": {"role": "assistant", "content": content, "tool_calls": calls}}]}
        said = OPENAI.read(reply).message
        body = OPENAI.with_messages(OPENAI.with_reply(body, reply), results_of(said))
        check_openai(body["messages"])


@given(st.lists(st.lists(BLOCKS, max_size=3), min_size=1, max_size=3))
def test_any_turns_of_messages_make_a_valid_history(turns):
    body = ANTHROPIC.with_messages(ANTHROPIC.opening({}), [system("Be exact."), user("Go.")])
    for blocks in turns:
        said = ANTHROPIC.read({"content": blocks}).message
        body = ANTHROPIC.with_messages(ANTHROPIC.with_reply(body, {"content": blocks}), results_of(said))
        check_anthropic(body["messages"])


def a_history() -> list[Message]:
    results = [tool_result(ToolResult(name="look", content=text)) for text in ("1", "2")]
    return [
        system("Be exact."),
        user("Look."),
        assistant(calls=[call("look", at="a"), call("a tool", at="b")]),
        *results,
        assistant("Seen."),
        user("And now?"),
        assistant("Once more.", calls=[call("look", at="c")]),
        user("Well?"),
        assistant(""),
        user(""),
    ]


def test_a_history_that_a_problem_brings_keeps_its_calls():
    body = OPENAI.with_messages(OPENAI.opening({}), a_history())
    check_openai(body["messages"])
    calls = [made["function"] for message in body["messages"] for made in message.get("tool_calls", [])]
    assert [made["name"] for made in calls] == ["look", "a_tool", "look"]
    assert [json.loads(made["arguments"]) for made in calls] == [{"at": "a"}, {"at": "b"}, {"at": "c"}]
    assert [message["content"] for message in body["messages"] if message["role"] == "tool"][:2] == ["1", "2"]


def test_a_history_that_an_assistant_begins():
    body = ANTHROPIC.with_messages(ANTHROPIC.opening({}), [system("s"), assistant("Hello."), user("Go.")])
    check_anthropic(body["messages"])
    assert body["messages"][1]["content"] == [{"type": "text", "text": "Hello."}]


def test_a_call_in_the_apis_former_form_is_a_call(server, tmp_path):
    def shape(made: dict[str, Any]) -> dict[str, Any]:
        message = made["choices"][0]["message"]
        for one in message.pop("tool_calls", []):
            message["function_call"] = one["function"]
        return made

    server.shape = shape
    (found,) = shown(asked("openai", tmp_path, server), 1)
    assert (found.correct, found.tools_used) == (True, ("double", "double"))


def test_a_history_that_a_problem_brings_keeps_its_speakers():
    body = ANTHROPIC.with_messages(ANTHROPIC.opening({}), a_history())
    check_anthropic(body["messages"])
    assert body["system"] == "Be exact."
    said = {
        role: [
            block["text"] for m in body["messages"] if m["role"] == role for block in m["content"] if "text" in block
        ]
        for role in ("user", "assistant")
    }
    assert said["assistant"][:2] == ["Seen.", "Once more."]
    assert said["user"][:3] == ["Look.", "And now?", "Well?"]


def broken_double(n: int) -> int:
    """Double a number.

    Args:
        n: the number.
    """
    return 2 * n + 1


def played_with(server: ChatServer, folder: Path, double: Any, count: int, **options: Any) -> list[Demonstration]:
    double.__name__ = "double"
    made = replace(context(folder), toolbox=Toolbox([FunctionTools([double])]))
    values = {"model": "m", "url": f"{server.url}/v1", "cache": "a", "when_none": "show", **options}
    return shown(REGISTRY.build("teachers", ComponentSpec(use="openai", options=values), made), count)


def test_a_mended_tool_is_asked_and_so_is_the_server_where_the_dialogue_differs(server, tmp_path):
    wrong = played_with(server, tmp_path, broken_double, 2)
    assert [(d.correct, d.trajectory.answer if d.trajectory else None) for d in wrong] == [(False, "7"), (False, "11")]
    before = len(server.asked)

    runs: list[int] = []

    def mended(n: int) -> int:
        """Double a number.

        Args:
            n: the number.
        """
        runs.append(n)
        return 2 * n

    found = played_with(server, tmp_path, mended, 2)
    assert [d.correct for d in found] == [True, True]
    assert [m.content for m in found[1].trajectory.messages if m.role == "tool"] == ["4", "8"]  # type: ignore[union-attr]
    # the first turns are known; what follows another result is not
    assert len(server.asked) - before == 4
    # once more: nothing is asked, all is the same, and the tools were run all the same
    once = sorted(runs)
    assert played_with(server, tmp_path, mended, 2) == found
    assert len(server.asked) - before == 4
    assert sorted(runs[len(once) :]) == once


def test_a_tool_with_a_memory_of_its_own_is_asked_again_as_well(server, tmp_path):
    count = iter(range(100))

    def counting(n: int) -> int:
        """Double a number.

        Args:
            n: the number.
        """
        return 2 * n + 10 * next(count)

    played_with(server, tmp_path, counting, 1)
    before = len(server.asked)
    (again,) = played_with(server, tmp_path, counting, 1)
    assert len(server.asked) - before == 2
    assert again.trajectory is not None
    assert [m.content for m in again.trajectory.messages if m.role == "tool"] == ["22", "74"]


def test_the_limits_of_episodes_are_those_of_now(server, tmp_path):
    assert shown(asked("openai", tmp_path, server), 1)[0].correct
    (short,) = shown(asked("openai", tmp_path, server, max_turns=1), 1)
    assert (short.correct, len(short.tools_used)) == (False, 1)
    assert len(server.asked) == 3
