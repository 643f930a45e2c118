"""A run's evaluations for the page: what every checkpoint made of every problem, and a chunk of episodes for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mentor_kit.core.frozen_model import Json
from mentor_kit.report.arms import Report, placed_reports, plan_of, subject_of
from mentor_kit.report.page.attempts import attempt_flags, compact_attempt
from mentor_kit.report.page.problems import ProblemBook, opening_of
from mentor_kit.runs import Run
from mentor_kit.runs.raw_records import RawScored, iterate_scored
from mentor_kit.stages.tool_strategy import STRATEGY

#: Of a report, what the page shows in words and lines.
_NUMBERS = (
    *("ended_rate", "turns", "calls_per_problem", "malformed_rate", "unknown_tool_rate", "invalid_arguments_rate"),
    *("failed_rate", "response_tokens", "similarity", "similarity_low", "similarity_high", "similarity_sampled"),
    *("reward", "pass_at", "greedy", "sampled", "groups"),
    *STRATEGY,
)


def evaluation_index(run: Run) -> dict[str, Json]:
    """The evaluations by name (split), each with its problems and, in order of time, its checkpoints.

    A checkpoint has `greedy` and `sampled` accuracies with intervals, and in `outcomes` for each problem of the
    evaluation a pair of them (null where it was not evaluated).
    """
    plans: dict[str, list[Report]] = {}
    for report in placed_reports(run):
        plans.setdefault(plan_of(report), []).append(report)
    return {"plans": [_plan(run, name, reports) for name, reports in plans.items()]}


def _plan(run: Run, name: str, reports: Sequence[Report]) -> dict[str, Json]:
    problems = list(dict.fromkeys(problem for report in reports for problem in report.get("outcomes") or {}))
    return {
        "name": name,
        "problems": problems,
        "checkpoints": [_checkpoint(run, report, problems) for report in reports],
    }


def _checkpoint(run: Run, report: Report, problems: Sequence[str]) -> dict[str, Json]:
    subject = subject_of(run, report)
    outcomes: Mapping[str, Any] = report.get("outcomes") or {}
    return {
        "name": report["name"],
        "at": report["at"],
        "step": report["step"],
        "stage": report.get("stage", ""),
        "agent": subject.text,
        "own": subject.kind == "run",
        "recorded": run.folder.episodes_of(report["name"]).exists(),
        "outcomes": [outcomes.get(problem) for problem in problems],
        "metrics": {key: report[key] for key in _NUMBERS if report.get(key) is not None},
    }


def evaluation_episodes(run: Run, name: str, book: ProblemBook) -> dict[str, Json]:
    """The episodes of one evaluation by problem; each with its `decoding` and `sample`."""
    found: dict[str, list[dict[str, Json]]] = {}
    greedy = _has_greedy(run, name)
    for raw in iterate_scored(run.folder.episodes_of(name)):
        trajectory = raw["trajectory"]
        attempts = found.setdefault(trajectory["problem_id"], [])
        place = len(attempts)
        attempt = compact_attempt(raw, opening_of(trajectory))
        # greedy episodes stand first in the file
        attempt["decoding"] = "greedy" if greedy and place == 0 else "sampled"
        attempt["sample"] = place - (greedy and place > 0)
        attempt["flags"] = attempt_flags(attempt, 0.0, book.tools_used(trajectory["problem_id"]))
        attempts.append(attempt)
    return {"name": name, "problems": found}


def _has_greedy(run: Run, name: str) -> bool:
    report = next((report for report in run.evaluations if report["name"] == name), {})
    return bool(report.get("greedy"))


def evaluation_problems(run: Run, plan: str, book: ProblemBook) -> dict[str, Json]:
    """The problems of the evaluations of a name, by id: opening, key, group and demonstrations."""
    first: dict[str, RawScored] = {}
    for report in reversed([report for report in run.evaluations if plan_of(report) == plan]):
        if set(report.get("outcomes") or {}) - set(first) or not first:
            for raw in iterate_scored(run.folder.episodes_of(report["name"])):
                first.setdefault(raw["trajectory"]["problem_id"], raw)
    problems = {}
    for problem, raw in first.items():
        trajectory = raw["trajectory"]
        problems[problem] = book.page(problem, trajectory["messages"][: opening_of(trajectory)])
    return {"plan": plan, "problems": problems}
