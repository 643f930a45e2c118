"""Objectives: which advantages, which loss, which KL term, how tokens are averaged.

`ObjectiveSpec` is an objective as data, as a recipe writes it: it names an advantage estimator and a loss, which are
plugins (`mentor_kit.rl.advantages`, `mentor_kit.rl.losses`). `Objective` has them built; a policy updates by it.
The arithmetic is written once over an array namespace for every backend. Sources are arXiv numbers.

| preset | advantage | loss | clip (low, high) | aggregation | KL | source |
| --- | --- | --- | --- | --- | --- | --- |
| grpo | (r - mean) / std of the group | ppo | 0.2, 0.2 | sequence | 0.001 k3, loss | 2402.03300, KL of 2510.18383 |
| dr-grpo | r - mean of the group | ppo | 0.2, 0.2 | constant | none | 2503.20783 |
| dapo | (r - mean) / std of the group | ppo | 0.2, 0.28 | token | none | 2503.14476 |
| rloo | r - mean of the others in the group | reinforce | none | constant, length 1 | none | 2402.14740 |
| reinforce++ | (r - mean) / std of the batch | ppo | 0.2, 0.2 | sequence | 0.001 k1, advantage | 2501.03262 |
| gspo | (r - mean) / std of the group | gspo | 3e-4, 4e-4 | sequence | none | 2507.18071 |
| cispo | (r - mean) / std of the group | cispo | none, 4.0 | token | none | 2506.13585 |
| sft | none | likelihood | none | token | none | maximum likelihood |
| opd | log p_teacher - log p of each token | ppo | none | token | none | on-policy distillation (Lu, 2025) |
| sod | grpo's + step weight · (log p_teacher - log p) | ppo | 0.2, 0.28 | token | none | 2605.07725 |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator

from mentor_kit.core.component import ComponentSpec, Fills
from mentor_kit.core.errors import PluginError, UsageError, did_you_mean
from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.core.option_model import OptionModel
from mentor_kit.rl.advantages.estimator import AdvantageEstimator, Outcomes
from mentor_kit.rl.losses.aggregation import Aggregation, token_weights
from mentor_kit.rl.losses.kl import KLEstimator
from mentor_kit.rl.losses.loss import Loss

StepWeights = Literal["equal", "sod"]
LossSpec: TypeAlias = Annotated[ComponentSpec, Fills("losses")]
AdvantageSpec: TypeAlias = Annotated[ComponentSpec, Fills("advantages")]


class ObjectiveSpec(OptionModel, FrozenModel):
    """What an update maximises, as data. Fields left out take their value from `preset`."""

    model_config = ConfigDict(validate_default=True, allow_inf_nan=False)

    preset: str = "grpo"
    """A row of the module's table; its values can be overridden one by one."""
    advantage: AdvantageSpec = ComponentSpec(use="group_mean_std")
    """The estimator of advantages from the rewards of a group."""
    loss: LossSpec = ComponentSpec(use="ppo", options={"clip_low": 0.2, "clip_high": 0.2, "clip_dual": None})
    """The loss of each token; options left out are the preset's where it has the same loss."""
    aggregation: Aggregation = "sequence"
    """sequence: mean over each sequence's tokens, then over sequences; token: mean over all tokens;
    constant: sum over tokens / (sequences · constant_length)."""
    constant_length: int | None = Field(default=None, gt=0)
    """For constant aggregation; null lets the stage put in the longest response the recipe allows."""
    kl: float = Field(default=0.0, ge=0)
    """Weight of the KL divergence to the reference policy; 0 saves the reference's forward pass."""
    kl_estimator: KLEstimator = "k3"
    """How the divergence is estimated at each token."""
    kl_in: Literal["loss", "advantage"] = "loss"
    """advantage: each token's advantage loses kl · (sum of k over this and the later tokens)."""
    entropy: float = Field(default=0.0, ge=0)
    """Weight of the entropy bonus: the entropy of the whole distribution at each trained token is maximised, too."""
    reward: float = Field(default=1.0, ge=0)
    """Weight of the reward's advantage; 0 learns from the teacher's log-probabilities alone."""
    distill: float = Field(default=0.0, ge=0)
    """Weight of log p_teacher - log p in each token's advantage; above 0 needs a teacher with the student's tokens."""
    step_weights: StepWeights = "equal"
    """Of the distillation, by assistant turn; sod: the less, the farther teacher and student are apart in that turn
    compared with the first one (`mentor_kit.rl.distillation`)."""
    step_cap: float = Field(default=1.2, ge=1)
    """The largest step weight (SOD's 1 + delta); the first turn's is 1."""
    importance_cap: float | None = Field(default=None, gt=0)
    """Truncated importance correction for the sampler's mismatch: each token's loss is multiplied by
    min(exp(old - sampled), cap), with old recomputed by the update's own forward pass (arXiv 2508.03501)."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        name = data.get("preset", "grpo")
        if not isinstance(name, str) or name not in PRESETS:
            known = ", ".join(PRESETS)
            raise ValueError(f"no objective is called {name!r}{did_you_mean(str(name), PRESETS)}; there are {known}")
        filled = {**PRESETS[name], **data}
        if "loss" in data:
            filled["loss"] = _with_options_of(PRESETS[name].get("loss", _PPO), data["loss"])
        return filled

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.distill == 0 and self.reward == 0:
            raise ValueError("reward and distill are both 0: there is nothing to learn from")
        if self.distill == 0 and self.step_weights != "equal":
            raise ValueError("step_weights are of the distillation: set `distill` above 0")
        return self

    def to_json(self) -> str:
        """All fields, since a preset's value may be another than the field's default."""
        return self.model_dump_json()

    @property
    def needs_reward(self) -> bool:
        """Whether anything is learned from rewards."""
        return self.reward > 0.0

    @property
    def distills(self) -> bool:
        """Whether a teacher's log-probabilities are needed."""
        return self.distill > 0.0

    @property
    def needs_reference(self) -> bool:
        """Whether the reference policy's log-probabilities are needed."""
        return self.kl > 0.0

    @property
    def needs_entropy(self) -> bool:
        """Whether the entropies of whole distributions are needed."""
        return self.entropy > 0.0


