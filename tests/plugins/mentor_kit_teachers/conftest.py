"""A chat server on this machine, and keys for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chat_servers import KEY, ChatServer, serving


@pytest.fixture
def server() -> Iterator[ChatServer]:
    made = ChatServer()
    with serving(made):
        yield made


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
