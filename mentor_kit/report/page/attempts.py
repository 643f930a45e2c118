"""Attempts at problems as the page shows them: an episode, its reward, and what is striking about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mentor_kit.core.frozen_model import Json
from mentor_kit.report.page.problems import ProblemBook, compact_message, opening_of
from mentor_kit.runs.raw_records import RawScored

#: What an attempt (the first five) or a problem's group of attempts can be filtered by.
FLAGS = {
    "paid": "wrong, yet paid: the answer is not right, the reward is above 0",
    "raised": "wrong, yet made likelier: the answer is not right, the advantage is above 0",
    "tools": "right with other tools than any demonstration used",
    "call": "a call that was malformed, unknown, invalid or failed",
    "unended": "not ended: cut, or out of turns",
    "mixed": "mixed groups: right and wrong attempts",
    "equal": "groups of equal rewards, which teach nothing",
}


def compact_attempt(raw: RawScored, opening: int) -> dict[str, Json]:
    """An attempt without its opening messages and tokens; the reward as it was recorded."""
    trajectory = raw["trajectory"]
    found: dict[str, Json] = {
        name: trajectory[name] for name in ("id", "ending", "reason", "answer") if trajectory.get(name)
    }
    if (agent := trajectory.get("agent", "student")) != "student":
        found["agent"] = agent
    found["correct"] = bool(trajectory.get("correct", False))
    found["messages"] = [compact_message(message) for message in trajectory["messages"][opening:]]
    found["reward"] = raw["reward"]
    if raw.get("advantage") is not None:
        found["advantage"] = raw["advantage"]
    return found


def group_attempts(rows: Iterable[RawScored], book: ProblemBook) -> list[dict[str, Json]]:
    """Problems in the order in which they come, each with its `attempts` and `flags`."""
    groups: dict[str, list[RawScored]] = {}
    for raw in rows:
        groups.setdefault(raw["trajectory"]["problem_id"], []).append(raw)
    return [_group(problem, found, book) for problem, found in groups.items()]


def _group(problem: str, found: Sequence[RawScored], book: ProblemBook) -> dict[str, Json]:
    opening = opening_of(found[0]["trajectory"])
    page = book.page(problem, found[0]["trajectory"]["messages"][:opening])
    attempts = [compact_attempt(raw, opening_of(raw["trajectory"])) for raw in found]
    taught = [demonstration["tools_used"] for demonstration in page["demonstrations"]]
    totals = [attempt["reward"]["total"] for attempt in attempts]
    mean = sum(totals) / len(totals)
    for attempt in attempts:
        advantage = attempt.get("advantage", attempt["reward"]["total"] - mean)
        attempt["flags"] = attempt_flags(attempt, advantage, taught)
    right = sum(attempt["correct"] for attempt in attempts)
    flags = ["mixed"] if 0 < right < len(attempts) else []
    # a single attempt has nothing to differ from
    flags += ["equal"] if len(totals) > 1 and max(totals) - min(totals) < 1e-12 else []
    return page | {"attempts": attempts, "flags": flags}


def attempt_flags(attempt: Mapping[str, Any], advantage: float, taught: Sequence[Sequence[str]]) -> list[str]:
    """The flags of an attempt.

    Args:
        attempt: as `compact_attempt` gives it.
        advantage: the recorded one, or else the reward's difference from the group's mean.
        taught: the tools that each demonstration used.
    """
    right = attempt["correct"]
    calls = [call for message in attempt["messages"] for call in message.get("tool_calls", ())]
    used = [call.get("name", "") for call in calls if call.get("state") == "executed"]
    found = {
        "paid": not right and attempt["reward"]["total"] > 0,
        "raised": not right and advantage > 1e-9,
        "tools": right and bool(taught) and used not in [list(tools) for tools in taught],
        "call": any(
            call.get("state") in ("malformed", "unknown_tool", "invalid_arguments", "failed") for call in calls
        ),
        "unended": attempt["ending"] != "answered",
    }
    return [name for name, holds in found.items() if holds]


def count_flags(problems: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many of the problems have each flag, their own or an attempt's."""
    counts: dict[str, int] = {}
    for problem in problems:
        for flag in {*problem["flags"], *(flag for attempt in problem["attempts"] for flag in attempt["flags"])}:
            counts[flag] = counts.get(flag, 0) + 1
    return {flag: counts[flag] for flag in FLAGS if flag in counts}
