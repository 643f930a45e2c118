"""The quickstart's world, with one reward or another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from mentor_kit.audits import AuditEnvironment, Bounds, Earned, find_subjects, try_attacks
from mentor_kit.audits.raw_rollout import RawRollout, Script
from mentor_kit.chat.families import families
from mentor_kit.hooks import default_registry
from mentor_kit.recipe.assembly import Components, assemble_components
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.settings import parse_settings
from mentor_kit.rl.reward import Reward

PRESETS = ("mentor", "sparse", "mentor-overlap", "mentor-no-match", "mentor-f1")
#: So many episodes an environment remembers: the catalogue's many times over, a long search's no more than that.
KEPT = 5000
FAMILIES = tuple(family.name for family in families())


@dataclass(frozen=True)
class PlayedOnce(AuditEnvironment):
    """An environment that plays each script once: an episode is the same, whichever reward it earns."""

    played: dict[object, RawRollout] = field(default_factory=dict)

    def run(self, scripts: Sequence[Script], *, turns: int = 0) -> list[RawRollout]:
        keys = [(script.problem.model_dump_json(), script.turns, script.result, turns) for script in scripts]
        if len(self.played) > KEPT:
            self.played.clear()
        new = {key: script for key, script in zip(keys, scripts, strict=True) if key not in self.played}
        self.played.update(zip(new, super().run([*new.values()], turns=turns), strict=True))
        return [self.played[key] for key in keys]


@cache
def parts(reward: str = "mentor") -> Components:
    """The light parts of the quickstart."""
    registry = default_registry()
    return assemble_components(load_checked("quickstart", parse_settings((f"reward={reward}",)), registry), registry)


@cache
def world(family: str = "hermes") -> AuditEnvironment:
    """The quickstart's world, written as a family does."""
    found = parts()
    (one,) = [one for one in families() if one.name == family]
    assert one.written is not None
    return PlayedOnce(found.task, found.toolbox, found.limits, one.parser(False), one.written)


@cache
def bounds(reward: str = "mentor", problems: int = 2, family: str = "hermes") -> tuple[Bounds, ...]:
    """Honest work on a few problems, scored by a preset."""
    found = parts(reward)
    assert found.teacher is not None
    assert found.reward is not None
    here = world(family)
    return tuple(Bounds(here, subject, found.reward) for subject in find_subjects(here, found.teacher, problems, 0))


def bounds_of(reward: Reward, family: str = "hermes") -> tuple[Bounds, ...]:
    """The same with a reward made for a test."""
    return tuple(Bounds(one.environment, one.subject, reward) for one in bounds(family=family))


@cache
def earned(reward: str, family: str = "hermes") -> dict[str, list[Earned]]:
    """What each attack earns on each problem."""
    found: dict[str, list[Earned]] = {}
    for one in bounds(reward, family=family):
        for attempt in try_attacks(one):
            found.setdefault(attempt.attack.name, []).append(attempt)
    return found
