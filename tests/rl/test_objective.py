from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import UsageError
from mentor_kit.hooks import ComponentError, default_registry
from mentor_kit.hooks.objectives import build_objective
from mentor_kit.rl.objective import PRESETS, ObjectiveSpec


def ppo(low: float | None, high: float | None) -> ComponentSpec:
    return ComponentSpec(use="ppo", options={"clip_low": low, "clip_high": high, "clip_dual": None})


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip_keeps_every_preset_and_override(name: str) -> None:
    for spec in (ObjectiveSpec(preset=name), ObjectiveSpec(preset=name, kl=0.5, kl_estimator="k2", constant_length=9)):
        assert ObjectiveSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_gives_every_option_of_its_loss(name: str) -> None:
    spec = ObjectiveSpec(preset=name)
    options = default_registry().check("losses", spec.loss)
    assert options.model_dump() == spec.loss.options


def test_presets_can_be_overridden_one_by_one() -> None:
    dapo = ObjectiveSpec.model_validate({"preset": "dapo", "loss": {"use": "ppo", "with": {"clip_low": 0.5}}})
    assert (dapo.loss, dapo.aggregation, dapo.kl) == (ppo(0.5, 0.28), "token", 0.0)


@pytest.mark.parametrize("loss", ["ppo", {"use": "ppo"}, ComponentSpec(use="ppo")])
def test_the_same_loss_keeps_the_presets_options(loss: Any) -> None:
    assert ObjectiveSpec.model_validate({"preset": "dapo", "loss": loss}).loss == ppo(0.2, 0.28)


@pytest.mark.parametrize("loss", ["cispo", {"use": "cispo"}, ComponentSpec(use="cispo")])
def test_another_loss_has_its_own_options(loss: Any) -> None:
    spec = ObjectiveSpec.model_validate({"preset": "dapo", "loss": loss})
    assert spec.loss == ComponentSpec(use="cispo")
    assert build_objective(spec).loss == build_objective(ObjectiveSpec(preset="cispo")).loss


def test_the_papers_settings() -> None:
    grpo, gspo, cispo = (ObjectiveSpec(preset=name) for name in ("grpo", "gspo", "cispo"))
    assert (grpo.loss, grpo.kl, grpo.kl_estimator) == (ppo(0.2, 0.2), 0.001, "k3")
    assert gspo.loss == ComponentSpec(use="gspo", options={"clip_low": 3e-4, "clip_high": 4e-4})
    assert (cispo.loss.use, cispo.loss.options["clip_low"], cispo.aggregation) == ("cispo", None, "token")
    opd, sod = ObjectiveSpec(preset="opd"), ObjectiveSpec(preset="sod")
    assert (opd.reward, opd.distill, opd.step_weights, opd.loss) == (0.0, 1.0, "equal", ppo(None, None))
    assert (sod.reward, sod.distill, sod.step_weights, sod.step_cap) == (1.0, 1.0, "sod", 1.2)
    assert sod.loss == ppo(0.2, 0.28)
    assert (opd.needs_reward, opd.distills, sod.needs_reward, grpo.distills) == (False, True, True, False)
    assert not ObjectiveSpec(preset="dr-grpo").needs_reference
    assert grpo.needs_reference


@pytest.mark.parametrize(
    ("fields", "place", "message"),
    [
        ({"preset": "dapoo"}, (), r"no objective is called 'dapoo' \(did you mean 'dapo'\?\)"),
        ({"preset": ["dapo"]}, (), "no objective is called"),
        ({"reward": 0.0}, (), "reward and distill are both 0"),
        ({"preset": "opd", "distill": 0.0}, (), "reward and distill are both 0"),
        ({"step_weights": "sod"}, (), "step_weights are of the distillation"),
        ({"preset": "sod", "step_cap": 0.9}, ("step_cap",), None),
        ({"preset": "sod", "distill": -1.0}, ("distill",), None),
        ({"kl": -1.0}, ("kl",), None),
        ({"clip": 0.2}, ("clip",), None),
        ({"loss": {"use": "ppo", "clip_high": 0.2}}, ("loss", "clip_high"), None),
        ({"loss": {"use": "ppo", "with": 3}}, ("loss", "with"), None),
        ({"loss": 3}, ("loss",), None),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, object], place: tuple[str, ...], message: str | None) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        ObjectiveSpec.model_validate(fields)
    assert [error["loc"] for error in caught.value.errors()] == [place]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"loss": "pp0"}, ("use",)),
        ({"advantage": "group-mean"}, ("use",)),
        ({"preset": "cispo", "loss": {"use": "cispo", "with": {"clip_high": None}}}, ("with", "clip_high")),
        ({"loss": {"use": "gspo", "with": {"clip": 0.1}}}, ("with", "clip")),
        ({"advantage": {"use": "group_mean", "with": {"std": True}}}, ("with", "std")),
    ],
)
def test_names_and_options_are_checked_against_the_plugins(fields: dict[str, object], place: tuple[str, ...]) -> None:
    with pytest.raises(ComponentError) as caught:
        build_objective(ObjectiveSpec.model_validate(fields))
    assert [where for where, _ in caught.value.faults] == [place]


@pytest.mark.parametrize("settings", [{"importance_cap": 2.0}, {"distill": 1.0}])
def test_maximum_likelihood_has_no_advantages_to_change(settings: dict[str, float]) -> None:
    (name,) = settings
    with pytest.raises(UsageError, match=name):
        build_objective(ObjectiveSpec(preset="sft", **settings))
