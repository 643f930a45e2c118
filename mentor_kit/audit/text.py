"""An audit in words: plain lines for a terminal, and the table of docs/rewards.md."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from mentor_kit.audit.audit import Audit, Earned

#: Finds that are shown, and how much of each.
_SHOWN, _LONGEST = 5, 400


def plain(audit: Audit) -> str:
    """What a person wants to know: what honest work earns, what pays, and how much was tried."""
    return "\n".join(_lines(audit))


def markdown(audit: Audit) -> str:
    """Tables of all attacks: what the published rule pays, what ours pays, and what honest work in its place would."""
    rows = [
        f"| {earned.attack.name} | {_published(earned)} | {_number(earned.earned)} | {_number(earned.bound)} |"
        for earned in audit.attacks
    ]
    head = ["| attack | published | ours | honest |", "| --- | ---: | ---: | ---: |"]
    parts = []
    for kind, group in groupby(zip(audit.attacks, rows, strict=True), key=lambda pair: pair[0].attack.kind):
        parts.append("\n".join([f"**{kind.capitalize()}**", "", *head, *(row for _, row in group)]))
    return "\n\n".join(parts)


def _lines(audit: Audit) -> Iterator[str]:
    honest = ", ".join(f"{name} {_number(value)}" for name, value in audit.honest.items())
    yield f"honest work earns: {honest}"
    for earned in audit.paid:
        yield (
            f"PAYS  {earned.attack.name} ({earned.attack.kind}): {_number(earned.earned)}, where honest work earns "
            f"{_number(earned.bound)} (problem {earned.problem})"
        )
    skipped = f", {len(audit.skipped)} do not apply to this task" if audit.skipped else ""
    yield f"attacks: {len(audit.attacks)} tried, {len(audit.paid)} pay{skipped}"
    searched = audit.search
    for find in searched.finds[:_SHOWN]:
        turns = repr(list(find.turns))
        yield f"FOUND {_number(find.earned)}, where honest work earns {_number(find.bound)}: {turns:.{_LONGEST}}"
    yield f"search: {searched.tries} mutants, {searched.outcomes} different outcomes, {searched.found} pay"


def _published(earned: Earned) -> str:
    return "crashes" if earned.published is None else _number(earned.published)


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
