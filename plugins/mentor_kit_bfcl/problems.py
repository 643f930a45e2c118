"""BFCL's rows as problems."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mentor_kit.core.conversation import Message
from mentor_kit.core.errors import DataError
from mentor_kit.core.task import Problem
from mentor_kit_bfcl import package
from mentor_kit_bfcl.options import MULTI_TURN, RELEVANCE
from mentor_kit_bfcl.schemas import declared

_VERSION = "BFCL_v4"
_MORE = "I have updated some more functions you can choose from. What about now?"

#: The files that describe the functions of each simulated service.
_SERVICES = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TwitterAPI": "posting_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}


def read(category: str, *, dots: bool) -> tuple[Problem, ...]:
    """All problems of a category, in BFCL's order.

    Raises:
        DataError: the package has no such category, or its gold answers are of other problems.
    """
    entries = package.rows(f"{_VERSION}_{category}.json")
    if category in RELEVANCE:
        return tuple(_single(entry, category, [], dots=dots) for entry in entries)
    gold = {row["id"]: row["ground_truth"] for row in package.rows(f"possible_answer/{_VERSION}_{category}.json")}
    if missing := [entry["id"] for entry in entries if entry["id"] not in gold]:
        raise DataError(f"bfcl-eval has no gold answer to {missing[0]!r}", hint=package.INSTALL)
    if category in MULTI_TURN:
        described = {name: package.rows(f"multi_turn_func_doc/{file}.json") for name, file in _SERVICES.items()}
        return tuple(_several(entry, category, gold[entry["id"]], described, dots=dots) for entry in entries)
    return tuple(_single(entry, category, gold[entry["id"]], dots=dots) for entry in entries)


def _single(entry: Mapping[str, Any], category: str, gold: Sequence[Any], *, dots: bool) -> Problem:
    *before, last = entry["question"][0]
    system = [message["content"] for message in before if message["role"] == "system"]
    history = [Message(role=m["role"], content=m["content"]) for m in before if m["role"] != "system"]
    return Problem(
        id=entry["id"],
        question=last["content"],
        answer=json.dumps(gold),
        split=category,
        system="\n\n".join(system),
        history=tuple(history),
        tools=tuple(declared(function, category, dots=dots) for function in entry["function"]),
        extra={"functions": entry["function"]},
    )


def _several(
    entry: Mapping[str, Any], category: str, gold: Sequence[Any], described: Mapping[str, Any], *, dots: bool
) -> Problem:
    held_back = {name for names in entry.get("missed_function", {}).values() for name in names}
    functions = [function for service in entry["involved_classes"] for function in described[service]]
    tools = [declared(function, category, dots=dots) for function in functions]
    turns = []
    for place, messages in enumerate(entry["question"]):
        names = entry.get("missed_function", {}).get(str(place), [])
        shown = [tool.model_dump() for tool, f in zip(tools, functions, strict=True) if f["name"] in names]
        turns.append(messages[0]["content"] if messages else f"{json.dumps(shown)}\n{_MORE}")
    return Problem(
        id=entry["id"],
        question=turns[0],
        answer=json.dumps(gold),
        split=category,
        extra={
            "turns": turns,
            "services": entry["involved_classes"],
            "state": entry["initial_config"],
            "tools": [tool.model_dump() for tool in tools],
            "held_back": sorted(held_back),
            "long": category == "multi_turn_long_context",
        },
    )
