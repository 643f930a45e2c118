"""An audit of a reward: every attack of the catalogue, and a search for more, in a recipe's own world.

recipe ──> task, tools, teacher, reward
teacher's work ──> attacks as raw text ──> played ──> earned <= bound?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mentor_kit.audit.bounds import SAME, Bounds
from mentor_kit.audit.catalogue import ATTACKS, Attack
from mentor_kit.audit.ground import Ground, find_grounds
from mentor_kit.audit.published import Crashed, published_reward
from mentor_kit.audit.raw import END, Played, World
from mentor_kit.audit.search import Searched, search
from mentor_kit.errors import UsageError
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.assembly import assemble_parts
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.record import Json
from mentor_kit.reward import Breakdown


@dataclass(frozen=True)
class Earned:
    """What one attack earns on the problem where it does best, beside its bound."""

    attack: Attack
    problem: str
    earned: float
    bound: float
    """What honest work with the same real calls and the same verdict earns."""
    published: float | None
    """What the published rule pays; None where it crashes."""
    gate: str
    """The gate that decided; empty if none."""

    @property
    def pays(self) -> bool:
        """Whether it earns more than honest work."""
        return self.earned > self.bound + SAME

    def as_data(self) -> dict[str, Json]:
        """For programs."""
        return {
            "attack": self.attack.name,
            "kind": self.attack.kind,
            "problem": self.problem,
            "earned": self.earned,
            "bound": self.bound,
            "published": self.published,
            "gate": self.gate,
            "pays": self.pays,
        }


@dataclass(frozen=True)
class Audit:
    """What was tried, and what it earned."""

    recipe: str
    honest: dict[str, float]
    """What honest attempts earn: right or wrong, with the teacher's tools or with none."""
    attacks: tuple[Earned, ...]
    skipped: tuple[str, ...]
    """Attacks that no problem of this task lends itself to."""
    search: Searched

    @property
    def paid(self) -> tuple[Earned, ...]:
        """The attacks that pay."""
        return tuple(earned for earned in self.attacks if earned.pays)

    @property
    def passed(self) -> bool:
        """Whether nothing pays."""
        return not self.paid and not self.search.found

    def as_data(self) -> dict[str, Json]:
        """For programs."""
        return {
            "recipe": self.recipe,
            "passed": self.passed,
            "honest": self.honest,
            "attacks": [earned.as_data() for earned in self.attacks],
            "skipped": list(self.skipped),
            "search": {
                "tries": self.search.tries,
                "outcomes": self.search.outcomes,
                "found": self.search.found,
                "finds": [find.model_dump(mode="json") for find in self.search.finds],
            },
        }


def audit(loaded: LoadedRecipe, registry: Registry, *, problems: int = 2, tries: int = 1000, seed: int = 0) -> Audit:
    """Try every attack, and so many mutants, on a recipe's reward.

    Args:
        loaded: the recipe; its student and backend are not used.
        registry: the plugins.
        problems: how many problems each attack is tried on.
        tries: how many mutants the search tries; 0 for none.
        seed: of the problems and of the search.

    Raises:
        UsageError: the recipe has no reward or no teacher.
        DataError: there is no honest work to start from.
    """
    parts = assemble_parts(loaded, registry)
    if parts.reward is None:
        raise UsageError("the recipe has no reward to audit", hint="add `reward: {use: mentor}`, or gates and terms")
    if parts.teacher is None:
        raise UsageError(
            "an audit starts from a teacher's work, and the recipe has no teacher",
            hint="add one: `--set teacher=scripted` where the task writes solutions",
        )
    world = World(parts.task, parts.toolbox, parts.limits)
    bounds = [Bounds(world, ground, parts.reward) for ground in find_grounds(world, parts.teacher, problems, seed)]
    attacks, skipped = _attacked(bounds)
    return Audit(
        recipe=loaded.recipe.name,
        honest=_honest(bounds[0]),
        attacks=attacks,
        skipped=skipped,
        search=search(bounds, tries, seed),
    )


def _attacked(bounds: Sequence[Bounds]) -> tuple[tuple[Earned, ...], tuple[str, ...]]:
    """Each attack where it does best, and the names of those that no problem lends itself to."""
    tried = [earned for one in bounds for earned in try_attacks(one)]
    best, skipped = [], []
    for attack in ATTACKS:
        found = [earned for earned in tried if earned.attack is attack]
        if found:
            best.append(max(found, key=lambda one: one.earned - one.bound))
        else:
            skipped.append(attack.name)
    return tuple(best), tuple(skipped)


def try_attacks(bounds: Bounds) -> list[Earned]:
    """What the attacks earn on one problem, those left out that it does not lend itself to."""
    attacks = [attack for attack in ATTACKS if attack.needs(bounds.ground)]
    played = bounds.world.play([attack.script(bounds.ground) for attack in attacks])
    most = bounds.of(played, [attack.solves for attack in attacks])
    paid = bounds.paid(played)
    return [_earned(*each, bounds) for each in zip(attacks, played, paid, most, strict=True)]


def _earned(attack: Attack, played: Played, breakdown: Breakdown, most: float, bounds: Bounds) -> Earned:
    return Earned(
        attack=attack,
        problem=bounds.ground.problem.id,
        earned=breakdown.total,
        bound=most,
        published=_published(played, bounds.ground, bounds.world),
        gate=breakdown.gate,
    )


def _honest(bounds: Bounds) -> dict[str, float]:
    ground = bounds.ground
    alone = bounds.world.play([ground.twin((), right=True), ground.twin((), right=False)])
    right, wrong = (paid.total for paid in bounds.paid(alone))
    return {
        "right": bounds.honest(right=True),
        "wrong": bounds.honest(right=False),
        "right without tools": right,
        "wrong without tools": wrong,
    }


def _published(played: Played, ground: Ground, world: World) -> float | None:
    """What the published rule pays for the episode's text."""
    problem = played.script.problem
    try:
        return published_reward(
            problem.question,
            completion(played),
            ended=END in "".join(played.script.turns[-1:]),
            is_right=lambda text: world.task.check(text, problem),
            known=ground.tools,
            shown=ground.demonstrations[0].tools_used,
        )
    except Crashed:
        return None


def completion(played: Played) -> str:
    """All text after the prompt: every turn of the script as it was written, and the results between them."""
    results = [message.content for message in played.trajectory.messages if message.role == "tool"]
    return "\n".join([*played.script.turns, *results])
