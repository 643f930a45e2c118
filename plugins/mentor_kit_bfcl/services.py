"""BFCL's simulated services in worker processes, and the verdict on their final state.

bfcl-eval executes calls by `eval` on strings, and keeps services by a model's name and a problem's id for ever. Here no
string of a model is evaluated: a call is a method's name and JSON arguments. Gold calls are bfcl-eval's own strings,
and are executed by it, under a name that no other verdict has.
"""

from __future__ import annotations

import copy
import inspect
import json
import uuid
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import ToolError
from mentor_kit_bfcl import package

#: bfcl-eval's wording of a service's exception.
_FAILED = "Error during execution: "


def serve(setup: Json) -> ServiceProgram:
    """In the worker."""
    return ServiceProgram()


class ServiceProgram:
    """A `mentor_kit_tools.worker.Program`: services of episodes, or verdicts on finished ones.

    Any process can continue any episode: one without its services repeats the earlier calls.
    """

    catalogue: Json = None

    def __init__(self, kept: int = 64) -> None:
        self._kept = kept
        self._episodes: dict[str, tuple[int, Services]] = {}
        """By episode, those used last at the end: how many calls were executed, and the services."""

    def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        if name == "verdict":
            return verdict(arguments["problem"], arguments["turns"], str(arguments["id"]))
        episode, past = str(arguments["episode"]), arguments["past"]
        done, services = self._episodes.pop(episode, (-1, None))
        if services is None or done != len(past):
            services = Services(arguments["problem"])
            for call in past:
                services.execute(call["name"], call["arguments"])
        result = services.execute(arguments["name"], arguments["arguments"])
        self._episodes[episode] = (len(past) + 1, services)
        if len(self._episodes) > self._kept:
            del self._episodes[next(iter(self._episodes))]
        if result.startswith(_FAILED):
            raise ToolError(result)
        return result


class Services:
    """The services of one conversation, as they are at its beginning."""

    def __init__(self, problem: Mapping[str, Json]) -> None:
        config = import_module("bfcl_eval.constants.executable_backend_config")
        self.by_class: dict[str, Any] = {}
        self._methods: dict[str, Any] = {}
        for name in problem["services"]:
            service = getattr(import_module(config.CLASS_FILE_PATH_MAPPING[name]), name)()
            if name not in config.STATELESS_CLASSES:
                service._load_scenario(copy.deepcopy(problem["state"].get(name, {})), long_context=problem["long"])
            self.by_class[name] = service
            methods = inspect.getmembers(service, predicate=inspect.ismethod)
            self._methods |= {method: bound for method, bound in methods if not method.startswith("_")}

    def execute(self, name: str, arguments: Mapping[str, Json]) -> str:
        """The result of a call, in bfcl-eval's words."""
        try:
            if name not in self._methods:
                raise NameError(f"name {name!r} is not defined")
            # services keep their arguments, and change them
            return _worded(self._methods[name](**copy.deepcopy(dict(arguments))))
        except Exception as error:  # noqa: BLE001 (a service may raise anything: the call failed)
            return f"{_FAILED}{error}"


def verdict(problem: Mapping[str, Json], turns: Sequence[Sequence[Sequence[Mapping[str, Json]]]], id: str) -> bool:
    """Whether a conversation is right: after every turn the services' states are those of the gold calls, and the
    results of these are among those of all calls so far. This is bfcl-eval's `multi_turn_checker`.

    Args:
        problem: the services, their state at the beginning, and the gold calls of every turn.
        turns: for every turn of the user, the assistant's turns that made calls: `{name, arguments}` each.
        id: the problem's.
    """
    if len(turns) != len(problem["gold"]):
        return False
    checker, utils = package.multi_turn_checker(), package.multi_turn_utils()
    services = Services(problem)
    name = f"mentor-kit-{uuid.uuid4().hex}"
    results: list[str] = []
    try:
        for place, (gold, steps) in enumerate(zip(problem["gold"], turns, strict=True)):
            results += [services.execute(call["name"], call["arguments"]) for step in steps for call in step]
            expected, gold_services = utils.execute_multi_turn_func_call(
                func_call_list=gold,
                initial_config=problem["state"],
                involved_classes=problem["services"],
                model_name=name,
                test_entry_id=id,
                long_context=problem["long"],
                is_evaL_run=True,
            )
            if not gold:
                continue  # what the user asks for cannot be done yet
            if not any(steps):
                return False
            if not checker.state_checker(services.by_class, gold_services)["valid"]:
                return False
            if not checker.response_checker(results, expected, place)["valid"]:
                return False
        return True
    finally:
        kept = vars(utils)
        for key in [key for key in kept if key.startswith(name.replace("-", "_"))]:
            del kept[key]


def _worded(value: Any) -> str:
    """A result as bfcl-eval shows it."""
    if isinstance(value, dict):
        try:
            return json.dumps(value)
        except (TypeError, ValueError):
            return str(value)
    return str(value)
