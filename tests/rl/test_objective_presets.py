from __future__ import annotations

import pytest
from pydantic import ValidationError

from mentor_kit.rl.objective import PRESETS, Objective


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip_keeps_every_preset_and_override(name: str) -> None:
    for objective in (Objective(preset=name), Objective(preset=name, kl=0.5, kl_estimator="k2", constant_length=9)):
        assert Objective.from_json(objective.to_json()) == objective


def test_presets_can_be_overridden_one_by_one() -> None:
    dapo = Objective(preset="dapo", clip_high=0.5)
    assert (dapo.clip_low, dapo.clip_high, dapo.aggregation, dapo.kl) == (0.2, 0.5, "token", 0.0)


def test_the_papers_settings() -> None:
    grpo, gspo, cispo = (Objective(preset=name) for name in ("grpo", "gspo", "cispo"))
    assert (grpo.clip_low, grpo.clip_high, grpo.kl, grpo.kl_estimator) == (0.2, 0.2, 0.001, "k3")
    assert (gspo.ratio, gspo.clip_low, gspo.clip_high) == ("sequence", 3e-4, 4e-4)
    assert (cispo.surrogate, cispo.clip_low, cispo.aggregation) == ("capped", None, "token")
    opd, sod = Objective(preset="opd"), Objective(preset="sod")
    assert (opd.reward, opd.distill, opd.step_weights, opd.clip_low, opd.clip_high) == (0.0, 1.0, "equal", None, None)
    assert (sod.reward, sod.distill, sod.step_weights, sod.step_cap, sod.clip_high) == (1.0, 1.0, "sod", 1.2, 0.28)
    assert (opd.needs_reward, opd.distills, sod.needs_reward, grpo.distills) == (False, True, True, False)
    assert not Objective(preset="dr-grpo").needs_reference
    assert grpo.needs_reference


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"preset": "dapoo"}, r"no objective is called 'dapoo' \(did you mean 'dapo'\?\)"),
        ({"preset": "cispo", "clip_high": None}, "the capped surrogate needs clip_high"),
        ({"preset": "sft", "importance_cap": 2.0}, "importance_cap has no meaning"),
        ({"preset": "sft", "distill": 1.0}, "distill has no meaning"),
        ({"reward": 0.0}, "reward and distill are both 0"),
        ({"preset": "opd", "distill": 0.0}, "reward and distill are both 0"),
        ({"step_weights": "sod"}, "step_weights are of the distillation"),
        ({"preset": "sod", "step_cap": 0.9}, "greater than or equal to 1"),
        ({"preset": "sod", "distill": -1.0}, "greater than or equal to 0"),
        ({"kl": -1.0}, "greater than or equal to 0"),
        ({"clip": 0.2}, "Extra inputs"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Objective.model_validate(fields)
