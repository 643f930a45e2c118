"""Audits a recipe's reward: every attack of the catalogue, and a random search for more.

recipe ──> task, tools, teacher, reward
teacher's work ──> attacks as raw strings ──> rollouts ──> earned <= bound?
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
    """An attack's reward on the problem where it earns most, beside its bound."""

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
    """The attacks and mutants in one family's call syntax, and their rewards."""

    family: str
    honest: dict[str, float]
    """Rewards of honest attempts: right or wrong, with the teacher's tools or with none."""
    attacks: tuple[Earned, ...]
    skipped: tuple[str, ...]
    """Attacks that apply to no problem of this task, or that the family cannot write."""
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
    """The attacks and mutants, and their rewards, in the call syntax of one family or several."""

    recipe: str
    families: tuple[FamilyAudit, ...]
    reason: str
    """Why these families were chosen."""

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
        loaded: the recipe; its backend is not used, and of its student only the tokenizer is.
        registry: the plugins.
        problems: how many problems each attack is tried on.
        tries: how many mutants the search tries in each family; 0 for none.
        seed: of the problems and of the search.
        families: names of the families in whose syntax strings are written, or `all`; the student's if left out.

    Raises:
        UsageError: the recipe has no reward or no teacher, or there is no such family.
        DataError: there is no honest work to start from.
    """
    components = assemble_components(loaded, registry)
    try:
        if components.reward is None:
            raise UsageError(
                "the recipe has no reward to audit", hint="add `reward: {use: mentor}`, or gates and terms"
            )
        if components.teacher is None:
            raise UsageError(
                "an audit starts from a teacher's work, and the recipe has no teacher",
                hint="add one: `--set teacher=scripted` where the task writes solutions",
            )
        choice = choose(families, loaded, registry, components.context)
        shown = show(components.task, components.teacher, problems, seed)
        tried = []
        for written in choice.written:
            environment = AuditEnvironment(
                components.task, components.toolbox, components.limits, written.parser, written.form
            )
            bounds = [
                Bounds(environment, subject, components.reward) for subject in subjects_of(environment, shown, problems)
            ]
            attacks, skipped = _attacked(bounds)
            found = search(bounds, tries, seed)
            tried.append(FamilyAudit(written.family, _honest(bounds[0]), attacks, skipped, found))
        return Audit(recipe=loaded.recipe.name, families=tuple(tried), reason=choice.reason)
    finally:
        components.close()


def _attacked(bounds: Sequence[Bounds]) -> tuple[tuple[Earned, ...], tuple[str, ...]]:
    """Return each attack where it earns most, and the names of those that apply to no problem."""
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
    """Return what the applicable attacks earn on one problem."""
    attacks = [attack for attack in ATTACKS if attack.needs(bounds.subject)]
    rollouts = bounds.environment.run([attack.script(bounds.subject) for attack in attacks])
    most = bounds.of(rollouts, [attack.is_solved(bounds.subject) for attack in attacks])
    paid = bounds.paid(rollouts)
    return [_earned(*each, bounds) for each in zip(attacks, rollouts, paid, most, strict=True)]


def _earned(attack: Attack, rollout: RawRollout, breakdown: Breakdown, most: float, bounds: Bounds) -> Earned:
    return Earned(
        attack=attack,
        problem=bounds.subject.problem.id,
        earned=breakdown.total,
        bound=most,
        published=_published(rollout, bounds.subject, bounds.environment),
        gate=breakdown.gate,
    )


def _honest(bounds: Bounds) -> dict[str, float]:
    subject = bounds.subject
    alone = bounds.environment.run_honest([subject.twin((), right=True), subject.twin((), right=False)])
    right, wrong = (paid.total for paid in bounds.paid(alone))
    return {
        "right": bounds.honest(right=True),
        "wrong": bounds.honest(right=False),
        "right without tools": right,
        "wrong without tools": wrong,
    }


def _published(rollout: RawRollout, subject: AuditSubject, environment: AuditEnvironment) -> float | None:
    """What the published rule pays for the episode's text."""
    problem = rollout.script.problem
    try:
        return published_reward(
            problem.question,
            completion(rollout),
            ended=END in "".join(rollout.script.turns[-1:]),
            is_right=lambda text: is_right(text, problem, environment.task),
            known=subject.tools,
            shown=subject.demonstrations[0].tools_used,
        )
    except Crashed:
        return None


def completion(rollout: RawRollout) -> str:
    """Return the string after the prompt: every turn of the script as it is, and the results of tools."""
    results = [message.content for message in rollout.trajectory.messages if message.role == "tool"]
    return "\n".join([*rollout.script.turns, *results])
