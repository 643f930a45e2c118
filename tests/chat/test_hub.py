"""The hub that answers, answers with an error, or does not answer; a server on this machine stands in for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from mentor_kit.chat import load_tokenizer
from mentor_kit.chat.hub import hub_answers
from mentor_kit.core.errors import MissingError


class Handler(BaseHTTPRequestHandler):
    asked: list[str]

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    Handler.asked = []
    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lambda: found.serve_forever(0.01))
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    hub_answers.cache_clear()
    yield
    hub_answers.cache_clear()


def test_an_error_is_an_answer_and_it_is_asked_once(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    assert hub_answers()
    assert hub_answers()
    assert len(Handler.asked) == 1


def test_a_model_is_not_waited_for_where_nothing_answers(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = server.server_port
    server.server_close()  # nothing listens there from now on
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    waits: list[float] = []
    here, sleep = threading.current_thread(), time.sleep
    # other threads, such as the one that watches checks, sleep as ever
    monkeypatch.setattr("time.sleep", lambda s: waits.append(s) if threading.current_thread() is here else sleep(s))
    with pytest.raises(MissingError, match="somebody/nothing"):
        load_tokenizer("somebody/nothing")
    # the client sleeps between its attempts
    assert sum(waits) < 1
