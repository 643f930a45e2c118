"""Formats an audit: plain lines for a terminal, and the tables of docs/rewards.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from mentor_kit.audits.attacks import ATTACKS, Attack
from mentor_kit.audits.audit import Audit, Earned, FamilyAudit
from mentor_kit.chat.families import families as known_families

#: Finds that are shown, and how much of each.
_SHOWN, _LONGEST = 5, 400


def plain(audit: Audit) -> str:
    """Return the audit as plain lines: what honest work earns, which attacks pay, and how much was tried."""
    return "\n".join(_lines(audit))


def markdown(audit: Audit) -> str:
    """Tables: what was tried in each family, and what each attack earns.

    For an attack: what the published rule pays, what honest work in its place would earn, and what this reward pays,
    with the families where that is another number.
    """
    families = audit.families
    models = {family.name: family.models for family in known_families()}
    rows = [
        f"| `{one.family}` | {models.get(one.family, '')} | {len(one.attacks)} | {len(one.paid)} "
        f"| {one.search.tries} | {one.search.outcomes} | {one.search.found} |"
        for one in families
    ]
    sections = ["\n".join([*_head("family", "models", "attacks", "pay", "mutants", "outcomes", "pay"), *rows])]
    columns = ["attack", "published", "honest", "ours", *(["elsewhere"] if len(families) > 1 else [])]
    for kind, group in groupby(ATTACKS, key=lambda attack: attack.kind):
        table = [_row(attack, families) for attack in group if any(_of(one, attack) for one in families)]
        if table:
            sections.append("\n".join([f"**{kind.capitalize()}**", "", *_head(*columns), *table]))
    return "\n\n".join(sections)


def _head(*columns: str) -> tuple[str, str]:
    lines = ["---" if name in ("family", "models", "attack", "elsewhere") else "---:" for name in columns]
    return f"| {' | '.join(columns)} |", f"| {' | '.join(lines)} |"


def _of(audit: FamilyAudit, attack: Attack) -> Earned | None:
    return next((earned for earned in audit.attacks if earned.attack is attack), None)


def _row(attack: Attack, families: Sequence[FamilyAudit]) -> str:
    found = {one.family: earned for one in families if (earned := _of(one, attack)) is not None}
    bounds = sorted({_number(earned.bound) for earned in found.values()}, key=float)
    honest = bounds[0] if len(bounds) == 1 else f"{bounds[0]} to {bounds[-1]}"
    pays = {one.family: _number(found[one.family].earned) if one.family in found else "–" for one in families}
    ((most, _),) = Counter(pays.values()).most_common(1)
    cells = [attack.name.replace("|", r"\|"), _published(next(iter(found.values()))), honest, most]
    if len(families) > 1:
        cells.append(", ".join(f"`{family}` {paid}" for family, paid in pays.items() if paid != most))
    return f"| {' | '.join(cells)} |"


def _lines(audit: Audit) -> Iterator[str]:
    honest = ", ".join(f"{name} {_number(value)}" for name, value in audit.families[0].honest.items())
    yield f"honest work earns: {honest}"
    yield f"calls are written as these families do: {', '.join(one.family for one in audit.families)} ({audit.reason})"
    for one in audit.families:
        yield from _family_lines(one)


def _family_lines(one: FamilyAudit) -> Iterator[str]:
    for earned in one.paid:
        yield (
            f"PAYS  {earned.attack.name} ({earned.attack.kind}): {_number(earned.earned)}, where honest work earns "
            f"{_number(earned.bound)} (problem {earned.problem}, {one.family})"
        )
    searched = one.search
    for find in searched.finds[:_SHOWN]:
        turns = repr(list(find.turns))
        yield f"FOUND {_number(find.earned)}, where honest work earns {_number(find.bound)}: {turns:.{_LONGEST}}"
    skipped = f", {len(one.skipped)} do not apply" if one.skipped else ""
    yield (
        f"{one.family}: {len(one.attacks)} attacks, {len(one.paid)} pay{skipped}; {searched.tries} mutants, "
        f"{searched.outcomes} different outcomes, {searched.found} pay"
    )


def _published(earned: Earned) -> str:
    return "crashes" if earned.published is None else _number(earned.published)


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
