"""Samplers in recipes: weights are published before they are sampled with, and what a sampler holds is let go of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_plan import with_plugin

from mentor_kit import api
from mentor_kit.backend.engine_sampler import EngineSampler
from mentor_kit.backend.policy import Policy
from mentor_kit.backend.sampling import Sampler
from mentor_kit.backend.sampling_service import SamplingService
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.errors import BackendError, RecipeError
from mentor_kit.hooks import Registry, hookimpl
from mentor_kit.runs.records import read_scored


class Noted(SamplingService):
    """The policy's own engine, and a note of what was asked of the service."""

    def __init__(self, notes: list[Any], context: int | None, fails: bool) -> None:
        self._notes, self._context, self._fails = notes, context, fails

    @property
    def context(self) -> int | None:
        return self._context

    def start(self, policy: Policy, student: StudentSpec) -> None:
        self._policy = policy
        self._notes.append("start")

    def publish(self, version: int) -> None:
        self._notes.append(version)
        if self._fails and version:
            raise BackendError("the server is gone")

    def sampler(self) -> Sampler:
        return EngineSampler(self._policy.engine(), deterministic=False)

    def close(self) -> None:
        self._notes.append("close")


class Plugin:
    def __init__(self, context: int | None = None, fails: bool = False) -> None:
        self.notes: list[Any] = []
        self._made = context, fails

    @hookimpl
    def register_samplers(self, register: Any) -> None:
        register("noted", build=lambda options, context: Noted(self.notes, *self._made))


def served(plugin: Plugin) -> Registry:
    return with_plugin(plugin, "noted")


SETTINGS: dict[str, Any] = {
    "sampler": "noted",
    "train.0": {"use": "grpo", "with": {"steps": 2, "problems": 1, "group": 2, "optimizer": {"lr": 1e-3}}},
    "evaluate": {"at_start": False, "at_end": False, "on": []},
    "checkpoints.best": None,
}


def test_weights_are_published_once_before_they_are_sampled_with(tmp_path: Path) -> None:
    plugin = Plugin()
    run = api.run("quickstart", overrides=SETTINGS, output=tmp_path, registry=served(plugin))
    assert plugin.notes == ["start", 0, 1, "close"]
    assert len(run.metrics) == 2


def test_a_service_is_closed_when_a_run_fails(tmp_path: Path) -> None:
    plugin = Plugin(fails=True)
    with pytest.raises(BackendError, match="the server is gone"):
        api.run("quickstart", overrides=SETTINGS, output=tmp_path, registry=served(plugin))
    assert plugin.notes == ["start", 0, 1, "close"]


@pytest.mark.slow
def test_episodes_keep_to_the_context_of_the_servers(tmp_path: Path) -> None:
    plugin = Plugin(context=64)
    run = api.run("quickstart", overrides=SETTINGS | {"train.0.steps": 1}, output=tmp_path, registry=served(plugin))
    traces = [one.trajectory.tokens for one in read_scored(run.path / "rollouts" / "0-grpo" / "step-000001.jsonl")]
    lengths = [len(trace.prompt_ids) + len(trace.ids) for trace in traces if trace is not None]
    assert 0 < max(lengths) <= 64


@pytest.mark.slow
def test_the_local_teacher_takes_one_too(tmp_path: Path) -> None:
    plugin = Plugin()
    teacher = {"use": "local", "with": {"model": "tiny-student", "sampler": "noted", "attempts": 1}}
    train = [{"use": "collect", "with": {"problems": 2}}]
    settings = {"teacher": teacher, "train": train, "reward": None, "evaluate": {"on": []}, "checkpoints.best": None}
    api.run("quickstart", overrides=settings, output=tmp_path, registry=served(plugin))
    assert plugin.notes == ["start", 0, "close"]


def test_a_dry_run_leaves_keys_and_values_to_the_sampler() -> None:
    memory = api.plan("quickstart", overrides={"sampler": "noted"}, registry=served(Plugin())).memory
    assert memory is not None
    assert memory.parts["keys and values"] == 0
    assert any("noted" in note for note in memory.notes)


def test_rollouts_of_a_sampler_are_not_deterministic() -> None:
    settings = {"sampler": "noted", "rollout.deterministic": True}
    with pytest.raises(RecipeError, match=r"rollout\.deterministic.*noted"):
        api.check("quickstart", overrides=settings, registry=served(Plugin()))
