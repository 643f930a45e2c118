"""Audits a recipe's reward: every attack of the catalogue, and a random search for more.

recipe ──> task, tools, teacher, reward
teacher's work ──> attacks as raw text ──> played ──> earned <= bound?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mentor_kit.audits.attacks import ATTACKS, Attack
from mentor_kit.audits.bounds import SAME, Bounds
from mentor_kit.audits.call_syntax import choose
from mentor_kit.audits.published import Crashed, published_reward
from mentor_kit.audits.raw_rollout import END, AuditEnvironment, RawRollout
from mentor_kit.audits.search import Searched, search
from mentor_kit.audits.subject import AuditSubject, show, subjects_of
from mentor_kit.core.errors import UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.assembly import assemble_components
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.rl.reward import Breakdown
from mentor_kit.rollout.verdict import is_right


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
class FamilyAudit:
    """What was tried as one family of models writes, and what it earned."""

    family: str
    honest: dict[str, float]
    """What honest attempts earn: right or wrong, with the teacher's tools or with none."""
    attacks: tuple[Earned, ...]
    skipped: tuple[str, ...]
    """Attacks that no problem of this task lends itself to, or that the family has no way to write."""
    search: Searched

    @property
    def paid(self) -> tuple[Earned, ...]:
        """The attacks that pay."""
        return tuple(earned for earned in self.attacks if earned.pays)

    @property
    def passed(self) -> bool:
        """Whether nothing pays."""
        return not self.paid and not self.search.found


@dataclass(frozen=True)
class Audit:
    """What was tried, and what it earned, as one family of models writes or as several do."""

    recipe: str
    families: tuple[FamilyAudit, ...]
    reason: str
    """Why these families."""

    @property
    def passed(self) -> bool:
        """Whether nothing pays."""
        return all(one.passed for one in self.families)

    def as_data(self) -> dict[str, Json]:
        """For programs. Attacks and finds have their family; `honest` is the first family's."""
        return {
            "recipe": self.recipe,
            "passed": self.passed,
            "families": [one.family for one in self.families],
            "reason": self.reason,
            "honest": self.families[0].honest,
            "attacks": [{"family": one.family, **earned.as_data()} for one in self.families for earned in one.attacks],
            "skipped": [{"family": one.family, "attack": name} for one in self.families for name in one.skipped],
            "search": {
                "tries": sum(one.search.tries for one in self.families),
                "outcomes": sum(one.search.outcomes for one in self.families),
                "found": sum(one.search.found for one in self.families),
                "finds": [
                    {"family": one.family, **find.model_dump(mode="json")}
                    for one in self.families
                    for find in one.search.finds
                ],
            },
        }


def audit(
    loaded: LoadedRecipe,
    registry: Registry,
    *,
    problems: int = 2,
    tries: int = 1000,
    seed: int = 0,
    families: Sequence[str] = (),
) -> Audit:
    """Try every attack, and so many mutants, on a recipe's reward.

    Args:
        loaded: the recipe; its backend is not used, and of its student no more than the tokenizer.
        registry: the plugins.
        problems: how many problems each attack is tried on.
        tries: how many mutants the search tries in each family; 0 for none.
        seed: of the problems and of the search.
        families: as which families of models texts are written, or `all`; the student's if left out.

    Raises:
        UsageError: the recipe has no reward or no teacher, or there is no such family.
        DataError: there is no honest work to start from.
    """
    parts = assemble_components(loaded, registry)
    try:
        if parts.reward is None:
            raise UsageError(
                "the recipe has no reward to audit", hint="add `reward: {use: mentor}`, or gates and terms"
            )
        if parts.teacher is None:
            raise UsageError(
                "an audit starts from a teacher's work, and the recipe has no teacher",
                hint="add one: `--set teacher=scripted` where the task writes solutions",
            )
        choice = choose(families, loaded, registry, parts.context)
        shown = show(parts.task, parts.teacher, problems, seed)
        tried = []
        for written in choice.written:
            world = AuditEnvironment(parts.task, parts.toolbox, parts.limits, written.parser, written.form)
            bounds = [Bounds(world, subject, parts.reward) for subject in subjects_of(world, shown, problems)]
            attacks, skipped = _attacked(bounds)
            found = search(bounds, tries, seed)
            tried.append(FamilyAudit(written.family, _honest(bounds[0]), attacks, skipped, found))
        return Audit(recipe=loaded.recipe.name, families=tuple(tried), reason=choice.reason)
    finally:
        parts.close()


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
    attacks = [attack for attack in ATTACKS if attack.needs(bounds.subject)]
    played = bounds.world.run([attack.script(bounds.subject) for attack in attacks])
    most = bounds.of(played, [attack.is_solved(bounds.subject) for attack in attacks])
    paid = bounds.paid(played)
    return [_earned(*each, bounds) for each in zip(attacks, played, paid, most, strict=True)]


def _earned(attack: Attack, played: RawRollout, breakdown: Breakdown, most: float, bounds: Bounds) -> Earned:
    return Earned(
        attack=attack,
        problem=bounds.subject.problem.id,
        earned=breakdown.total,
        bound=most,
        published=_published(played, bounds.subject, bounds.world),
        gate=breakdown.gate,
    )


def _honest(bounds: Bounds) -> dict[str, float]:
    subject = bounds.subject
    alone = bounds.world.run_honest([subject.twin((), right=True), subject.twin((), right=False)])
    right, wrong = (paid.total for paid in bounds.paid(alone))
    return {
        "right": bounds.honest(right=True),
        "wrong": bounds.honest(right=False),
        "right without tools": right,
        "wrong without tools": wrong,
    }


def _published(played: RawRollout, subject: AuditSubject, world: AuditEnvironment) -> float | None:
    """What the published rule pays for the episode's text."""
    problem = played.script.problem
    try:
        return published_reward(
            problem.question,
            completion(played),
            ended=END in "".join(played.script.turns[-1:]),
            is_right=lambda text: is_right(text, problem, world.task),
            known=subject.tools,
            shown=subject.demonstrations[0].tools_used,
        )
    except Crashed:
        return None


def completion(played: RawRollout) -> str:
    """All text after the prompt: every turn of the script as it was written, and the results between them."""
    results = [message.content for message in played.trajectory.messages if message.role == "tool"]
    return "\n".join([*played.script.turns, *results])
