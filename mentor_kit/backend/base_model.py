"""The name of a student's base model for files that leave this machine: its hub id, and never a local path."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from mentor_kit.backend.adapters import ADAPTER_CONFIG
from mentor_kit.backend.student import StudentSpec

#: peft's key for the model that an adapter is for.
BASE_KEY = "base_model_name_or_path"

#: A folder in the cache of huggingface_hub; ids never contain two dashes in a row.
_CACHED = re.compile(
    r"models--(?P<owner>[^/\\]+)--(?P<name>[^/\\]+)[/\\]snapshots[/\\](?P<revision>[0-9a-f]{40})[/\\]?$"
)
_HUB_ID = re.compile(r"\w([\w.-]*\w)?/\w([\w.-]*\w)?", re.ASCII)


@dataclass(frozen=True)
class HubModel:
    """A model on the hub."""

    id: str
    """`owner/name`."""
    revision: str | None = None
    """A branch, tag or commit; None for the newest commit."""


def hub_model(student: StudentSpec) -> HubModel | None:
    """The hub's name of a student's model; None for a folder that is not in the hub's cache."""
    if (cached := _CACHED.search(student.model)) is not None:
        return HubModel(f"{cached['owner']}/{cached['name']}", cached["revision"])
    if Path(student.model).is_dir() or not is_hub_id(student.model):
        return None
    return HubModel(student.model, student.revision)


def is_hub_id(name: str) -> bool:
    """Whether a string has the form of a hub id, `owner/name`, as huggingface_hub takes it."""
    fits = _HUB_ID.fullmatch(name) is not None and max(map(len, name.split("/"))) <= 96
    return fits and "--" not in name and ".." not in name and not name.endswith(".git")


def name_base_model(folder: Path, student: StudentSpec) -> None:
    """Name the base model in an adapter's configuration by its hub id, or not at all where it is a local folder.

    peft writes the path that the model was loaded from. It names the user's home, and the hub takes it for an id.
    Adapters of mlx-lm have no such key and stay as they are.
    """
    file = folder / ADAPTER_CONFIG
    if not file.is_file():
        return
    config = json.loads(file.read_text(encoding="utf-8"))
    if BASE_KEY not in config:
        return
    base = hub_model(student)
    config[BASE_KEY] = None if base is None else base.id
    config["revision"] = None if base is None else base.revision
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
