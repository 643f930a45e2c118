"""Teachers behind servers, over real sockets, with what servers and networks do wrong."""

from __future__ import annotations

import json
import logging
import socket
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from chat_servers import KEY, ChatServer, FaultyProxy, serving
from doubling import next_step, shown, teacher

from mentor_kit.core.conversation import CallState
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError, MentorKitError, MissingError
from mentor_kit.core.secret import Secret, remember
from mentor_kit.core.trajectory import Ending
from mentor_kit.hooks.registry import ComponentError

RETRY = {"first_wait": 0.01, "longest_wait": 1.0, "timeout": 20.0}


pytestmark = pytest.mark.usefixtures("key")


def openai(folder: Path, server: ChatServer | FaultyProxy, **options: Any):
    defaults = {"model": "m", "url": f"{server.url}/v1", "cache": "answers.sqlite", "retry": RETRY}
    return teacher("openai", folder, **(defaults | options))


def anthropic(folder: Path, server: ChatServer | FaultyProxy, **options: Any):
    defaults = {"model": "m", "url": server.url, "cache": "answers.sqlite", "retry": RETRY}
    return teacher("anthropic", folder, **(defaults | options))


@pytest.mark.parametrize("build", [openai, anthropic])
def test_a_model_behind_a_server_solves_problems_with_the_real_tools(build, server, tmp_path):
    asked = build(tmp_path, server, price={"input": 2.0, "output": 10.0})
    found = shown(asked, 3)
    assert [d.problem_id for d in found] == ["d1", "d2", "d3"]
    assert all(d.correct and d.tools_used == ("double", "double") for d in found)
    trajectory = found[2].trajectory
    assert trajectory is not None
    assert trajectory.ending is Ending.ANSWERED
    assert [m.role for m in trajectory.messages] == ["system", "user"] + ["assistant", "tool"] * 2 + ["assistant"]
    assert [m.content for m in trajectory.messages if m.role == "tool"] == ["6", "12"]
    assert {m.reasoning for m in trajectory.turns} == {"Let me think."}
    assert [c.state for c in trajectory.calls] == [CallState.EXECUTED] * 2
    sent, received = server.tokens
    account = asked.account()
    assert (account["requests"], account["input_tokens"], account["output_tokens"]) == (9, sent, received)
    assert account["cost"] == pytest.approx((2 * sent + 10 * received) / 1e6)
    assert sum(d.provenance["cost"] for d in found) == pytest.approx(account["cost"])
    assert found[0].provenance["source"].endswith(" m")


@pytest.mark.parametrize("build", [openai, anthropic])
def test_nothing_is_asked_twice(build, server, tmp_path):
    price = {"input": 1.0, "output": 1.0}
    first = shown(build(tmp_path, server, price=price), 4)
    asked = len(server.bodies)
    again = build(tmp_path, server, price=price)
    assert shown(again, 4) == first
    assert again.account()["cost_reused"] == pytest.approx(sum(server.tokens) / 1e6)
    assert len(server.bodies) == asked
    assert again.account()["requests"] == 0
    shown(build(tmp_path, server), 5)
    assert len(server.bodies) == asked + 3
    shown(build(tmp_path, server, seed=1), 1)  # another seed asks anew
    assert len(server.bodies) == asked + 6


