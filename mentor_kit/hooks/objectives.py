"""Builds an objective, with its loss and advantage estimator, from the recipe's form."""

from __future__ import annotations

from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.rl.objective import Objective, ObjectiveSpec


def build_objective(spec: ObjectiveSpec, context: BuildContext | None = None) -> Objective:
    """Return the objective that a spec describes.

    Args:
        spec: names the loss and the advantage estimator, with their options.
        context: of the recipe; the plugins of this environment if left out.

    Raises:
        ComponentError: there is no loss or estimator of that name, or an option is wrong.
        PluginError: a plugin could not build one.
        UsageError: the loss does not go together with the rest of the objective.
    """
    context = context or BuildContext(default_registry())
    registry = context.registry
    return Objective(
        spec=spec,
        loss=registry.build("losses", spec.loss, context),
        advantage=registry.build("advantages", spec.advantage, context),
    )
