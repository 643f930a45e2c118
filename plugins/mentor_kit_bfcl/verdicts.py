"""Verdicts on calls of one turn, by bfcl-eval's own checker on parsed calls."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence

from mentor_kit.core.conversation import CallState, Message
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem
from mentor_kit_bfcl import package
from mentor_kit_bfcl.options import RELEVANCE

#: One call as bfcl-eval has it: the function's name, and its arguments.
Called = Mapping[str, Mapping[str, Json]]


def calls_of_turn(turn: Message) -> list[Called] | None:
    """The calls of a turn; None where one is malformed: to bfcl-eval such a turn cannot be decoded at all."""
    if any(call.state is CallState.MALFORMED or not call.name for call in turn.tool_calls):
        return None
    # a malformed call whose name no tool has is UNKNOWN_TOOL; it has no arguments that could be read
    return [{call.name: call.arguments} for call in turn.tool_calls]


def is_right(calls: Sequence[Called] | None, problem: Problem, *, dots: bool) -> bool:
    """Whether calls are right; those that bfcl-eval's checker fails on are wrong."""
    category = problem.split
    if category in RELEVANCE:
        return bool(calls) is (category == "live_relevance")
    if calls is None:
        return False
    known = package.ast_checker().Language
    language = {"simple_java": known.JAVA, "simple_javascript": known.JAVASCRIPT}.get(category, known.PYTHON)
    try:
        found = package.ast_checker().ast_checker(
            copy.deepcopy(problem.extra["functions"]),
            json.loads(json.dumps(calls)),
            json.loads(problem.answer),
            language,
            category,
            package.DOTS if dots else package.UNDERSCORES,
        )
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, RecursionError):
        return False  # a value of a form that no gold answer has, such as a text where a record belongs
    return bool(found["valid"])
