"""A registry of small parts, and recipes that use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pluggy
from pydantic import BaseModel, ConfigDict, Field

from mentor_kit.core.component import TeacherSpec
from mentor_kit.hooks import Plugins, Registry, hookimpl, specs
from mentor_kit.rl.reward import RewardSpec


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Inner(Options):
    depth: int = Field(default=1, gt=0)


class StageOptions(Options):
    steps: int = Field(gt=0)
    rate: float = 0.5
    teacher: TeacherSpec | None = None
    helpers: tuple[TeacherSpec, ...] = ()
    inner: Inner = Inner()


class TeacherOptions(Options):
    key: str = ""
    count: int = 1


class OtherInner(Options):
    width: int = 2


OtherInner.__name__ = "Inner"


class OtherOptions(Options):
    inner: OtherInner = OtherInner()


class Parts:
    """A plugin."""

    def __init__(self, name: str = "parts") -> None:
        self.name = name

    @staticmethod
    @hookimpl
    def register_backends(register: Any) -> None:
        register("torch", build=fail)

    @staticmethod
    @hookimpl
    def register_tasks(register: Any) -> None:
        register("sums", build=fail, options=OtherOptions)

    @staticmethod
    @hookimpl
    def register_tools(register: Any) -> None:
        register("maths", build=fail)

    @staticmethod
    @hookimpl
    def register_teachers(register: Any) -> None:
        register("scripted", build=fail, options=TeacherOptions)

    @staticmethod
    @hookimpl
    def register_rewards(register: Any) -> None:
        spec = RewardSpec.model_validate({"terms": [{"use": "right", "weight": 1}]})
        register("mentor", build=lambda options, context: spec)

    @staticmethod
    @hookimpl
    def register_reward_terms(register: Any) -> None:
        register("right", build=fail)

    @staticmethod
    @hookimpl
    def register_stages(register: Any) -> None:
        register("learn", build=fail, options=StageOptions)


def fail(options: Any, context: Any) -> None:
    raise AssertionError("checking builds nothing")


def registry(*plugins: Parts) -> Registry:
    manager = pluggy.PluginManager("mentorkit")
    manager.add_hookspecs(specs)
    for plugin in plugins or (Parts(),):
        manager.register(plugin, name=plugin.name)
    return Registry(Plugins(manager, ()))


SMALL = """\
mentorkit: 1
name: small
student: {model: some/model}
task: {use: sums}
tools: [{use: maths}]
teacher: {use: scripted}
reward: {use: mentor}
train:
  - use: learn
    with: {steps: 3}
"""


def write(folder: Path, text: str = SMALL, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
