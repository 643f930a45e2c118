"""A random search for rewards without work: honest transcripts, mutated repeatedly.

Mutants that lead to an outcome not seen before are kept and mutated further; so the search covers
many outcomes. One that earns more than its bound (`mentor_kit.audits.bounds`) is a find.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mentor_kit.audits.bounds import SAME, Bounds, solved
from mentor_kit.audits.raw_rollout import END, RawRollout
from mentor_kit.audits.subject import AuditSubject
from mentor_kit.core.frozen_model import FrozenModel

#: Episodes that run concurrently.
_BATCH = 250
#: Longest transcripts, in characters and turns.
_LONGEST, _MOST_TURNS = 20_000, 8
#: Finds that are kept to be looked at.
_SHOWN = 20

Turns = tuple[str, ...]

_PIECES = (
    *(END, r"\boxed{", "{", "}", "[", "]", '"', ",", "\n", " ", "\\", "```", "<!--", "-->", "=", "<", "@"),
    *('{"name": "', '", "arguments": {', "null", "NaN", "1e999", "9" * 400, "\u200b", "\u202e", "\ud800", "０", "о"),
)


#: Separators of several answers in place of one.
_BETWEEN = (
    " ",
    ", ",
    "; ",
    " = ",
    " @ ",
    " | ",
    " or ",
    "\n",
    r" \to ",
    r" \lor ",
    r" \neq ",
    " : ",
    "..",
    " & ",
    "/",
    "(",
)


class Find(FrozenModel):
    """A transcript that earns more than honest work with the same calls and answer."""

    turns: tuple[str, ...]
    earned: float
    bound: float


@dataclass(frozen=True)
class Searched:
    """The result of a search."""

    tries: int
    outcomes: int
    """Different outcomes: endings, verdicts, states of calls and totals."""
    finds: tuple[Find, ...]
    """The first few."""
    found: int
    """How many there were."""


def search(bounds: Sequence[Bounds], tries: int, seed: int) -> Searched:
    """Try so many mutants, spread over the problems in turn; the same seed tries the same ones."""
    chance = random.Random(seed)
    archives = [_Archive(one.subject) for one in bounds]
    outcomes: set[object] = set()
    finds: list[Find] = []
    found = done = 0
    while done < tries:
        index = (done // _BATCH) % len(bounds)
        count = min(_BATCH, tries - done)
        mutants = [archives[index].mutant(chance) for _ in range(count)]
        for rollout, earned, find in _tried(bounds[index], mutants):
            outcome = (index, _outcome(rollout, earned))
            if outcome not in outcomes:
                outcomes.add(outcome)
                archives[index].keep(rollout.script.turns)
            if find is not None:
                found += 1
                finds += [find] if len(finds) < _SHOWN else []
        done += count
    return Searched(done, len(outcomes), tuple(finds), found)


def _tried(bounds: Bounds, mutants: Sequence[Turns]) -> list[tuple[RawRollout, float, Find | None]]:
    rollouts = bounds.environment.run([bounds.subject.script(turns) for turns in mutants])
    right = [solved(one, bounds.subject, bounds.environment) for one in rollouts]
    tried = []
    for one, paid, most in zip(rollouts, bounds.paid(rollouts), bounds.of(rollouts, right), strict=True):
        earned = paid.total
        find = Find(turns=one.script.turns, earned=earned, bound=most) if earned > most + SAME else None
        tried.append((one, earned, find))
    return tried


def _outcome(rollout: RawRollout, earned: float) -> object:
    trajectory = rollout.trajectory
    states = tuple(sorted({call.state.value for call in trajectory.calls}))
    return trajectory.ending, trajectory.correct, states, round(earned, 6)


class _Archive:
    """Transcripts to mutate, and the strings to insert into them."""

    def __init__(self, subject: AuditSubject) -> None:
        self.turns: list[Turns] = [
            subject.honest(right=True).turns,
            subject.honest(right=False).turns,
            subject.twin((), right=True).turns,
            subject.twin((), right=False).turns,
        ]
        form = subject.form
        self.quoted = form.is_json
        self.names = [*subject.tools, "", "solve_everything"]
        self.pairs = (
            *(form.thought, (form.opening, form.closing), form.result),
            *((r"\boxed{", "}"), ('"', '"'), ("", END)),
        )
        self.values = [subject.value, subject.other]
        self.pieces = [
            *_PIECES,
            *sorted(form.all_marks),
            *(subject.called, subject.right, subject.wrong, subject.right_value, subject.wrong_value),
            *(form.call(name, {}) for name in self.names),
            *subject.work,
        ]

    def keep(self, turns: Turns) -> None:
        """Add a transcript to those that are mutated further."""
        self.turns.append(turns)

    def mutant(self, chance: random.Random) -> Turns:
        """One of the transcripts, changed in a few places."""
        turns = list(chance.choice(self.turns))
        for _ in range(chance.randint(1, 4)):
            turns = chance.choice(_CHANGES)(turns, self, chance)[:_MOST_TURNS] or [END]
        return tuple(text[:_LONGEST] for text in turns)


Change = Callable[[list[str], _Archive, random.Random], list[str]]


def _span(text: str, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(text) + 1)
    return start, min(len(text), start + chance.choice((1, 3, 10, 40, 200)))


def _in_a_turn(change: Callable[[str, _Archive, random.Random], str]) -> Change:
    def changed(turns: list[str], archive: _Archive, chance: random.Random) -> list[str]:
        index = chance.randrange(len(turns))
        return [*turns[:index], change(turns[index], archive, chance), *turns[index + 1 :]]

    return changed


def _insert(text: str, archive: _Archive, chance: random.Random) -> str:
    at, _ = _span(text, chance)
    return text[:at] + chance.choice(archive.pieces) + text[at:]


def _delete(text: str, archive: _Archive, chance: random.Random) -> str:
    start, end = _span(text, chance)
    return text[:start] + text[end:]


def _repeat(text: str, archive: _Archive, chance: random.Random) -> str:
    start, end = _span(text, chance)
    return text[:end] + text[start:end] * chance.choice((1, 2, 30)) + text[end:]


def _wrap(text: str, archive: _Archive, chance: random.Random) -> str:
    start, end = _span(text, chance)
    opening, closing = chance.choice(archive.pairs)
    return text[:start] + opening + text[start:end] + closing + text[end:]


def _rename(text: str, archive: _Archive, chance: random.Random) -> str:
    old, new = chance.choice(archive.names), chance.choice(archive.names)
    if archive.quoted:
        return text.replace(f'"{old}"', f'"{new}"')
    return text.replace(old, new) if old else text


def _hedge(text: str, archive: _Archive, chance: random.Random) -> str:
    """Return the transcript with several answers in place of one."""
    replaced = chance.choice(archive.values)
    values = [*archive.values, str(chance.randrange(100))]
    several = chance.choice(_BETWEEN).join(chance.sample(values, chance.randint(2, len(values))))
    return text.replace(replaced, several, 1) if replaced else text


def _other_digit(text: str, archive: _Archive, chance: random.Random) -> str:
    places = [index for index, letter in enumerate(text) if letter.isdigit()]
    if not places:
        return text
    at = chance.choice(places)
    return text[:at] + str(chance.randrange(10)) + text[at + 1 :]


def _swap_turns(turns: list[str], archive: _Archive, chance: random.Random) -> list[str]:
    first, second = chance.randrange(len(turns)), chance.randrange(len(turns))
    changed = list(turns)
    changed[first], changed[second] = changed[second], changed[first]
    return changed


def _drop_turn(turns: list[str], archive: _Archive, chance: random.Random) -> list[str]:
    index = chance.randrange(len(turns))
    return turns[:index] + turns[index + 1 :]


def _join_turns(turns: list[str], archive: _Archive, chance: random.Random) -> list[str]:
    index = chance.randrange(len(turns))
    joined = turns[index].replace(END, "") + "".join(turns[index + 1 : index + 2])
    return [*turns[:index], joined, *turns[index + 2 :]]


def _cross(turns: list[str], archive: _Archive, chance: random.Random) -> list[str]:
    other = chance.choice(archive.turns)
    return turns[: chance.randrange(len(turns) + 1)] + list(other[chance.randrange(len(other)) :])


_CHANGES: tuple[Change, ...] = (
    *map(_in_a_turn, (_insert, _insert, _insert, _delete, _repeat, _wrap, _rename, _hedge, _other_digit)),
    *(_swap_turns, _drop_turn, _join_turns, _cross),
)
