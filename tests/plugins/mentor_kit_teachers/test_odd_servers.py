"""Servers that are odd at one dialogue, or at all: what ends one episode, and what ends the run."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_servers import ChatServer
from doubling import Doubling, shown, teacher
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_teachers.api_protocols import token_count
from mentor_kit_teachers.faults import words

from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import MentorKitError
from mentor_kit.core.task import TRAIN
from mentor_kit.core.trajectory import Ending
from mentor_kit.rollout import run_async

RETRY = {"first_wait": 0.01, "longest_wait": 1.0, "timeout": 20.0, "retries": 1}


pytestmark = pytest.mark.usefixtures("key")


def asked(use: str, folder: Path, server: ChatServer, **options: Any) -> Any:
    url = server.url if use == "anthropic" else f"{server.url}/v1"
    defaults = {"model": "m", "url": url, "cache": "answers.sqlite", "retry": RETRY, "when_none": "show"}
    return teacher(use, folder, **(defaults | options))


def of(body: dict[str, Any], number: int) -> bool:
    """Whether a request is about that problem."""
    return f"Double {number} twice." in json.dumps(body["messages"])


def begun(body: dict[str, Any]) -> bool:
    return any(message["role"] == "assistant" for message in body["messages"])


def answer(content: Any = r"\boxed{0}", **choice: Any) -> bytes:
    """An answer as an odd server writes it."""
    made = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}, **choice}
    return json.dumps({"object": "chat.completion", "choices": [made]}).encode()


def only_two_is_lost(found: list[Demonstration], ending: Ending, reason: str) -> None:
    assert [(d.problem_id, d.correct) for d in found] == [("d1", True), ("d2", False), ("d3", True), ("d4", True)]
    lost = found[1].trajectory
    assert lost is not None
    assert lost.ending is ending
    assert reason in lost.reason
    assert "\n" not in lost.reason


REFUSALS = [
    ("vLLM", 400, {"object": "error", "message": "Expecting ',' delimiter", "type": "BadRequestError", "code": 400}),
    ("SGLang", 400, {"object": "error", "message": "Expecting ',' delimiter", "code": 400}),
    ("Ollama", 400, {"error": {"message": "Expecting ',' delimiter", "type": "invalid_request_error", "param": None}}),
    ("Ollama of old", 400, {"error": "Expecting ',' delimiter"}),
    ("LM Studio", 400, {"error": "Expecting ',' delimiter"}),
    ("OpenAI", 400, {"error": {"message": "Expecting ',' delimiter", "code": None}}),
    ("Gemini", 400, [{"error": {"code": 400, "message": "Expecting ',' delimiter", "status": "INVALID_ARGUMENT"}}]),
    ("FastAPI", 422, {"detail": [{"loc": ["body", "messages", 2], "msg": "Expecting ',' delimiter", "type": "x"}]}),
    ("FastAPI, a word", 422, {"detail": "Expecting ',' delimiter"}),
    ("FastAPI, deep", 400, {"detail": {"errors": [[{"msg": "Expecting ',' delimiter"}]]}}),
    ("a string", 400, "Expecting ',' delimiter"),
    ("a proxy", 413, "<html><head><title>Expecting ',' delimiter</title></head><body>nginx</body></html>"),
    ("plain text", 400, b"Expecting ',' delimiter\r\n"),
    ("half JSON", 400, b'{"error": {"message": "Expecting \',\' delimiter'),
]


@pytest.mark.spread(9)
@pytest.mark.parametrize("use", ["openai", "anthropic"])
@pytest.mark.parametrize(("status", "body"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_a_dialogue_that_is_refused_ends_its_own_episode_with_the_reason(server, tmp_path, use, status, body):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    content = body.encode() if isinstance(body, str) and body.startswith("<") else content
    server.odd = lambda body: (status, content) if of(body, 2) and begun(body) else None
    made = asked(use, tmp_path, server)
    only_two_is_lost(shown(made, 4), Ending.REFUSED, "Expecting ',' delimiter")
    assert made.account()["refused"] == 1


def test_a_refusal_without_a_word_has_its_status_as_reason(server, tmp_path):
    server.odd = lambda body: (422, b"") if of(body, 2) and begun(body) else None
    only_two_is_lost(shown(asked("openai", tmp_path, server), 4), Ending.REFUSED, "HTTP 422: Unprocessable")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "request (4267 tokens) exceeds the available context size (4096 tokens), try increasing it"),
        (400, "Range of input length should be [1, 30720]"),
        (400, "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"),
        (413, "prompt is too long: 205000 tokens > 200000 maximum"),
        (500, "Context size has been exceeded."),
    ],
)
def test_too_long_in_many_words(server, tmp_path, status, message):
    content = json.dumps({"error": {"message": message}}).encode()
    server.odd = lambda body: (status, content) if of(body, 2) and begun(body) else None
    only_two_is_lost(shown(asked("openai", tmp_path, server), 4), Ending.CONTEXT_FULL, message)


@pytest.mark.spread
@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_first_request_that_is_refused_is_its_own_where_any_other_is_answered(server, tmp_path, concurrency, status):
    # problem 1 is asked first, before anything was answered
    server.odd = lambda body: (status, b'{"detail": "not this one"}') if of(body, 1) else None
    server.delay = 0.02
    found = shown(asked("openai", tmp_path, server, concurrency=concurrency, attempts=2), 3)
    assert [(d.problem_id, d.correct) for d in found] == [("d1", False)] * 2 + [("d2", True), ("d3", True)]
    # the next run has that problem alone: that it is not answered is known to be its own fault
    (again, _) = shown(asked("openai", tmp_path, server, attempts=2), 1)
    assert again.trajectory is not None
    assert again.trajectory.ending is Ending.REFUSED


@pytest.mark.parametrize("count", [1, 3, 40])
def test_where_no_request_was_ever_answered_the_recipe_is_at_fault(server, tmp_path, count):
    server.odd = lambda body: (400, b'{"error": {"message": "m does not support tools"}}')
    with pytest.raises(MentorKitError, match="HTTP 400: m does not support tools"):
        shown(asked("openai", tmp_path, server), count)
    assert len(server.asked) <= 8 + 8
    with pytest.raises(MentorKitError, match="m does not support tools"):
        run_async(asked("openai", tmp_path, server).rollouts(Doubling().problems(TRAIN, 0, count), 1))


def test_other_parameters_are_to_be_answered_first(server, tmp_path):
    shown(asked("openai", tmp_path, server), 1)
    server.odd = lambda body: (400, b'{"error": "unknown: top_q"}') if "top_q" in body else None
    with pytest.raises(MentorKitError, match="top_q"):
        shown(asked("openai", tmp_path, server, parameters={"top_q": 1}), 1)


NO_MONEY = [
    (400, "Your credit balance is too low to access the Anthropic API."),
    (429, "You exceeded your current quota"),
    (401, "no such key"),
    (402, "pay first"),
    (403, "not yours"),
    (404, "the model is gone"),
]


@pytest.mark.parametrize(("status", "message"), NO_MONEY)
def test_what_concerns_everybody_ends_the_run_in_the_midst_of_a_dialogue_too(server, tmp_path, status, message):
    content = json.dumps({"error": {"message": message}}).encode()
    server.odd = lambda body: (status, content) if of(body, 2) and begun(body) else None
    with pytest.raises(MentorKitError, match=message):
        shown(asked("openai", tmp_path, server), 4)


OWN: list[tuple[str, Callable[[], tuple[int, bytes]], str]] = [
    ("500", lambda: (500, b'{"error": {"message": "template failed"}}'), "template failed"),
    ("an error with 200", lambda: (200, b'{"error": {"message": "no provider"}}'), "no provider"),
    ("an error that is a string", lambda: (200, b'{"error": "no provider"}'), "no provider"),
    ("400 inside of 200", lambda: (200, b'{"error": {"message": "bad turn", "code": 400}}'), "HTTP 400: bad turn"),
    ("vLLM's of old", lambda: (200, b'{"object": "error", "message": "bad turn", "code": 400}'), "bad turn"),
    ("an error in the choice", lambda: (200, answer(error={"code": 500, "message": "it fell"})), "it fell"),
    ("no choices", lambda: (200, b'{"choices": []}'), "no choices"),
    ("no message", lambda: (200, b'{"choices": [{"finish_reason": "stop"}]}'), "no message"),
    ("null", lambda: (200, b"null"), "NoneType"),
    ("a list", lambda: (200, b"[1]"), "list"),
    ("nothing", lambda: (200, b""), "nothing"),
    ("half", lambda: (200, answer()[:40]), "choices"),
    ("a stream", lambda: (200, b'data: {"choices": [{"delta": {}}]}\n\ndata: [DONE]\n\n'), "data:"),
    ("a web page", lambda: (200, b"<!DOCTYPE html><html><title>Sign in</title></html>"), "a web page: Sign in"),
    ("broken off", lambda: (200, answer("half", finish_reason="abort")), "abort"),
    ("nested", lambda: (200, answer([[]]).replace(b"[[]]", b"[" * 400 + b"]" * 400)), "nested deeper"),
    ("nested beyond reading", lambda: (200, b"[" * 10**5), "no answer"),
    ("content filter", lambda: (200, answer(None, finish_reason="content_filter")), "content filter"),
]


@pytest.mark.spread(9)
@pytest.mark.parametrize(("respond", "reason"), [case[1:] for case in OWN], ids=[case[0] for case in OWN])
def test_one_dialogue_that_never_gets_an_answer_ends_alone(server, tmp_path, respond, reason):
    server.odd = lambda body: respond() if of(body, 2) and begun(body) else None
    only_two_is_lost(shown(asked("openai", tmp_path, server), 4), Ending.REFUSED, reason)


def test_several_attempts_at_one_odd_dialogue_are_one_odd_dialogue(server, tmp_path):
    server.odd = lambda body: (500, b"template failed") if of(body, 2) and begun(body) else None
    found = shown(asked("openai", tmp_path, server, attempts=4, concurrency=1), 3)
    assert [d.problem_id for d in found if not d.correct] == ["d2"] * 4
    assert [d.problem_id for d in found if d.correct] == ["d1", "d3"]


def test_a_dialogue_that_is_never_answered_in_time_ends_alone(server, tmp_path):
    def slow(body: dict[str, Any]) -> None:
        if of(body, 2) and begun(body):
            time.sleep(1.5)

    server.odd = slow
    found = shown(asked("openai", tmp_path, server, retry={**RETRY, "timeout": 0.7}), 4)
    only_two_is_lost(found, Ending.REFUSED, "")


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_that_breaks_down_ends_the_run(server, tmp_path, status):
    server.odd = lambda body: (status, b"down") if begun(body) else None
    with pytest.raises(MentorKitError, match=f"HTTP {status}: down"):
        shown(asked("openai", tmp_path, server, concurrency=1), 8)


@pytest.mark.parametrize("use", ["openai", "anthropic"])
def test_a_turn_that_is_cut_ends_with_its_length(server, tmp_path, use):
    cut = {"choices": {"finish_reason": "length"}, "content": {"stop_reason": "model_context_window_exceeded"}}

    def shape(made: dict[str, Any]) -> dict[str, Any]:
        made.get("choices", [made])[0].update(cut["choices" if "choices" in made else "content"])
        return made

    server.shape = shape
    (found,) = shown(asked(use, tmp_path, server), 1)
    assert found.trajectory is not None
    assert found.trajectory.ending is Ending.LENGTH


def test_a_model_that_refuses_ends_its_episode(server, tmp_path):
    server.shape = lambda made: made | {"stop_reason": "refusal"}
    (found,) = shown(asked("anthropic", tmp_path, server), 1)
    assert found.trajectory is not None
    assert (found.trajectory.ending, found.trajectory.answer) == (Ending.REFUSED, None)


@pytest.mark.parametrize(
    ("use", "path", "status", "content", "hint"),
    [
        ("openai", "", 404, b"404 page not found", r"/v1"),
        ("openai", "/api", 405, b'{"detail": "Method Not Allowed"}', r"/api/v1"),
        ("openai", "", 200, b'{"error": "Unexpected endpoint or method. (POST /chat/completions)"}', r"/v1"),
        ("openai", "/chat", 200, b"<!doctype html><title>A chat</title>", r"/chat/v1"),
        ("anthropic", "/v1", 404, b'{"detail": "Not Found"}', r"is added to it"),
    ],
)
def test_a_url_that_is_not_where_the_api_begins(server, tmp_path, use, path, status, content, hint):
    server.odd = lambda body: (status, content)
    with pytest.raises(MentorKitError) as caught:
        shown(asked(use, tmp_path, server, url=server.url + path), 1)
    assert hint in str(caught.value.hint)


USAGES: list[Any] = [
    {"prompt_tokens_details": [{"modality": "TEXT", "token_count": 10}]},
    {"prompt_tokens_details": "none"},
    {"prompt_tokens_details": {"cached_tokens": None}},
    {"prompt_tokens_details": {"cached_tokens": [1]}},
    {"prompt_tokens_details": {"cached_tokens": 10**9}},
    {"prompt_tokens": "10", "completion_tokens": "5"},
    {"prompt_tokens": 10.0, "completion_tokens": {"text": 5}},
    {"prompt_tokens": True},
    {"prompt_tokens": -1},
    {"prompt_tokens": 10**30},
    {"completion_tokens": None},
]


@pytest.mark.spread(9)
@pytest.mark.parametrize("usage", [*USAGES, None, [], "many", 7], ids=lambda usage: json.dumps(usage)[:50])
@pytest.mark.parametrize("use", ["openai", "anthropic"])
def test_a_usage_of_any_shape_is_no_reason_to_lose_an_answer(server, tmp_path, use, usage):
    def shape(made: dict[str, Any]) -> dict[str, Any]:
        given = usage
        if isinstance(usage, dict):
            names = (
                {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"} if use == "anthropic" else {}
            )
            given = made["usage"] | {names.get(name, name): value for name, value in usage.items()}
            given |= {"cache_read_input_tokens": usage.get("prompt_tokens_details")} if use == "anthropic" else {}
        return made | {"usage": given}

    server.shape = shape
    made = asked(use, tmp_path, server, price={"input": 1.0, "output": 1.0, "cached": 0.1})
    (found,) = shown(made, 1)
    assert found.correct
    assert made.account()["cost"] > 0
    rows = sqlite3.connect(tmp_path / "answers.sqlite").execute("SELECT input_tokens, cost FROM answers").fetchall()
    assert len(rows) == len(server.asked) == 3
    assert all(0 < sent < 10**6 and cost > 0 for sent, cost in rows)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "detail", "msg", "loc", "x"]), inner, max_size=3)
    ),
)


@given(JSON | st.text(alphabet="<>/htmlbody&; \n", max_size=60))
def test_any_body_has_its_words_in_one_line(body):
    for text in (json.dumps(body), str(body)):
        said = words(text)
        assert len(said) <= 300
        assert len(said.splitlines()) <= 1


@given(JSON)
def test_a_count_is_a_number_of_tokens_or_none(value):
    found = token_count(value)
    assert found is None or (type(found) is int and 0 <= found < 2**63)


def test_counts_as_servers_write_them():
    assert [token_count(value) for value in (0, 7, "7", 7.0)] == [0, 7, 7, 7]
    assert [token_count(value) for value in (True, -1, "-1", "7.5", 7.5, "", None, [], float("nan"), 2**63)] == [
        None
    ] * 10


def test_a_reason_is_told_and_many_are_counted(server, tmp_path, caplog):
    server.odd = lambda body: (400, b'{"detail": "odd"}') if begun(body) else None
    made = asked("openai", tmp_path, server)
    assert [d.trajectory.reason for d in shown(made, 9) if d.trajectory] == ["HTTP 400: odd"] * 9
    assert made.account()["refused"] == 9
    told = [record.getMessage() for record in caplog.records if "HTTP 400: odd" in record.getMessage()]
    assert 1 <= len(told) < 9


def test_the_same_dialogues_are_played_after_all(server, tmp_path):
    server.odd = lambda body: (400, b"{}") if of(body, 2) and begun(body) else None
    assert not shown(asked("openai", tmp_path, server), 2)[1].correct
    # refusals are not kept, answers are: once the server takes the dialogue, it goes on from where it was
    server.odd = lambda body: None
    before = len(server.asked)
    assert shown(asked("openai", tmp_path, server), 2)[1].correct
    assert len(server.asked) - before == 2
