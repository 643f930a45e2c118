"""Selects the families of models in whose call syntax an audit is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mentor_kit.chat.families import Family, families
from mentor_kit.chat.forms import Form
from mentor_kit.chat.parsing import Parser
from mentor_kit.core.errors import MentorKitError, UsageError, did_you_mean
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.recipe.assembly import student_format, student_spec
from mentor_kit.recipe.loading import LoadedRecipe

#: In place of a family's name: every one.
ALL = "all"


@dataclass(frozen=True)
class Written:
    """A family's writer and parser."""

    family: str
    parser: Parser
    form: Form


@dataclass(frozen=True)
class Choice:
    """The families of an audit, and why these."""

    written: tuple[Written, ...]
    reason: str


def choose(names: Sequence[str], loaded: LoadedRecipe, registry: Registry, context: BuildContext) -> Choice:
    """The families of these names; without any the student's own, or all where that is unknown.

    Raises:
        UsageError: there is no family of a name, or its syntax is unknown.
    """
    if ALL in names:
        return Choice(_all(registry), "every family")
    if names:
        return Choice(tuple(_named(name, registry) for name in dict.fromkeys(names)), "as asked for")
    try:
        return Choice((_students(loaded, registry, context),), "the student's")
    except MentorKitError as error:
        reason = str(error).splitlines()[0]
        return Choice(_all(registry), f"every family, as the student's is not known: {reason:.120}")


def _all(registry: Registry) -> tuple[Written, ...]:
    return tuple(_written(family, form) for family in families(registry) if (form := family.written) is not None)


def _named(name: str, registry: Registry) -> Written:
    known = {family.name: family for family in families(registry)}
    if name not in known:
        raise UsageError(
            f"there is no family of models {name!r}{did_you_mean(name, known)}",
            hint=f"the families are {', '.join(known)}; or `{ALL}`",
        )
    form = known[name].written
    if form is None:
        raise UsageError(
            f"the family {name!r} does not say how it writes calls, so none of its texts can be made up",
            hint="its plugin can: `Family(…, form=Form(…))` (docs/families.md)",
        )
    return _written(known[name], form)


def _students(loaded: LoadedRecipe, registry: Registry, context: BuildContext) -> Written:
    """The family of the student's chat template; only its tokenizer is loaded."""
    chat = student_format(loaded, registry, student_spec(loaded, registry, context))
    for family in families(registry):
        if chat.parser in (family.parser(False), family.parser(True)):
            return _named(family.name, registry)
    raise UsageError("its calls are read by its tokenizer's own response template")


def _written(family: Family, form: Form) -> Written:
    # turns are written from their beginning, so a mark that a prompt opens is opened here, too
    return Written(family.name, family.parser(False), form)
