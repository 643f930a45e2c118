"""An objective in verl's keys, and what of it verl has no words for.

| here | verl |
| --- | --- |
| `advantage` group_mean_std, group_mean | `adv_estimator: grpo`, with and without `norm_adv_by_std_in_grpo` |
| `advantage` leave_one_out | `adv_estimator: rloo` |
| `loss` ppo, gspo, cispo, reinforce | `policy_loss.loss_mode`: vanilla, gspo, cispo, gpg |
| `aggregation` sequence, token, constant | `loss_agg_mode`: seq-mean-token-mean, token-mean, seq-mean-token-sum-norm |
| `kl`, `kl_estimator` k1, k2, k3 | `kl_loss_coef`, `kl_loss_type`: kl, mse, low_var_kl |
| `importance_cap` | `rollout_correction.rollout_is: token`, with its threshold |
"""

from __future__ import annotations

from collections.abc import Iterator

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.frozen_model import Json
from mentor_kit.recipe.source import Path_
from mentor_kit.rl.objective import ObjectiveSpec

ADVANTAGES: dict[str, dict[str, Json]] = {
    "group_mean_std": {"adv_estimator": "grpo", "norm_adv_by_std_in_grpo": True},
    "group_mean": {"adv_estimator": "grpo", "norm_adv_by_std_in_grpo": False},
    "leave_one_out": {"adv_estimator": "rloo"},
}
LOSSES = {"ppo": "vanilla", "gspo": "gspo", "cispo": "cispo", "reinforce": "gpg"}
AGGREGATIONS = {"sequence": "seq-mean-token-mean", "token": "token-mean", "constant": "seq-mean-token-sum-norm"}
KL_TYPES = {"k1": "kl", "k2": "mse", "k3": "low_var_kl"}

#: A bound of the ratio that no ratio meets: verl clamps its logarithm to 20, and has no key for none.
UNBOUNDED = 1.0e9

ACTOR = "actor_rollout_ref.actor."


def objective_faults(spec: ObjectiveSpec, place: Path_) -> Iterator[tuple[Path_, str]]:
    """Yield what of an objective verl cannot do, with its place in the recipe.

    Args:
        spec: the objective.
        place: where it stands.
    """
    if spec.advantage.use not in ADVANTAGES:
        yield (*place, "advantage"), f"verl has no estimator {spec.advantage.use!r}; it has {_listed(ADVANTAGES)}"
    if spec.loss.use not in LOSSES:
        yield (*place, "loss"), f"verl has no loss {spec.loss.use!r}; it has {_listed(LOSSES)}"
    if spec.kl > 0 and spec.kl_in == "advantage":
        yield (
            (*place, "kl_in"),
            "verl takes the divergence off the rewards, before they are compared within their group, which is another "
            "objective; use `kl_in: loss`, or `kl: 0`",
        )
    if spec.distills:
        yield (*place, "distill"), "verl distils from teachers of its own alone; use `distill: 0`"
    if spec.reward != 1.0:
        yield (*place, "reward"), f"verl has no weight of the reward's advantage, which is {spec.reward:g}; use 1"


def objective_settings(spec: ObjectiveSpec, *, longest: int, single_update: bool) -> dict[str, Json]:
    """Verl's keys of an objective without faults.

    Args:
        spec: the objective.
        longest: tokens of the longest response, for `constant` aggregation without a length of its own.
        single_update: whether a step's rollouts are trained on in one update: then the policy that they were sampled
            from is the old one, and no forward pass computes its log-probabilities again.
    """
    correction = "algorithm.rollout_correction."
    found: dict[str, Json] = {f"algorithm.{key}": value for key, value in ADVANTAGES[spec.advantage.use].items()}
    found |= {
        ACTOR + "policy_loss.loss_mode": LOSSES[spec.loss.use],
        ACTOR + "loss_agg_mode": AGGREGATIONS[spec.aggregation],
        ACTOR + "loss_scale_factor": (spec.constant_length or longest) if spec.aggregation == "constant" else None,
        ACTOR + "entropy_coeff": spec.entropy,
        ACTOR + "use_kl_loss": spec.kl > 0,
        ACTOR + "kl_loss_coef": spec.kl,
        ACTOR + "kl_loss_type": KL_TYPES[spec.kl_estimator],
        "algorithm.use_kl_in_reward": False,
        **_bounds(spec.loss),
        correction + "bypass_mode": single_update and spec.loss.use == "ppo" and spec.importance_cap is None,
        correction + "rollout_is": None if spec.importance_cap is None else "token",
    }
    if spec.importance_cap is not None:
        found[correction + "rollout_is_threshold"] = spec.importance_cap
    return found


def _bounds(loss: ComponentSpec) -> dict[str, Json]:
    """The ratio's bounds; the last is verl's dual clip, which is 3 by default, and here a recipe's choice."""
    low, high, dual = (loss.options.get(name) for name in ("clip_low", "clip_high", "clip_dual"))
    return {
        # a ratio is never below 0
        ACTOR + "clip_ratio_low": 1.0 if low is None else low,
        ACTOR + "clip_ratio_high": UNBOUNDED if high is None else high,
        ACTOR + "clip_ratio_c": UNBOUNDED if dual is None else dual,
    }


def _listed(names: dict[str, Json] | dict[str, str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
