"""The tools `code`: a Python interpreter for code that a model writes (pydantic-monty).

The interpreter is not CPython: it has no files, no network, no processes and no environment to reach. It runs in
a process of its own, started by a worker with limits. Its clock is fixed and its random numbers have a seed, so that
the same code gives the same result in every run.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Literal

from pydantic import ConfigDict, Field

from mentor_kit.core.errors import PluginError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.options import ToolOptions
from mentor_kit.core.tool import Tool, ToolError
from mentor_kit.hooks.registry import BuildContext
from mentor_kit_tools.functions import IsolatedTools, default_workers
from mentor_kit_tools.limits import Limits
from mentor_kit_tools.names import ToolName
from mentor_kit_tools.runner import Runner

_MOMENT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
#: Seconds beyond the code's own limit, before the interpreter's process is killed.
_GRACE_SECONDS = 2.0


class CodeOptions(ToolOptions):
    """A Python interpreter for model-written code."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    name: ToolName = "python"
    """The tool's name."""
    description: str = (
        "Run Python code. Gives what it prints, and the value of its last expression. There are no files, no network "
        "and no packages beyond a small part of the standard library."
    )
    """The tool's description for the model."""
    state: Literal["none", "episode"] = "episode"
    """episode: variables and functions stay from call to call of an episode. none: every call starts empty."""
    seconds: float = Field(default=5.0, gt=0)
    """Time the code of one call may take."""
    memory_mb: int = Field(default=64, gt=0)
    """Memory that its values may take, in MiB."""
    output_kb: int = Field(default=64, gt=0)
    """Largest output of one call, in KiB."""
    workers: int = Field(default_factory=default_workers, gt=0)
    """Calls that run concurrently; by default one a processor of this machine, and at most four."""

    @property
    def tool_names(self) -> list[str]:
        """The tool's name."""
        return [self.name]


def build(options: CodeOptions, context: BuildContext) -> IsolatedTools:
    """The tool, with the first interpreter running."""
    own = options.state == "episode"
    setup = options.model_dump(include={"seconds", "memory_mb", "output_kb"}) | {"keep": own}
    limits = Limits(
        seconds=options.seconds + 2 * _GRACE_SECONDS,
        cpu_seconds=int(options.seconds) + 10,
        memory_mb=max(2048, 8 * options.memory_mb),
        output_kb=8 * options.output_kb,
        file_mb=0,
    )
    try:
        runner = Runner(f"{__name__}:serve", setup, limits=limits, workers=options.workers)
    except ToolError as error:
        raise PluginError(f"tools code: the interpreter cannot be started: {error}") from None
    code = {"type": "string", "description": "Python source."}
    parameters = {"type": "object", "properties": {"code": code}, "required": ["code"], "additionalProperties": False}
    return IsolatedTools(runner, [Tool.declared(options.name, options.description, parameters)], own_process=own)


def serve(setup: Mapping[str, Json]) -> Interpreter:
    """In the worker: a pool of one interpreter."""
    return Interpreter(setup)


class Interpreter:
    """A `mentor_kit_tools.worker.Program` that runs code."""

    catalogue: Json = None

    def __init__(self, setup: Mapping[str, Json]) -> None:
        from pydantic_monty import Monty

        self._keep = bool(setup["keep"])
        self._output_kb = int(setup["output_kb"])
        self._seconds = float(setup["seconds"])
        self._memory_mb = int(setup["memory_mb"])
        self._pool = Monty(min_processes=1, max_processes=1, request_timeout=self._seconds + _GRACE_SECONDS)
        self._pool.__enter__()
        self._open: ExitStack | None = None
        self._session: Any = None

    def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        from pydantic_monty import CollectString, MontyCrashedError, MontyError

        printed = CollectString(max_bytes=self._output_kb << 10)
        try:
            value = self._current().feed_run(str(arguments["code"]), print_callback=printed)
        except MontyCrashedError as error:
            self._end()
            raise ToolError(f"the interpreter was stopped, and what it knew is lost: {error}") from None
        except MontyError as error:
            raise ToolError(_with(printed.output, self._reason(error))) from None
        finally:
            if not self._keep:
                self._end()
        return _with(printed.output, "" if value is None else value if isinstance(value, str) else repr(value))

    def _current(self) -> Any:
        """The session that code goes on in; a new one where there is none."""
        if self._session is None:
            self._open = ExitStack()
            limits = {"max_feed_duration_secs": self._seconds, "max_memory": self._memory_mb << 20}
            policy = {"datetime": _MOMENT, "sleep": "zero", "random_start": {"seed": 0}}
            self._session = self._open.enter_context(self._pool.checkout(limits=limits, os_policy=policy))
        return self._session

    def _end(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = self._session = None

    def _reason(self, error: Any) -> str:
        inner = error.exception()
        if isinstance(inner, TimeoutError | MemoryError):
            self._end()  # what such an end leaves behind may be half done
        return f"{type(inner).__name__}: {inner}" if str(inner) else type(inner).__name__


def _with(printed: str, more: str) -> str:
    return f"{printed}{more}" if not printed or printed.endswith("\n") or not more else f"{printed}\n{more}"
