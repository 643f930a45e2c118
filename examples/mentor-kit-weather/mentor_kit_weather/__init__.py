"""A plugin for mentor-kit: its hooks, which name the components."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.hooks import Register
    from typer import Typer

MENTORKIT_API = 1

HERE = Path(__file__).parent


@hookimpl
def register_tools(register: Register) -> None:
    """Offer the tools `weather`."""
    from mentor_kit_weather import tool

    register(
        "weather",
        build=lambda options, context: [tool.temperature],
        summary="today's temperature in a city",
    )


@hookimpl
def register_tasks(register: Register) -> None:
    """Offer the task `weather`."""
    from mentor_kit_weather import task

    register(
        "weather",
        build=lambda options, context: task.WeatherTask(),
        summary="which city is the warmest?",
    )


@hookimpl
def register_reward_terms(register: Register) -> None:
    """Offer the reward term `weather`."""
    from mentor_kit_weather import reward_term

    register(
        "weather",
        options=reward_term.WeatherTermOptions,
        build=lambda options, context: reward_term.WeatherTerm(options),
        summary="the final answer has few words",
    )


@hookimpl
def register_rewards(register: Register) -> None:
    """Offer the reward preset `weather`."""
    from mentor_kit_weather import reward

    register(
        "weather",
        options=reward.WeatherRewardOptions,
        build=lambda options, context: reward.weather_reward(options),
        summary="a right answer, and the teacher's tools beside it",
    )


@hookimpl
def register_teachers(register: Register) -> None:
    """Offer the teacher `weather`."""
    from mentor_kit_weather import teacher

    register(
        "weather",
        options=teacher.WeatherTeacherOptions,
        build=teacher.WeatherTeacher,
        summary="the shortest right demonstration of several by another teacher",
    )


@hookimpl
def register_trackers(register: Register) -> None:
    """Offer the tracker `weather`."""
    from mentor_kit_weather import tracker

    register(
        "weather",
        options=tracker.WeatherTrackerOptions,
        build=lambda options, context: tracker.WeatherTracker(options),
        summary="evaluations as a table for spreadsheets",
    )


@hookimpl
def register_stages(register: Register) -> None:
    """Offer the stage `weather`."""
    from mentor_kit_weather import stage

    register(
        "weather",
        options=stage.WeatherStageOptions,
        build=lambda options, context: stage.WeatherStage(options),
        summary="how hard the training problems are for the student",
    )


@hookimpl
def register_evaluations(register: Register) -> None:
    """Offer the evaluation `weather`."""
    from mentor_kit_weather import evaluation

    register(
        "weather",
        options=evaluation.WeatherEvaluationOptions,
        build=lambda options, context: evaluation.WeatherEvaluation(options),
        summary="the student without its tools",
    )


@hookimpl
def register_families(register: Register) -> None:
    """Offer the family `weather`."""
    from mentor_kit_weather import family

    register(
        "weather",
        build=lambda options, context: family.WEATHER_FAMILY,
        summary=family.WEATHER_FAMILY.models,
    )


@hookimpl
def register_formats(register: Register) -> None:
    """Offer the data format `weather`."""
    from mentor_kit_weather import data_format

    register(
        "weather",
        build=lambda options, context: data_format.WeatherFormat(),
        summary="chats as lines that are a user's, an assistant's, a call or a result",
    )


@hookimpl
def register_samplers(register: Register) -> None:
    """Offer the sampler `weather`."""
    from mentor_kit_weather import sampler

    register(
        "weather",
        options=sampler.WeatherSamplerOptions,
        build=lambda options, context: sampler.WeatherService(options),
        summary="the student's own engine, a few turns at once",
    )


@hookimpl
def register_engines(register: Register) -> None:
    """Offer the training engine `weather`."""
    from mentor_kit_weather import engine

    register(
        "weather",
        build=lambda options, context: engine.WeatherEngine(),
        summary="rows and settings as JSON, for a trainer of one's own",
    )


@hookimpl
def register_students(register: Register) -> None:
    """Offer the student `weather`."""
    from mentor_kit_weather import student

    register(
        "weather",
        build=lambda options, context: student.weather_student(context),
        summary="a tiny model with random weights, to be trained from nothing",
    )


@hookimpl
def register_recipes(register: Register) -> None:
    """Offer the recipe `weather`."""
    register(
        "weather",
        build=lambda options, context: HERE / "recipe.yaml",
        summary="a tiny student learns with the components of this package",
    )


@hookimpl
def register_commands(app: Typer) -> None:
    """Add the command `mentorkit weather`."""
    from mentor_kit_weather.command import weather_command

    app.command("weather")(weather_command)


@hookimpl
def doctor_checks() -> Sequence[tuple[str, bool, str]]:
    """Check this machine for `mentorkit doctor`."""
    from mentor_kit_weather.doctor import weather_checks

    return weather_checks()
