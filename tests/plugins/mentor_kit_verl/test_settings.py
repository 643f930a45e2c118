"""A recipe in verl's keys: every option becomes a key, or is refused with its place. verl is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_verl.objective import ADVANTAGES, LOSSES, objective_faults, objective_settings
from mentor_kit_verl.options import VerlOptions
from mentor_kit_verl.settings import differences, recipe_faults, recipe_settings
from verl_exports import ONE_UPDATE, registry_with_verl

from mentor_kit.backend.student import StudentSpec
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.engines import Cluster, EngineRun, common_faults
from mentor_kit.rl.objective import PRESETS, ObjectiveSpec
from mentor_kit.stages.grpo_options import GRPOOptions

ACTOR = "actor_rollout_ref.actor."
PLACE = ("objective",)


def run_of(changes: dict[str, Any], cluster: Cluster = Cluster(1, 2)) -> EngineRun:  # noqa: B008
    registry = registry_with_verl()
    loaded = load_checked("quickstart", {**ONE_UPDATE, **changes}, registry)
    options = registry.check("stages", loaded.recipe.train[0])
    assert isinstance(options, GRPOOptions)
    return EngineRun(loaded, registry, options, StudentSpec("owner/model"), False, cluster, 100)


def settings_of(changes: dict[str, Any], **options: Any) -> dict[str, Any]:
    return recipe_settings(run_of(changes), VerlOptions(**options))


def faults_of(changes: dict[str, Any], cluster: Cluster = Cluster(1, 2), **options: Any) -> list[str]:  # noqa: B008
    run = run_of(changes, cluster)
    found = [*common_faults(run.recipe), *recipe_faults(run.loaded, run.options, cluster, VerlOptions(**options))]
    return [".".join(map(str, place)) for place, _ in found]


def written(objective: dict[str, Any], **settings: Any) -> dict[str, Any]:
    spec = ObjectiveSpec.model_validate(objective)
    assert list(objective_faults(spec, PLACE)) == []
    return objective_settings(spec, longest=256, single_update=True, **settings)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("grpo", {"loss_agg_mode": "seq-mean-token-mean", "use_kl_loss": True, "kl_loss_coef": 0.001}),
        ("dr-grpo", {"loss_agg_mode": "seq-mean-token-sum-norm", "loss_scale_factor": 256, "use_kl_loss": False}),
        ("dapo", {"loss_agg_mode": "token-mean", "clip_ratio_low": 0.2, "clip_ratio_high": 0.28}),
        ("rloo", {"policy_loss.loss_mode": "gpg", "loss_scale_factor": 1}),
        ("gspo", {"policy_loss.loss_mode": "gspo", "clip_ratio_low": 3e-4, "clip_ratio_high": 4e-4}),
        ("cispo", {"policy_loss.loss_mode": "cispo", "clip_ratio_low": 1.0, "clip_ratio_high": 4.0}),
    ],
)
def test_presets(preset: str, expected: dict[str, Any]) -> None:
    found = written({"preset": preset})
    assert {key: found[ACTOR + key] for key in expected} == expected


@pytest.mark.parametrize(
    ("name", "estimator", "by_std"),
    [("group_mean_std", "grpo", True), ("group_mean", "grpo", False), ("leave_one_out", "rloo", None)],
)
def test_advantages(name: str, estimator: str, by_std: bool | None) -> None:
    found = written({"advantage": name, "kl": 0})
    assert found["algorithm.adv_estimator"] == estimator
    assert found.get("algorithm.norm_adv_by_std_in_grpo") == by_std


def test_the_dual_clip_is_off_unless_the_recipe_asks_for_it() -> None:
    assert written({})[ACTOR + "clip_ratio_c"] > 1e6
    dual = {"loss": {"use": "ppo", "with": {"clip_dual": 3.0}}}
    assert written(dual)[ACTOR + "clip_ratio_c"] == 3.0


@pytest.mark.parametrize(("estimator", "type"), [("k1", "kl"), ("k2", "mse"), ("k3", "low_var_kl")])
def test_divergences(estimator: str, type: str) -> None:
    assert written({"kl": 0.1, "kl_estimator": estimator})[ACTOR + "kl_loss_type"] == type


def test_an_importance_cap_needs_the_old_policys_log_probabilities() -> None:
    correction = "algorithm.rollout_correction."
    capped, plain = written({"importance_cap": 2.0}), written({})
    assert [capped[correction + key] for key in ("rollout_is", "rollout_is_threshold", "bypass_mode")] == [
        "token",
        2.0,
        False,
    ]
    assert [plain[correction + key] for key in ("rollout_is", "bypass_mode")] == [None, True]


@pytest.mark.parametrize(
    ("objective", "place"),
    [
        ({"advantage": "batch_mean_std"}, "advantage"),
        ({"preset": "reinforce++"}, "kl_in"),
        ({"loss": "likelihood"}, "loss"),
        ({"preset": "opd"}, "distill"),
        ({"preset": "opd"}, "reward"),
        ({"reward": 0.5}, "reward"),
    ],
)
def test_what_of_an_objective_verl_cannot_do_is_refused(objective: dict[str, Any], place: str) -> None:
    found = objective_faults(ObjectiveSpec.model_validate(objective), PLACE)
    assert (*PLACE, place) in [where for where, _ in found]


#: What of an objective may be said in any combination.
OBJECTIVES = st.fixed_dictionaries(
    {
        "preset": st.sampled_from(sorted(set(PRESETS) - {"sft", "opd", "sod"})),
        "advantage": st.sampled_from([*ADVANTAGES, "batch_mean_std"]),
        "aggregation": st.sampled_from(["sequence", "token", "constant"]),
        "kl": st.floats(0, 1),
        "kl_in": st.sampled_from(["loss", "advantage"]),
        "entropy": st.floats(0, 1),
    }
)


@given(OBJECTIVES)
def test_every_objective_is_refused_or_says_the_same_in_verls_keys(objective: dict[str, Any]) -> None:
    spec = ObjectiveSpec.model_validate(objective)
    places = {place[-1] for place, _ in objective_faults(spec, PLACE)}
    assert ("advantage" in places) == (objective["advantage"] == "batch_mean_std")
    assert ("kl_in" in places) == (objective["kl"] > 0 and objective["kl_in"] == "advantage")
    if not places:
        found = objective_settings(spec, longest=256, single_update=True)
        assert found[ACTOR + "entropy_coeff"] == objective["entropy"]
        assert found[ACTOR + "kl_loss_coef"] * found[ACTOR + "use_kl_loss"] == objective["kl"]
        assert found["algorithm.use_kl_in_reward"] is False
        assert found[ACTOR + "policy_loss.loss_mode"] == LOSSES[spec.loss.use]
        assert found[ACTOR + "clip_ratio_low"] > 0


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"train.0.steps": 7}, "trainer.total_training_steps", 7),
        ({"train.0.problems": 32}, "data.train_batch_size", 32),
        ({"train.0.group": 4}, "actor_rollout_ref.rollout.n", 4),
        ({"train.0.minibatches": 4}, ACTOR + "ppo_mini_batch_size", 4),
        ({"train.0.epochs": 3}, ACTOR + "ppo_epochs", 3),
        ({"train.0.resample": 1}, "algorithm.filter_groups.enable", True),
        ({"train.0.optimizer.lr": 1e-5}, ACTOR + "optim.lr", 1e-5),
        ({"train.0.optimizer.weight_decay": 0.1}, ACTOR + "optim.weight_decay", 0.1),
        ({"train.0.optimizer.betas": [0.8, 0.9]}, ACTOR + "optim.betas", [0.8, 0.9]),
        ({"train.0.optimizer.clip": 0.5}, ACTOR + "optim.clip_grad", 0.5),
        ({"rollout.temperature": 0.6}, "actor_rollout_ref.rollout.temperature", 0.6),
        ({"rollout.top_k": 20}, "actor_rollout_ref.rollout.top_k", 20),
        ({"rollout.top_k": 0}, "actor_rollout_ref.rollout.top_k", -1),
        ({"rollout.max_response_tokens": 500}, "data.max_response_length", 500),
        ({"seed": 5}, "data.seed", 5),
        ({"student.adapter": {"use": "lora", "with": {"rank": 8}}}, "actor_rollout_ref.model.lora_rank", 8),
        ({"backend": {"use": "torch", "with": {"dtype": "float32"}}}, ACTOR + "fsdp_config.dtype", "float32"),
        ({"backend.dtype": "float32"}, ACTOR + "fsdp_config.mixed_precision.param_dtype", "float32"),
        ({"evaluate.every": 5}, "trainer.test_freq", 5),
        ({"evaluate.every": 0, "train.0.steps": 9}, "trainer.test_freq", 9),
        ({"evaluate.on": []}, "trainer.test_freq", -1),
        ({"evaluate.at_start": False}, "trainer.val_before_train", False),
        ({"checkpoints.every": 20}, "trainer.save_freq", 20),
        ({"checkpoints.every": 0, "train.0.steps": 9}, "trainer.save_freq", 9),
        ({"trackers": ["wandb"]}, "trainer.logger", ["console", "file", "wandb"]),
    ],
)
def test_options_of_a_recipe(changes: dict[str, Any], key: str, value: Any) -> None:
    assert faults_of(changes) == []
    assert settings_of(changes)[key] == value


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"train": [{"use": "collect", "with": {"problems": 2}}]}, "train"),
        ({"train.0.permute_rewards": True}, "train.0.with.permute_rewards"),
        ({"train.0.optimizer.use": "muon"}, "train.0.with.optimizer.use"),
        ({"train.0.minibatches": 3}, "train.0.with.minibatches"),
        ({"train.0.problems": 3, "train.0.group": 3}, "train.0.with.group"),
        ({"rollout.deterministic": True}, "rollout.deterministic"),
        ({"student.revision": "v1"}, "student.revision"),
        ({"student.adapter": {"use": "lora", "with": {"dropout": 0.1}}}, "student.adapter.with.dropout"),
        ({"student.adapter": {"use": "lora", "with": {"rank": 1024}}}, "student.adapter.with.rank"),
        ({"student.adapter": {"use": "lora", "with": {"alpha": 1.5}}}, "student.adapter.with.alpha"),
        ({"evaluate.agent": "scripted"}, "evaluate.agent"),
    ],
)
def test_what_of_a_recipe_verl_cannot_do_is_refused_at_its_place(changes: dict[str, Any], place: str) -> None:
    registry = registry_with_verl()
    loaded = load_checked("quickstart", {**ONE_UPDATE, **changes}, registry)
    common = [".".join(map(str, where)) for where, _ in common_faults(loaded.recipe)]
    assert place in (common or faults_of(changes))


def test_quantized_weights_are_refused_where_their_configuration_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"quantization": {"bits": 4, "group_size": 64}}')
    assert faults_of({"student.model": str(tmp_path)}) == ["student.model"]
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert faults_of({"student.model": str(tmp_path)}) == []


def test_machines_have_to_divide_the_work() -> None:
    assert faults_of({}, Cluster(1, 3)) == ["train.0.with.group"]
    assert faults_of({}, Cluster(2, 4)) == []
    assert faults_of({}, Cluster(1, 2), tensor_parallel=4) == [""]


def test_a_constant_rate_is_torchs_own_optimizer() -> None:
    constant = {"train.0.optimizer.schedule": "constant", "train.0.optimizer.warmup": 0}
    assert ACTOR + "optim.optimizer_impl" not in settings_of(constant)
    falling = settings_of({"train.0.minibatches": 2, "train.0.epochs": 3})
    assert falling[ACTOR + "optim.override_optimizer_config"]["updates"] == 6


def test_what_is_different_depends_on_the_recipe() -> None:
    plain, masked = run_of({}), run_of({"train.0.mask_unended": True, "train.0.resample": 2})
    assert set(differences(plain)) < set(differences(masked))
    assert len(set(differences(masked)) - set(differences(plain))) == 2
