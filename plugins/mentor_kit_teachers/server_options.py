"""Options of teachers behind a server. The key is sent to that server only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from mentor_kit.chat.families import families
from mentor_kit.chat.parsing import Parser
from mentor_kit.core.errors import MissingError, did_you_mean
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.secret import refuse_plain, remember
from mentor_kit_teachers.collection import CollectionOptions
from mentor_kit_teachers.retry import RetryOptions
from mentor_kit_teachers.spending import Prices


class ServerOptions(CollectionOptions):
    """Options that all servers share."""

    model: str = Field(min_length=1)
    """The model's name on the server."""
    url: str | None = None
    """Where the API begins, such as http://localhost:8000/v1; the official server if left out."""
    key: str | None = None
    """The key, as `${env:NAME}`; if left out, the variable that the official package reads."""
    temperature: float | None = Field(default=None, ge=0)
    """The server's own if left out. Several attempts with 0 are all the same."""
    max_tokens: int = Field(default=4096, gt=0)
    """Tokens of one turn, reasoning included."""
    max_turns: int | None = Field(default=None, gt=0)
    """Turns of one episode; as `rollout.max_turns` if left out."""
    parallel_calls: bool | None = None
    """Whether a turn may call several tools; the server's own way if left out."""
    parameters: dict[str, Json] = {}
    """Further keys of every request, as the server's API has them, such as `top_p` or `reasoning_effort`."""
    concurrency: int = Field(default=8, gt=0)
    """Requests under way at once."""
    retry: RetryOptions = RetryOptions()
    """Waiting and retries."""
    price: Prices = Prices()
    """Prices of tokens, and the spending limit."""
    cache: Path | None = None
    """The file of answers, relative to the recipe's folder; one in the user's cache folder if left out."""

    _key_is_secret = field_validator("key", mode="before")(refuse_plain)

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url is not None and urlsplit(url).scheme not in ("http", "https"):
            raise ValueError("a URL begins with http:// or https://")
        return url

    def server(self, official: str) -> str:
        """The server without anything private its URL may carry."""
        url = urlsplit(self.url or official)
        port = f":{url.port}" if url.port else ""
        return f"{url.hostname}{port}{url.path.rstrip('/')}"

    def needed_key(self, variable: str) -> str:
        """The key, of the recipe or the environment; `none` for another server without one.

        Raises:
            MissingError: the official server needs one.
        """
        if self.key is not None:
            return str(self.key)
        value = os.environ.get(variable, "")
        if value:
            remember(value, f"${{env:{variable}}}")
            return value
        if self.url is None:
            raise MissingError(
                f"the teacher needs a key, and the environment variable {variable} is not set",
                hint=f"export {variable}=…, or name another variable: `key: ${{env:NAME}}`",
            )
        return "none"


class OpenAIOptions(ServerOptions):
    """The teacher `openai`."""

    token_limit: Literal["auto", "max_tokens", "max_completion_tokens"] = "auto"
    """The server's name of `max_tokens`; auto: max_completion_tokens on OpenAI's own, max_tokens elsewhere."""

    read_calls: str | None = None
    """A family of models (docs/families.md) whose calls are read out of the content, for servers that leave them there,
    such as `hermes` for Qwen behind `transformers serve`."""

    @field_validator("read_calls")
    @classmethod
    def _is_family(cls, name: str | None) -> str | None:
        known = [family.name for family in families()]
        if name is not None and name not in known:
            raise ValueError(f"no family is called {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
        return name

    def parser(self) -> Parser | None:
        """The parser for that family."""
        return next((family.parser(False) for family in families() if family.name == self.read_calls), None)

    def request(self) -> dict[str, Json]:
        """Keys of every request."""
        name = self.token_limit
        if name == "auto":
            name = "max_completion_tokens" if self.url is None else "max_tokens"
        body: dict[str, Json] = {name: self.max_tokens}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.parallel_calls is not None:
            body["parallel_tool_calls"] = self.parallel_calls
        return body | self.parameters


class AnthropicOptions(ServerOptions):
    """The teacher `anthropic`."""

    def request(self) -> dict[str, Json]:
        """Keys of every request."""
        body: dict[str, Json] = {"max_tokens": self.max_tokens}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.parallel_calls is False:
            body["tool_choice"] = {"type": "auto", "disable_parallel_tool_use": True}
        return body | self.parameters
