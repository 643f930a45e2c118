"""The tools `mcp`: those of an MCP server, over stdio or HTTP, by the official client.

The client runs in a worker process, so a server that floods or hangs fails one call, and a server over stdio ends
with its worker. A worker whose server is gone connects again for the next call.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from shutil import which
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from mentor_kit.core.errors import PluginError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.options import ToolOptions
from mentor_kit.core.tool import ToolError
from mentor_kit.core.tool_schema import without_nulls
from mentor_kit.hooks.references import file_fault
from mentor_kit.hooks.registry import BuildContext
from mentor_kit_tools.functions import IsolatedTools
from mentor_kit_tools.limits import Limits
from mentor_kit_tools.names import Prefix, ToolName, named, names_of
from mentor_kit_tools.runner import Runner, closed_on_error

#: Seconds that the client waits for a response, after a call that failed for a reason other than the tool's.
_PROBE_SECONDS = 5.0
#: Pages of a server's list of tools; more are no list.
_MOST_PAGES = 1000


class McpOptions(ToolOptions):
    """The tools of an MCP server."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    command: tuple[str, ...] = ()
    """A server to start, with its arguments, over stdio: `[python, server.py]`. It runs in the recipe's
    folder; `python` is the one that runs mentor-kit."""
    url: str | None = None
    """A server that runs already, over HTTP: `http://localhost:8000/mcp`."""
    headers: dict[str, str] = {}
    """HTTP headers, such as `Authorization: Bearer ${env:TOKEN}`."""
    environment: dict[str, str] = {}
    """Environment variables for the command; of the trainer's own it gets only PATH, HOME and the like."""
    tools: tuple[str, ...] = ()
    """Which of the server's tools, by the server's names; all if left out."""
    leave_out: tuple[str, ...] = ()
    """Which of the server's tools not, by the server's names."""
    prefix: Prefix = ""
    """A prefix of the tools' names, so that two servers may have tools of one name: `shop_`."""
    rename: dict[str, ToolName] = {}
    """Other names for some of the server's tools, by the server's names: `{find/order: find_order}`."""
    state: Literal["shared", "episode"] = "shared"
    """shared: all episodes use the same servers. episode: each has a connection (a server, with `command`) of its
    own."""
    workers: int = Field(default=1, gt=0)
    """Calls that run concurrently; with `command` each is a server of its own."""
    limits: Limits = Limits(seconds=30.0)
    """Limits of one call; memory is for client and server, each."""

    @property
    def tool_names(self) -> list[str]:
        """The names of the tools, where `tools` lists them."""
        chosen = [name for name in self.tools if name not in self.leave_out]
        return list(names_of(chosen, self.prefix, self.rename).values())

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.command) == bool(self.url):
            raise ValueError("give either `command` (a server to start) or `url` (one that runs already)")
        if self.command and self.headers:
            raise ValueError("`headers` are for a `url`; a command gets `environment`")
        return self


