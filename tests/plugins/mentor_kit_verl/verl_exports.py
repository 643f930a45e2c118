"""Small exports of the quickstart for verl."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mentor_kit import api
from mentor_kit.api import ExportedRun
from mentor_kit.hooks import Registry, load_plugins

SMALL: Mapping[str, Any] = {
    "train.0.steps": 2,
    "train.0.problems": 4,
    "train.0.group": 2,
    "evaluate.on": [{"split": "in-domain", "problems": 3}, {"split": "out-of-domain", "problems": 1}],
    "report": False,
}


@cache
def registry_with_verl() -> Registry:
    """The plugins that are installed, with this one, which an older installation does not have."""
    points = [point for point in entry_points(group="mentorkit") if point.name != "verl"]
    return Registry(load_plugins([*points, EntryPoint("verl", "mentor_kit_verl", "mentorkit")]))


#: The quickstart with one update a step.
ONE_UPDATE: Mapping[str, Any] = MappingProxyType({"train.0.minibatches": 1, "train.0.problems": 16})
#: No changes.
NONE: Mapping[str, Any] = MappingProxyType({})


def exported(folder: Path, changes: Mapping[str, Any] = NONE, *, nodes: int = 1, gpus: int = 2) -> ExportedRun:
    return api.export_run(
        "quickstart",
        folder,
        engine="verl",
        overrides={**ONE_UPDATE, **SMALL, **changes},
        nodes=nodes,
        gpus=gpus,
        registry=registry_with_verl(),
    )
