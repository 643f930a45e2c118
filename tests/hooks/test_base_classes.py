"""What a plugin builds is of its kind's base class, or the error names plugin, component and class."""

from __future__ import annotations

import pytest

from mentor_kit.backend.policy import Backend
from mentor_kit.core.component import ComponentSpec, Kind
from mentor_kit.core.data_format import DataFormat
from mentor_kit.core.errors import PluginError
from mentor_kit.core.task import Task
from mentor_kit.hooks import BuildContext, Registry, hookimpl, load_plugins
from mentor_kit.hooks.tracker import Tracker
from mentor_kit.recipe.engines import TrainingEngine
from mentor_kit.rl.advantages.estimator import AdvantageEstimator
from mentor_kit.rl.losses.loss import Loss
from mentor_kit.rl.reward import RewardSpec, Term
from mentor_kit.stages import Stage

BASES: dict[Kind, type] = {
    "tasks": Task,
    "reward_terms": Term,
    "rewards": RewardSpec,
    "losses": Loss,
    "advantages": AdvantageEstimator,
    "trackers": Tracker,
    "formats": DataFormat,
    "stages": Stage,
    "backends": Backend,
    "engines": TrainingEngine,
}


@pytest.mark.parametrize("kind", BASES)
def test_something_else_is_named_with_its_plugin(kind: Kind) -> None:
    class Theirs:
        pass

    plugins = load_plugins([])

    @hookimpl
    def offer(register):
        register("odd", build=lambda options, context: "nothing of the kind")

    setattr(Theirs, f"register_{kind}", staticmethod(offer))
    plugins.manager.register(Theirs, name="theirs")
    registry = Registry(plugins)
    with pytest.raises(PluginError) as caught:
        registry.build(kind, ComponentSpec(use="odd"), BuildContext(registry), base=BASES[kind])
    base = BASES[kind]
    for part in ("'theirs'", "'nothing of the kind'", "'odd'", f"{base.__module__}.{base.__name__}"):
        assert part in caught.value.message