def look(options: McpOptions, context: BuildContext) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Whether the command that starts the server is there, and the script that it names; nothing is started."""
    if not options.command:
        return
    folder = context.recipe_folder.resolve()
    word, *arguments = options.command
    here = folder / word
    path = options.environment.get("PATH", os.environ.get("PATH", ""))
    if word != "python" and not here.is_file() and which(word, path=path) is None:
        yield ("command", 0), f"there is no command {word!r}, and no file {here}"
    if arguments and arguments[0].endswith(".py") and (fault := file_fault(arguments[0], folder)):
        yield ("command", 1), fault


def build(options: McpOptions, context: BuildContext) -> IsolatedTools:
    """The tools, with the first connection made.

    Raises:
        PluginError: the server cannot be reached, or lacks a tool.
    """
    folder = context.recipe_folder.resolve()
    command = [sys.executable if word == "python" and not index else word for index, word in enumerate(options.command)]
    setup = {"command": command, "url": options.url, "headers": options.headers, "environment": options.environment}
    server = options.url or " ".join(options.command)
    try:
        runner = Runner(
            f"{__name__}:serve",
            {**setup, "folder": str(folder), "seconds": options.limits.start_seconds},
            limits=options.limits,
            workers=options.workers,
            folder=folder,
        )
    except ToolError as error:
        raise PluginError(
            f"tools mcp: no connection to {server!r}: {error}",
            hint="start the server by hand to see what it says; `url` ends in the server's path, often /mcp",
        ) from None
    origin = f"tools mcp: the server {server!r}"
    with closed_on_error(runner):
        if fault := runner.catalogue["fault"]:
            raise PluginError(f"{origin}: {fault}", hint="this is a fault of the server")
        tools, names = named(
            runner.catalogue["tools"],
            origin,
            tools=options.tools,
            leave_out=options.leave_out,
            prefix=options.prefix,
            rename=options.rename,
        )
    return IsolatedTools(runner, tools, own_process=options.state == "episode", names=names)


def serve(setup: Mapping[str, Json]) -> McpConnection:
    """In the worker: a connection as a program."""
    return McpConnection(setup)


class McpConnection:
    """A `mentor_kit_tools.worker.Program` that forwards calls to an MCP server."""

    def __init__(self, setup: Mapping[str, Json]) -> None:
        self._setup = setup
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="mcp").start()
        self._link = self._connect()
        self.catalogue: Json = self._do(self._link.catalogue(), float(setup["seconds"]))

    def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        if self._link.gone:
            self._do(self._link.close(), _PROBE_SECONDS)
            self._link = self._connect()
        return self._do(self._link.call(name, dict(arguments)), None)

    def _connect(self) -> _Link:
        link = _Link(self._setup)
        self._do(link.open(), float(self._setup["seconds"]))
        return link

    def _do(self, work: Coroutine[Any, Any, Any], seconds: float | None) -> Any:
        done: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return done.result(seconds)


class _Link:
    """An open client; all of it happens in one event loop, and opening and closing in one task, as anyio requires."""

    def __init__(self, setup: Mapping[str, Json]) -> None:
        self._setup = setup
        self._client: Any = None
        self._keeper: asyncio.Task[None] | None = None
        self.gone = False

    async def open(self) -> None:
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(opened))
        await opened

    async def close(self) -> None:
        """Close the client, and the server it started."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])

    async def catalogue(self) -> Json:
        """All tools of the server; `fault` says what is wrong with the list, if anything is."""
        tools: list[Json] = []
        asked: set[str | None] = set()
        cursor: str | None = None
        # a server may give the same cursor for ever: what it has listed by then is all
        while cursor not in asked:
            if len(asked) == _MOST_PAGES:
                return {"tools": [], "fault": f"its list of tools does not end after {_MOST_PAGES} pages"}
            asked.add(cursor)
            try:
                page = await self._client.list_tools(cursor=cursor)
            except Exception as error:  # noqa: BLE001 (whatever the server answered, the run must say so)
                return {"tools": [], "fault": f"its list of tools cannot be read: {_listing_fault(error)}"}
            tools += [_described(tool) for tool in page.tools]
            # many servers write an empty cursor where there is none
            cursor = page.next_cursor or None
        return {"tools": tools, "fault": ""}

    async def call(self, name: str, arguments: dict[str, Json]) -> str:
        try:
            result = await self._client.call_tool(name, arguments)
        except Exception as error:  # noqa: BLE001 (whatever it is, it becomes the call's failure)
            if not await self._answers():
                self.gone = True
                raise ToolError(f"the server of this tool is gone: {error or type(error).__name__}") from None
            raise ToolError(str(error) or type(error).__name__) from None
        text = readable(result)
        if result.is_error:
            raise ToolError(text or "the tool failed, and did not say why")
        return text

    async def _answers(self) -> bool:
        """Return whether the server still responds."""
        try:
            await asyncio.wait_for(self._client.list_tools(cache_mode="bypass"), _PROBE_SECONDS)
        except Exception:  # noqa: BLE001 (whatever it is, the connection is of no more use)
            return False
        return True

    async def _keep(self, opened: asyncio.Future[None]) -> None:
        try:
            async with _transport_client(self._setup) as self._client:
                opened.set_result(None)
                await asyncio.Event().wait()
        except BaseException as error:
            self.gone = True
            if opened.done():
                raise
            opened.set_exception(ToolError(_innermost(error)))


def _transport_client(setup: Mapping[str, Json]) -> Any:
    """An MCP client for the server, not open yet."""
    from mcp import Client, StdioServerParameters

    if setup["url"] is None:
        # the wrapper ends the server with this process, which may be killed at any moment
        wrapper = ["-P", "-m", "mentor_kit_tools.parent_death", *setup["command"]]
        parameters = StdioServerParameters(
            command=sys.executable, args=wrapper, env=dict(setup["environment"]), cwd=Path(str(setup["folder"]))
        )
        return Client(parameters)
    if not setup["headers"]:
        return Client(str(setup["url"]))
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    # a server may hold an answer back for long; the worker's own limit ends a call
    http = httpx2.AsyncClient(headers=dict(setup["headers"]), timeout=httpx2.Timeout(30.0, read=None))
    return Client(streamable_http_client(str(setup["url"]), http_client=http))


def readable(result: Any) -> str:
    """Return a result's content for the model: its strings, else structured content; a word for the rest."""
    blocks: Sequence[Any] = result.content or ()
    rendered = [_block(block) for block in blocks]
    if not rendered and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(rendered)


def _block(block: Any) -> str:
    if block.type == "text":
        return str(block.text)
    if block.type == "resource" and hasattr(block.resource, "text"):
        return str(block.resource.text)
    if block.type == "resource_link":
        return f"[{block.name}: {block.uri}]"
    return f"[{block.type}]"


def _described(tool: Any) -> Json:
    return {"name": tool.name, "description": tool.description or "", "parameters": without_nulls(tool.input_schema)}


def _listing_fault(error: Exception) -> str:
    """Return the fault of a server's answer, in one line."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return _innermost(error)
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}, not {first['input']!r}"


def _innermost(error: BaseException) -> str:
    """The first cause in a group of errors, as anyio gives them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