def test_what_a_request_is_made_of(server, tmp_path):
    options = {"temperature": 0.3, "max_tokens": 77, "parallel_calls": False, "parameters": {"top_p": 0.9}}
    shown(openai(tmp_path, server, **options), 1)
    shown(anthropic(tmp_path, server, **options), 1)
    first, second = server.bodies[0], server.bodies[3]
    assert [message["role"] for message in first["messages"]] == ["system", "user"]
    rest = {name: value for name, value in first.items() if name not in ("messages", "tools")}
    assert rest == {"model": "m", "temperature": 0.3, "max_tokens": 77, "parallel_tool_calls": False, "top_p": 0.9}
    assert second["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert (second["temperature"], second["max_tokens"], second["top_p"]) == (0.3, 77, 0.9)


def test_attempts_until_right_ones_are_there(server, tmp_path):
    def sometimes(question: str, results: list[str], times: int):
        # the first time this dialogue is heard the model guesses; afterwards it works
        return (r"\boxed{0}", None) if times == 0 and not results else next_step(question, results)

    server.script = sometimes
    found = shown(openai(tmp_path, server, attempts=3), 2)
    assert [(d.problem_id, d.correct, d.provenance["attempt"]) for d in found] == [("d1", True, 1), ("d2", True, 1)]
    found = shown(openai(tmp_path, server, attempts=4, references=2), 2)
    assert [(d.problem_id, d.provenance["attempt"]) for d in found] == [("d1", 1), ("d1", 2), ("d2", 1), ("d2", 2)]
    asked = openai(tmp_path, server, attempts=4, references=2)
    shown(asked, 2)
    account = asked.account()
    assert (account["attempts"], account["right_attempts"], account["unsolved"]) == (6, 4, 0)


@pytest.mark.parametrize(("when_none", "count"), [("skip", 0), ("show", 2)])
def test_when_no_attempt_is_right(server, tmp_path, when_none, count):
    server.script = lambda question, results, times: (r"\boxed{0}", None)
    asked = openai(tmp_path, server, attempts=2, when_none=when_none)
    found = shown(asked, 1)
    assert [d.correct for d in found] == [False] * count
    assert asked.account()["unsolved"] == 1


def test_a_recipe_may_insist_on_a_right_attempt_or_take_another_teacher(server, tmp_path):
    server.script = lambda question, results, times: (
        (r"\boxed{0}", None) if question.startswith("Double 1 ") else next_step(question, results)
    )
    server.delay = 0.05
    with pytest.raises(DataError, match="'d1' in none of 2 attempts"):
        shown(openai(tmp_path, server, attempts=2, when_none="fail"), 2)
    kept = sqlite3.connect(tmp_path / "answers.sqlite").execute("SELECT COUNT(*) FROM answers").fetchone()[0]
    assert kept == len(server.answered) >= 4  # what was under way for the other problem was received
    made = Demonstration(problem_id="d1", teacher="someone", tools_used=("double",), provenance={"attempt": 9})
    (tmp_path / "demonstrations.jsonl").write_text(made.to_json() + "\n")
    fallback = {"use": "recorded", "with": {"path": "demonstrations.jsonl"}}
    found = shown(openai(tmp_path, server, attempts=2, fallback=fallback), 2)
    assert [(d.problem_id, d.teacher) for d in found] == [("d1", "someone"), ("d2", "openai")]


FAULTS = ["reset", "429", "500", "half", "garbage", "empty", "lost", "ok", "half", "500", "429", "garbage", "reset"]


@pytest.mark.parametrize("build", [openai, anthropic])
def test_every_fault_of_a_network_passes_and_nothing_is_paid_twice(build, server, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    proxy = FaultyProxy(server, FAULTS)
    retry = {**RETRY, "retries": len(FAULTS)}  # by chance one request may meet them all
    with serving(proxy):
        asked = build(tmp_path, proxy, concurrency=2, price={"input": 1.0, "output": 1.0}, retry=retry)
        found = shown(asked, 4)
    assert [d.correct for d in found] == [True] * 4
    assert [fault for fault, _ in proxy.seen[: len(FAULTS)]] == FAULTS
    account = asked.account()
    assert [account["input_tokens"], account["output_tokens"]] == server.tokens
    assert account["requests"] == len(server.answered) == 12
    assert KEY.encode() not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    out, err = capfd.readouterr()
    assert KEY not in caplog.text + out + err


def test_a_server_that_says_when_to_come_back_is_obeyed_by_all_requests(server, tmp_path):
    proxy = FaultyProxy(server, ["429"])
    with serving(proxy):
        shown(openai(tmp_path, proxy, concurrency=1), 1)
    (_, refused), (_, next_time) = proxy.seen[:2]
    assert next_time - refused >= 0.19


def test_slow_bytes_count_as_no_answer(server, tmp_path):
    proxy = FaultyProxy(server, ["slow"])
    with serving(proxy):
        started = time.monotonic()
        found = shown(openai(tmp_path, proxy, retry={**RETRY, "timeout": 1.0}), 1)
    assert found[0].correct
    # a byte every 50 ms: a time limit between bytes alone would wait for five seconds
    assert time.monotonic() - started < 4.5


@pytest.mark.parametrize("fault", ["reset", "429", "500", "half", "garbage", "empty", "lost"])
def test_a_fault_that_stays_is_an_error_that_says_what_to_do(server, tmp_path, fault):
    proxy = FaultyProxy(server, [fault] * 50)
    with serving(proxy), pytest.raises(MentorKitError, match=r"\b3 tries") as caught:
        shown(openai(tmp_path, proxy, retry={**RETRY, "retries": 2}), 2)
    assert "resume" in str(caught.value)
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value.__context__)


def test_a_refused_connection(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        with pytest.raises(MentorKitError, match="no connection"):
            shown(teacher("openai", tmp_path, model="m", url=url, cache="a", retry={**RETRY, "retries": 1}), 1)


def test_a_server_that_wants_a_long_rest_ends_the_run(server, tmp_path):
    server.fixed = (429, {"Retry-After": "3600"}, {"error": {"message": "tomorrow"}})
    with pytest.raises(MentorKitError, match=r"\b3600 s\b"):
        shown(openai(tmp_path, server), 1)


@pytest.mark.parametrize(("status", "hint"), [(401, "key is wrong"), (404, "teacher.with.model")])
def test_what_a_server_refuses_is_not_tried_again(server, tmp_path, status, hint):
    server.fixed = (status, {}, {"error": {"message": f"no: {KEY}"}})
    with pytest.raises(MentorKitError, match=f"HTTP {status}") as caught:
        shown(openai(tmp_path, server), 1)
    assert hint in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_dialogue_that_is_too_long_ends_that_episode_alone(server, tmp_path):
    message = {"message": "too long", "code": "context_length_exceeded"}
    server.fixed = (400, {}, {"error": message})
    found = shown(openai(tmp_path, server, when_none="show"), 2)
    assert [d.trajectory.ending for d in found if d.trajectory] == [Ending.CONTEXT_FULL] * 2


def test_when_one_request_fails_for_good_what_is_under_way_is_kept(server, tmp_path):
    server.delay = 0.3
    server.odd = lambda body: (403, b"") if "Double 2 " in str(body) else None
    with pytest.raises(MentorKitError, match="HTTP 403"):
        shown(openai(tmp_path, server), 4)
    received = len(server.answered)
    assert received == 3  # the first turns of the other three
    server.odd = lambda body: None
    again = openai(tmp_path, server)
    assert [d.correct for d in shown(again, 4)] == [True] * 4
    assert again.account()["requests"] == 12 - received


def test_the_limit_is_never_passed_and_counts_earlier_runs(server, tmp_path):
    price = {"input": 1000.0, "output": 1000.0, "limit": 2.0}
    options = {"price": price, "max_tokens": 100, "concurrency": 4}
    with pytest.raises(MentorKitError, match=r"\$2"):
        shown(openai(tmp_path, server, **options), 20)
    spent = sum(server.tokens) / 1000
    assert 0.5 < spent <= 2.0
    again = openai(tmp_path, server, **options)
    with pytest.raises(MentorKitError, match=f"\\${spent:.4f} in earlier runs"):
        shown(again, 20)
    assert sum(server.tokens) / 1000 <= 2.0


def test_not_more_requests_at_once_than_allowed(server, tmp_path):
    server.delay = 0.05
    shown(openai(tmp_path, server, concurrency=3), 8)
    assert server.busiest == 3


def test_a_server_that_counts_no_tokens_is_counted_by_length(server, tmp_path):
    server.shape = lambda answer: {name: value for name, value in answer.items() if name != "usage"}
    asked = openai(tmp_path, server)
    shown(asked, 1)
    assert asked.account()["requests_with_estimated_tokens"] == 3
    assert asked.account()["input_tokens"] > 100


def test_arguments_that_are_no_json_are_a_malformed_call_with_a_result(server, tmp_path):
    def broken(answer: dict[str, Any]) -> dict[str, Any]:
        for call in answer["choices"][0]["message"].get("tool_calls", []):
            call["function"]["arguments"] = '{"n": '
        return answer

    server.shape = broken
    server.script = lambda question, results, times: next_step(question, [])
    (found,) = shown(openai(tmp_path, server, when_none="show", max_turns=2), 1)
    assert found.trajectory is not None
    assert [(c.name, c.state) for c in found.trajectory.calls] == [("double", CallState.MALFORMED)] * 2
    assert "malformed call" in found.trajectory.messages[3].content


def test_calls_that_a_server_leaves_in_the_content_are_read_there(server, tmp_path):
    def in_content(answer: dict[str, Any]) -> dict[str, Any]:
        message = answer["choices"][0]["message"]
        for made in message.pop("tool_calls", []):
            arguments = json.loads(made["function"]["arguments"])
            message["content"] += f"<tool_call>{json.dumps({'name': 'double', 'arguments': arguments})}</tool_call>"
        return answer

    server.shape = in_content
    server.numbered = False
    (found,) = shown(openai(tmp_path, server, read_calls="hermes"), 1)
    assert found.correct
    assert found.tools_used == ("double", "double")
    sent = server.bodies[2]["messages"]
    assert [message["role"] for message in sent] == ["system", "user"] + ["assistant", "tool"] * 2
    assert sent[2]["content"] == 'Step 1.<tool_call>{"name": "double", "arguments": {"n": 1}}</tool_call>'
    with pytest.raises(ComponentError, match="'hermes'"):
        openai(tmp_path, server, read_calls="hermse")


def test_a_key_comes_from_the_environment_alone(server, tmp_path, monkeypatch):
    with pytest.raises(ComponentError, match=r"stands in no recipe") as caught:
        openai(tmp_path, server, key=KEY)
    assert KEY not in str(caught.value)
    remember(KEY, "${env:MINE}")
    monkeypatch.delenv("OPENAI_API_KEY")
    assert shown(openai(tmp_path, server, key=Secret(KEY, "${env:MINE}")), 1)[0].correct
    with pytest.raises(MissingError, match="OPENAI_API_KEY"):
        teacher("openai", tmp_path, model="m", cache="a")


def test_a_file_that_is_no_file_of_answers_is_named(server, tmp_path):
    (tmp_path / "answers.sqlite").write_text("something else, and long enough to be looked at" * 50)
    with pytest.raises(DataError, match=r"answers\.sqlite"):
        openai(tmp_path, server)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"references": 2}, "need at least as many attempts"),
        ({"price": {"limit": 1.0}}, "a limit needs the prices"),
        ({"url": "localhost:8000"}, "begins with http"),
        ({"modle": "x"}, "did you mean 'model'"),
    ],
)
def test_wrong_options_are_explained(server, tmp_path, options, fault):
    with pytest.raises(ComponentError, match=fault):
        openai(tmp_path, server, **options)
