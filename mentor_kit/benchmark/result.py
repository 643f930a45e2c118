"""The result of a benchmark, as lines for people and as JSON."""

from __future__ import annotations

from mentor_kit.backend.flops import MachineLimits
from mentor_kit.backend.policy import PolicyInfo
from mentor_kit.core.frozen_model import FrozenModel

#: The activities of a step in the order in which they are shown; idle is the rest: bookkeeping and waiting.
ACTIVITIES = ("prefill", "decode", "sample", "tools", "reward", "teacher", "update", "idle")


class StageBench(FrozenModel):
    """The measurements of a stage, in the mean over its steps."""

    key: str
    measured: int
    """Measured steps, the warm-up aside."""
    steps: int
    """Steps of the whole stage."""
    seconds: float
    """Seconds of a step."""
    split: dict[str, float]
    """Seconds of a step by activity: prefill, decode (sample, where the backend does not distinguish them), tools,
    reward, teacher, update and idle, which is the rest."""
    sampled: float
    """Sampled tokens of a step."""
    trained: float
    """Trained tokens of a step: those with a loss."""
    episodes: float
    """Episodes of a step."""
    limit: dict[str, float] = {}
    """The share of the machine's limit by activity: the time that it takes at best, to the time taken."""

    @property
    def total(self) -> float:
        """Seconds of the whole stage, evaluations aside."""
        return self.steps * self.seconds

    @property
    def sampled_per_second(self) -> float:
        """Sampled tokens a second of sampling."""
        seconds = sum(self.split.get(name, 0.0) for name in ("prefill", "decode", "sample"))
        return self.sampled / seconds if seconds else 0.0

    @property
    def trained_per_second(self) -> float:
        """Trained tokens a second of updating."""
        return self.trained / self.split["update"] if self.split.get("update") else 0.0


class Bench(FrozenModel):
    """The measurements of a recipe on this machine."""

    name: str
    policy: PolicyInfo
    limits: MachineLimits | None = None
    """None where the backend does not measure them."""
    stages: tuple[StageBench, ...]
    not_measured: tuple[str, ...] = ()
    """Keys of stages that do not train, or whose number of steps is not known."""
    evaluations: int = 0
    """Episodes of all evaluations in the recipe's stages."""
    evaluation_seconds: float | None = None
    """Estimated seconds of all evaluations; None where no rollouts were measured."""
    peak_memory: int | None = None
    """Bytes; None where the system does not report it."""

    @property
    def total(self) -> float:
        """Estimated seconds of the whole recipe."""
        return sum(stage.total for stage in self.stages) + (self.evaluation_seconds or 0.0)

    def as_data(self) -> dict[str, object]:
        """The result as JSON: the fields, rates and totals."""
        stages = [
            stage.model_dump(mode="json")
            | {
                "sampled_per_second": stage.sampled_per_second,
                "trained_per_second": stage.trained_per_second,
                "total_seconds": stage.total,
            }
            for stage in self.stages
        ]
        return {**self.model_dump(mode="json"), "stages": stages, "total_seconds": self.total}

    def text(self) -> str:
        """The result as lines for people."""
        info = self.policy
        lines = [
            f"{self.name}: {info.model}, {info.parameters:,} parameters, {info.backend} on {info.device}, {info.dtype}"
        ]
        if self.limits is not None:
            flops, bandwidth = self.limits.flops / 1e9, self.limits.bandwidth / 1e9
            lines.append(f"machine     {flops:,.0f} GFLOP/s in matrix products, {bandwidth:,.1f} GB/s in copies")
        for stage in self.stages:
            lines += _stage_lines(stage)
        lines += [f"stage       {key}: not measured" for key in self.not_measured]
        if self.evaluation_seconds is not None:
            lines.append(f"evaluation  {self.evaluations:,} episodes, about {duration(self.evaluation_seconds)}")
        elif self.evaluations:
            lines.append(f"evaluation  {self.evaluations:,} episodes: no rollouts were measured to estimate them from")
        if self.peak_memory is not None:
            lines.append(f"memory      {self.peak_memory / (1 << 20):,.0f} MiB at the most")
        lines.append(f"estimate    about {duration(self.total)} for the whole recipe")
        return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds in a unit that people read."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _stage_lines(stage: StageBench) -> list[str]:
    lines = [
        f"stage       {stage.key}: {stage.seconds:.3g} s a step, {stage.steps:,} steps, about {duration(stage.total)}"
    ]
    for activity in ACTIVITIES:
        seconds = stage.split.get(activity, 0.0)
        if not seconds:
            continue
        limit = f", {stage.limit[activity]:.0%} of the machine's limit" if activity in stage.limit else ""
        lines.append(f"    {activity:<8} {seconds:8.3f} s  {seconds / stage.seconds:4.0%}{limit}")
    if stage.sampled:
        lines.append(f"    {stage.sampled:,.0f} tokens sampled, {stage.sampled_per_second:,.0f} a second of sampling")
    if stage.trained:
        lines.append(f"    {stage.trained:,.0f} tokens trained, {stage.trained_per_second:,.0f} a second of updating")
    return lines