@dataclass(frozen=True)
class Objective:
    """What an update maximises: an objective's data, with its loss and its advantage estimator built.

    Raises:
        UsageError: the loss uses no advantages, and the objective has what only works through them.
    """

    spec: ObjectiveSpec
    loss: Loss
    advantage: AdvantageEstimator

    def __post_init__(self) -> None:
        for name, is_set in (("distill", self.spec.distills), ("importance_cap", self.spec.importance_cap is not None)):
            if is_set and not self.loss.uses_advantages:
                raise UsageError(
                    f"the objective's {name} has no meaning for the loss {self.spec.loss.use!r}, "
                    "which uses no advantages",
                    hint=f"leave `{name}` out, or take another loss",
                )

    @property
    def corrects_staleness(self) -> bool:
        """Whether tokens that older weights sampled are weighed by what the weights now make of them."""
        return self.loss.uses_ratio or self.spec.importance_cap is not None

    def advantages(self, outcomes: Outcomes) -> NDArray[np.float64]:
        """The advantages of a step's rollouts by their rewards, weighed by `reward`, shape (P, G).

        Args:
            outcomes: NumPy arrays of shape (P, G).

        Raises:
            PluginError: the estimator returned another shape, or numbers that are not finite.
        """
        found = np.asarray(self.advantage.advantages(np, outcomes))
        if found.shape != outcomes.rewards.shape or not np.isfinite(found).all():
            wrong = (
                f"shape {found.shape} for rewards of shape {outcomes.rewards.shape}"
                if found.shape != outcomes.rewards.shape
                else f"numbers that are not finite for the rewards {outcomes.rewards.tolist()}"
            )
            raise PluginError(
                f"advantage estimator {self.spec.advantage.use!r} returned {wrong}",
                hint="`mentor_kit.testing.advantages.AdvantageContract` checks an estimator",
            )
        weighed: NDArray[np.float64] = self.spec.reward * found
        return weighed

    def token_weights(self, masks: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """The weight of every token of every sequence of an update, from the sequences' masks."""
        return token_weights(self.spec.aggregation, masks, self.spec.constant_length)


def _ppo(low: float | None, high: float | None) -> dict[str, Any]:
    return {"use": "ppo", "with": {"clip_low": low, "clip_high": high, "clip_dual": None}}


_PPO = _ppo(0.2, 0.2)

#: The module's table; what a row leaves out has the field's default. Rows give every option of their loss.
PRESETS: dict[str, dict[str, Any]] = {
    "grpo": {"kl": 0.001},
    "dr-grpo": {"advantage": "group_mean", "aggregation": "constant"},
    "dapo": {"loss": _ppo(0.2, 0.28), "aggregation": "token"},
    "rloo": {
        "advantage": "leave_one_out",
        "loss": {"use": "reinforce"},
        "aggregation": "constant",
        "constant_length": 1,
    },
    "reinforce++": {"advantage": "batch_mean_std", "kl": 0.001, "kl_estimator": "k1", "kl_in": "advantage"},
    "gspo": {"loss": {"use": "gspo", "with": {"clip_low": 3e-4, "clip_high": 4e-4}}},
    "cispo": {"loss": {"use": "cispo", "with": {"clip_low": None, "clip_high": 4.0}}, "aggregation": "token"},
    "sft": {"loss": {"use": "likelihood"}, "aggregation": "token"},
    "opd": {"reward": 0.0, "distill": 1.0, "loss": _ppo(None, None), "aggregation": "token"},
    "sod": {"distill": 1.0, "step_weights": "sod", "loss": _ppo(0.2, 0.28), "aggregation": "token"},
}


def _with_options_of(preset: dict[str, Any], loss: Any) -> Any:
    """A loss as it is written, with the options of a preset's where both are the same loss."""
    written = loss.model_dump() if isinstance(loss, ComponentSpec) else {"use": loss} if isinstance(loss, str) else loss
    if not isinstance(written, dict) or written.get("use") != preset["use"]:
        return loss
    name = "options" if "options" in written else "with"
    options: Any = written.get(name, {})
    return {**written, name: {**preset.get("with", {}), **options}} if isinstance(options, dict) else loss
