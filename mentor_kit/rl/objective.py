"""Objectives are data: which advantage, which ratio, which clipping, which KL, how tokens are averaged.

The arithmetic is in `mentor_kit.rl.advantages` (rewards to advantages), `mentor_kit.rl.distillation` (a teacher's
log-probabilities to advantages) and `mentor_kit.rl.losses` (advantages and log-probabilities to a loss), written once
over an array namespace for every backend. Sources are arXiv numbers.

| preset | advantage | ratio | clip (low, high) | aggregation | KL | source |
| --- | --- | --- | --- | --- | --- | --- |
| grpo | (r - mean) / std of the group | token | 0.2, 0.2 | sequence | 0.001 k3, loss | 2402.03300, KL of 2510.18383 |
| dr-grpo | r - mean of the group | token | 0.2, 0.2 | constant | none | 2503.20783 |
| dapo | (r - mean) / std of the group | token | 0.2, 0.28 | token | none | 2503.14476 |
| rloo | r - mean of the others in the group | none (REINFORCE) | none | constant, length 1 | none | 2402.14740 |
| reinforce++ | (r - mean) / std of the batch | token | 0.2, 0.2 | sequence | 0.001 k1, advantage | 2501.03262 |
| gspo | (r - mean) / std of the group | sequence | 3e-4, 4e-4 | sequence | none | 2507.18071 |
| cispo | (r - mean) / std of the group | token, capped, no gradient | none, 4.0 | token | none | 2506.13585 |
| sft | none | none | none | token | none | maximum likelihood |
| opd | log p_teacher - log p of each token | token | none | token | none | on-policy distillation (Lu, 2025) |
| sod | grpo's + step weight · (log p_teacher - log p) | token | 0.2, 0.28 | token | none | 2605.07725 |
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from mentor_kit.core.frozen_model import FrozenModel

AdvantageEstimator = Literal["group_mean_std", "group_mean", "leave_one_out", "batch_mean_std"]
Surrogate = Literal["clipped", "capped", "reinforce", "likelihood"]
KLEstimator = Literal["k1", "k2", "k3"]
StepWeights = Literal["equal", "sod"]
Aggregation = Literal["sequence", "token", "constant"]


class Objective(FrozenModel):
    """What an update maximises. Fields left out take their value from `preset`."""

    model_config = ConfigDict(validate_default=True, allow_inf_nan=False)

    preset: str = "grpo"
    """A row of the module's table; its values can be overridden one by one."""
    advantage: AdvantageEstimator = "group_mean_std"
    surrogate: Surrogate = "clipped"
    """clipped: PPO's minimum; capped: CISPO's stopped ratio on log p; reinforce: A log p; likelihood: log p."""
    ratio: Literal["token", "sequence"] = "token"
    """sequence: the geometric mean of a sequence's token ratios (GSPO, equation 7)."""
    clip_low: float | None = Field(default=0.2, ge=0)
    """The ratio's lower bound is 1 - clip_low; None for no bound."""
    clip_high: float | None = Field(default=0.2, ge=0)
    """The ratio's upper bound is 1 + clip_high; None for no bound."""
    aggregation: Aggregation = "sequence"
    """sequence: mean over each sequence's tokens, then over sequences; token: mean over all tokens;
    constant: sum over tokens / (sequences · constant_length)."""
    constant_length: int | None = Field(default=None, gt=0)
    """For constant aggregation; None lets the stage put in the longest response the recipe allows."""
    kl: float = Field(default=0.0, ge=0)
    """Weight of the KL divergence to the reference policy; 0 saves the reference's forward pass."""
    kl_estimator: KLEstimator = "k3"
    kl_in: Literal["loss", "advantage"] = "loss"
    """advantage: each token's advantage loses kl · (sum of k over this and the later tokens)."""
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
        if name not in PRESETS:
            from mentor_kit.core.errors import did_you_mean

            known = ", ".join(PRESETS)
            raise ValueError(f"no objective is called {name!r}{did_you_mean(str(name), PRESETS)}; there are {known}")
        return {**PRESETS[name], **data}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.surrogate == "capped" and self.clip_high is None:
            raise ValueError("the capped surrogate needs clip_high")
        if self.importance_cap is not None and self.surrogate == "likelihood":
            raise ValueError("importance_cap has no meaning for the likelihood surrogate")
        if self.distill > 0 and self.surrogate == "likelihood":
            raise ValueError("distill has no meaning for the likelihood surrogate, which has no advantages")
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


PRESETS: dict[str, dict[str, Any]] = {
    "grpo": {"kl": 0.001},
    "dr-grpo": {"advantage": "group_mean", "aggregation": "constant"},
    "dapo": {"clip_high": 0.28, "aggregation": "token"},
    "rloo": {
        "advantage": "leave_one_out",
        "surrogate": "reinforce",
        "clip_low": None,
        "clip_high": None,
        "aggregation": "constant",
        "constant_length": 1,
    },
    "reinforce++": {"advantage": "batch_mean_std", "kl": 0.001, "kl_estimator": "k1", "kl_in": "advantage"},
    "gspo": {"ratio": "sequence", "clip_low": 3e-4, "clip_high": 4e-4},
    "cispo": {"surrogate": "capped", "clip_low": None, "clip_high": 4.0, "aggregation": "token"},
    "sft": {"surrogate": "likelihood", "clip_low": None, "clip_high": None, "aggregation": "token"},
    "opd": {"reward": 0.0, "distill": 1.0, "clip_low": None, "clip_high": None, "aggregation": "token"},
    "sod": {"distill": 1.0, "step_weights": "sod", "clip_high": 0.28, "aggregation": "token"},
}
