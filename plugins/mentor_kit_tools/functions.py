"""The tools `python`: the typed functions of any Python module, run in the isolated runner.

The module is imported in the workers alone; the trainer sees the tools' schemas and JSON values.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pydantic import ConfigDict, Field

from mentor_kit.core.errors import PluginError, did_you_mean
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.options import ToolOptions
from mentor_kit.core.task import Problem
from mentor_kit.core.tool import Tool, ToolError
from mentor_kit.core.toolbox import ToolSession, ToolSource
from mentor_kit.hooks.registry import BuildContext
from mentor_kit_tools.limits import Limits
from mentor_kit_tools.modules import find_module, top_level_names
from mentor_kit_tools.names import Prefix, Renamed, ToolName, named, names_of
from mentor_kit_tools.runner import Runner, closed_on_error


def default_workers() -> int:
    """Return one process a processor, and at most four: tools mostly wait."""
    return max(1, min(4, os.cpu_count() or 1))


class PythonOptions(ToolOptions):
    """Typed functions of a module, as tools."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    module: str = Field(min_length=1)
    """A module's name, found beside the recipe or installed; or a file, `tools.py`, relative to the recipe's folder."""
    functions: tuple[str, ...] = ()
    """Which functions; those of `__all__`, or else all public ones that the module defines, if left out."""
    state: Literal["none", "episode"] = "none"
    """none: calls go to any worker, so functions must not keep anything. episode: each episode has a process of
    its own, in which the module is loaded afresh, so functions may keep state."""
    workers: int = Field(default_factory=default_workers, gt=0)
    """Calls that run concurrently; by default one a processor of this machine, and at most four."""
    limits: Limits = Limits()
    """Limits of one call."""
    environment: dict[str, str] = {}
    """Environment variables for the functions; of the trainer's own they get only PATH, HOME and the like."""
    prefix: Prefix = ""
    """A prefix of the tools' names."""
    rename: dict[str, ToolName] = {}
    """Other names for some of the functions: `{add: plus}`."""

    @property
    def tool_names(self) -> list[str]:
        """The names of the tools, where `functions` lists them."""
        return list(names_of(self.functions, self.prefix, self.rename).values())


def build(options: PythonOptions, context: BuildContext) -> IsolatedTools:
    """The tools, with the first worker running.

    Raises:
        PluginError: the module cannot be imported, or a function cannot be a tool.
    """
    folder = context.recipe_folder.resolve()
    setup = {"module": options.module, "functions": list(options.functions), "folder": str(folder)}
    try:
        runner = Runner(
            f"{__name__}:serve",
            setup,
            limits=options.limits,
            workers=options.workers,
            folder=folder,
            environment=options.environment,
        )
    except ToolError as error:
        lacks = str(error).startswith(("ModuleNotFoundError", "FileNotFoundError"))
        raise PluginError(
            f"tools python: the module {options.module!r} cannot be used: {error}",
            hint=f"`module` is the name of an installed module or of one in {folder}, or a file there"
            if lacks
            else f"a worker process imports it, in {folder}",
        ) from None
    origin = f"tools python: the module {options.module!r}"
    with closed_on_error(runner):
        tools, names = named(runner.catalogue, origin, prefix=options.prefix, rename=options.rename)
    return IsolatedTools(runner, tools, own_process=options.state == "episode", names=names)


def look(options: PythonOptions, context: BuildContext) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is wrong with the module as a file; it is parsed, and not imported."""
    file, fault = find_module(options.module, context.recipe_folder.resolve())
    names: set[str] | None = None
    if file is not None:
        try:
            names = top_level_names(file)
        except (SyntaxError, ValueError) as error:
            fault = f"{file} is no Python: {error}"
    if fault:
        yield ("module",), fault
    for index, name in enumerate(options.functions):
        if names is not None and name not in names:
            yield ("functions", index), f"{file} has no function {name!r}{did_you_mean(name, names)}"


def tools_of(catalogue: Json) -> tuple[Tool, ...]:
    """The tools a worker's catalogue describes; they run in the worker, so they carry no function."""
    return tuple(Tool.declared(one["name"], one["description"], one["parameters"]) for one in catalogue)


class IsolatedTools(ToolSource):
    """Tools that run in a runner's worker processes.

    Args:
        runner: where they run.
        tools: as the model sees them.
        own_process: whether each episode has a process of its own.
        names: what the runner's program calls its tools, by the names in the model's prompt, where those differ.
    """

    def __init__(
        self,
        runner: Runner,
        tools: Sequence[Tool],
        *,
        own_process: bool = False,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.runner = runner
        self._tools = tuple(tools)
        self._own_process = own_process
        self._names = names or {}

    def close(self) -> None:
        """End the runner's processes."""
        self.runner.close()

    def tools(self, problem: Problem) -> Sequence[Tool]:
        return self._tools

    @asynccontextmanager
    async def open(self, problem: Problem, seed: int) -> AsyncIterator[ToolSession]:
        if self._own_process:
            async with self.runner.own() as worker:
                yield Renamed(worker, self._names)
        else:
            yield Renamed(self.runner, self._names)


def serve(setup: Mapping[str, Json]) -> Functions:
    """Return the module's functions as a program; called in the worker.

    Raises:
        Exception: whatever importing the module raises.
        PluginError: it has no such function, or one that cannot be a tool.
    """
    module = _module(str(setup["module"]), Path(str(setup["folder"])))
    names = [str(name) for name in setup["functions"]] or _public(module)
    return Functions([Tool.from_function(_function(module, name)) for name in names])


class Functions:
    """A `mentor_kit_tools.worker.Program` of functions."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._functions = {tool.name: tool.function for tool in tools}
        self.catalogue: Json = [tool.schema["function"] for tool in tools]

    def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        function = self._functions[name]
        if function is None:
            raise ToolError(f"{name} cannot be run")
        return function(**arguments)


def _module(name: str, folder: Path) -> ModuleType:
    if not name.endswith(".py"):
        sys.path.insert(0, str(folder))
        return importlib.import_module(name)
    file = folder / name
    sys.path.insert(0, str(file.parent))
    # by its place, since a module of that name may be loaded already, as with a file `json.py`
    spec = importlib.util.spec_from_file_location(f"tools_in_{file.stem}", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _public(module: ModuleType) -> list[str]:
    named = getattr(module, "__all__", None)
    if named is None:
        named = [
            name
            for name, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        ]
    else:
        named = [name for name in named if inspect.isroutine(getattr(module, name, None))]
    if not named:
        raise PluginError(f"module {module.__name__!r} has no public functions")
    return list(named)


def _function(module: ModuleType, name: str) -> Callable[..., Any]:
    function = getattr(module, name, None)
    if not callable(function):
        known = [known for known, value in vars(module).items() if inspect.isroutine(value)]
        raise PluginError(f"module {module.__name__!r} has no function {name!r}{did_you_mean(name, known)}")
    return function  # type: ignore[no-any-return]
