"""Objectives for contract suites and tests: presets with their loss and advantage estimator built."""

from __future__ import annotations

from typing import Any

from mentor_kit.hooks.objectives import build_objective
from mentor_kit.rl.objective import Objective, ObjectiveSpec


def make_objective(preset: str = "grpo", **settings: Any) -> Objective:
    """The objective of a preset, with other values where `settings` has them; built by this environment's plugins."""
    return build_objective(ObjectiveSpec(preset=preset, **settings))
