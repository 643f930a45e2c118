"""The reward preset `weather`: a right answer, and the teacher's tools. A preset is data."""

from __future__ import annotations

from typing import Annotated

from mentor_kit.core.component import Fills
from mentor_kit.rl.reward import GateSpec, RewardSpec, TermSpec
from pydantic import BaseModel, ConfigDict, Field


class WeatherRewardOptions(BaseModel):
    """What a recipe may write in `with:`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    right: float = Field(default=0.8, ge=0)
    """What a right answer earns."""
    tools: float = Field(default=0.2, ge=0)
    """What the teacher's set of tools earns; a fifth of it where the answer is wrong."""
    also: tuple[Annotated[TermSpec, Fills("reward_terms")], ...] = ()
    """Further terms, such as `{use: brevity, weight: 0.1}`."""


def weather_reward(options: WeatherRewardOptions) -> RewardSpec:
    """Return the gates and terms; `mentorkit check RECIPE --expand` prints them."""
    return RewardSpec(
        gates=(GateSpec(use="ended", otherwise=0.0), GateSpec(use="answered", otherwise=0.1)),
        terms=(
            TermSpec(use="correct", weight=options.right),
            TermSpec(use="tool-match", weight=options.tools, when_wrong=0.2),
            *options.also,
        ),
    )
