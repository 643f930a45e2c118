"""A plugin for mentor-kit: the tool `weather`, the task `warmest-city` and the reward term `brief`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.hooks import Register

MENTORKIT_API = 1


@hookimpl
def register_tools(register: Register) -> None:
    """The tool `weather`."""
    from mentor_kit_weather.tool import weather

    register("weather", build=lambda options, context: [weather], summary="today's temperature in a city")


@hookimpl
def register_tasks(register: Register) -> None:
    """The task `warmest-city`."""
    from mentor_kit_weather.task import WarmestCity

    register("warmest-city", build=lambda options, context: WarmestCity(), summary="which city is the warmest?")


@hookimpl
def register_reward_terms(register: Register) -> None:
    """The reward term `brief`."""
    from mentor_kit_weather.reward import Brief, BriefOptions

    register(
        "brief",
        options=BriefOptions,
        build=lambda options, context: Brief(options),
        summary="the final answer has few words",
    )
