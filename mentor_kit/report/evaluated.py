"""An evaluation as tables: accuracy with intervals, accuracy by group, and use of tools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mentor_kit.core.frozen_model import Json
from mentor_kit.report.arms import plan_of, subject_of
from mentor_kit.report.tables import Sheet, share
from mentor_kit.runs import Run
from mentor_kit.stages.tool_strategy import STRATEGY

#: Methods of computing an interval, by their names in docs/evaluation.md.
_METHODS = {"wilson": "Wilson", "clustered": "clustered"}

_ACCURACY = ("split", "metric", "right, %", "95 % interval", "kind", "problems", "episodes")
_GROUPS = ("split", "group", "metric", "right, %", "95 % interval", "episodes")
_TOOLS = (
    *("split", "similarity", "95 % interval", "calls", "malformed, %", "unknown, %", "bad args, %", "failed, %"),
    *("ended, %", "turns"),
)

_STRATEGY = ("split", "needless", "missing", "in order, %", "recovered, %", "calls a right answer")

#: Shares of calls that failed before or during execution.
_CALLS = ("malformed_rate", "unknown_tool_rate", "invalid_arguments_rate", "failed_rate")


@dataclass(frozen=True)
class Evaluated:
    """The last evaluation of every name and agent in a run."""

    reports: tuple[Mapping[str, Any], ...]
    agents: tuple[str, ...]
    """The agent of each."""

    @property
    def sheets(self) -> list[Sheet]:
        """The evaluations as tables."""
        accuracy = Sheet(f"Accuracy of {self.agent}", _ACCURACY, tuple(self._accuracy_rows()), left=2)
        groups = tuple(row for report in self.reports for row in _group_rows(report))
        tools = Sheet("Use of tools", _TOOLS, tuple(_tool_row(report) for report in self.reports))
        strategies = tuple(_strategy_row(report) for report in self.reports if any(map(report.get, STRATEGY)))
        by_group = [Sheet("Accuracy by group", _GROUPS, groups, left=3)] if groups else []
        strategy = [Sheet("Choice of calls, beside the teacher", _STRATEGY, strategies)] if strategies else []
        return [accuracy, *by_group, tools, *strategy]

    @property
    def agent(self) -> str:
        """All agents that were evaluated."""
        return "; ".join(dict.fromkeys(self.agents))

    def text(self, width: int | None = None) -> str:
        """The tables as plain lines of at most `width` columns."""
        return "\n".join(sheet.text(width) for sheet in self.sheets)

    def to_json(self) -> list[dict[str, Json]]:
        """The reports as JSON, without the problems' outcomes, which are in the run folder."""
        return [{key: value for key, value in report.items() if key != "outcomes"} for report in self.reports]

    def _accuracy_rows(self) -> Iterator[tuple[str, ...]]:
        for report in self.reports:
            for metric, found in _metrics(report):
                yield (
                    plan_of(report),
                    metric,
                    f"{100 * found.get('accuracy', found.get('value')):.1f}",
                    _interval(found),
                    _METHODS.get(str(found.get("interval", "")), ""),
                    str(found.get("problems", report["problems"])),
                    str(found.get("episodes", "")),
                )


def evaluated(run: Run) -> Evaluated:
    """The last evaluation of every name and agent, in the order in which they were made."""
    last = {(plan_of(report), subject_of(run, report)): report for report in run.evaluations}
    made = [plan_of(event.values) for event in run.events if event.kind == "evaluation"]
    order = sorted(last, key=lambda key: made.index(key[0]) if key[0] in made else len(made))
    return Evaluated(tuple(last[key] for key in order), tuple(subject.text for _, subject in order))


def _metrics(report: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if found := report.get("greedy"):
        yield "greedy", found
    if found := report.get("sampled"):
        samples = int(found.get("samples", 1))
        yield "sampled" if samples == 1 else f"mean@{samples}", found
    for k, found in (report.get("pass_at") or {}).items():
        # pass@1 is the mean
        if k != "1":
            yield f"pass@{k}", found


def _group_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for group, kinds in (report.get("groups") or {}).items():
        for metric, found in _metrics(kinds):
            accuracy = f"{100 * found['accuracy']:.1f}"
            yield plan_of(report), group, metric, accuracy, _interval(found), str(found.get("episodes", ""))


def _tool_row(report: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = report.get("similarity_low"), report.get("similarity_high")
    return (
        plan_of(report),
        share(report.get("similarity")),
        "–" if low is None or high is None else f"{low:.2f} to {high:.2f}",
        share(report.get("calls_per_problem")),
        *(_percent(report.get(name)) for name in _CALLS),
        _percent(report.get("ended_rate")),
        share(report.get("turns")),
    )


def _strategy_row(report: Mapping[str, Any]) -> tuple[str, ...]:
    needless, missing, order, recovered, calls = map(report.get, STRATEGY)
    return plan_of(report), share(needless), share(missing), _percent(order), _percent(recovered), share(calls)


def _interval(found: Mapping[str, Any]) -> str:
    return f"{100 * found['low']:.1f} to {100 * found['high']:.1f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
