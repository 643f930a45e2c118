"""Hugging Face's hub: whether there is a token, where the caches are, and whether anything may be downloaded.

Places and precedence are those of `huggingface_hub` and `datasets`, which need not be installed for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mentor_kit.api.machine.check import MachineCheck, free_bytes, gib, may_write
from mentor_kit.core.frozen_model import Json

#: Free bytes below which a cache takes no model worth the name.
FREE_BYTES = 1 << 30
_TRUE = ("1", "ON", "YES", "TRUE")
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
#: Variables that move the caches, from the most particular to the most general.
_HUB_CACHE = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")
_DATASETS_CACHE = ("HF_DATASETS_CACHE", "HF_HOME", "XDG_CACHE_HOME")


@dataclass(frozen=True)
class HubPlaces:
    """The hub's folders and files on this machine."""

    home: Path
    models: Path
    """The cache of models and of data sets as the hub has them."""
    datasets: Path
    """The cache of data sets as `datasets` prepares them."""
    token: Path

    @staticmethod
    def of(environment: Mapping[str, str]) -> HubPlaces:
        """The places that environment variables name, or else those in the user's home."""

        def place(default: Path, *variables: str) -> Path:
            found = next((environment[name] for name in variables if name in environment), None)
            return default if found is None else Path(os.path.expandvars(Path(found).expanduser()))

        home = place(place(Path("~/.cache").expanduser(), "XDG_CACHE_HOME") / "huggingface", "HF_HOME")
        return HubPlaces(
            home=home,
            models=place(home / "hub", *_HUB_CACHE[:2]),
            datasets=place(home / "datasets", "HF_DATASETS_CACHE"),
            token=place(home / "token", "HF_TOKEN_PATH"),
        )


def hub_checks(environment: Mapping[str, str]) -> Iterator[MachineCheck]:
    """The checks of the hub's token, caches and offline mode, for these environment variables."""
    places = HubPlaces.of(environment)
    offline = _offline(environment)
    yield _token(environment, places)
    yield _cache("hub cache", places.models, _named(environment, _HUB_CACHE), writes=not offline, models=True)
    if places.datasets.is_dir() or "HF_DATASETS_CACHE" in environment:
        yield _cache("datasets cache", places.datasets, _named(environment, _DATASETS_CACHE), writes=True)
    detail = (
        f"yes ({offline}): nothing is downloaded" if offline else f"no; {' or '.join(_OFFLINE)} set to 1 makes it so"
    )
    yield MachineCheck("hub offline", True, detail, {"offline": bool(offline), "from": offline})
    if endpoint := environment.get("HF_ENDPOINT"):
        host = urlsplit(endpoint).hostname or ""
        yield MachineCheck("hub endpoint", bool(host), host or "HF_ENDPOINT is no address", {"host": host})


def _token(environment: Mapping[str, str], places: HubPlaces) -> MachineCheck:
    name = "hub token"
    for variable in _TOKENS:
        if environment.get(variable, "").strip():
            return MachineCheck(name, True, f"yes, from {variable}", {"token": True, "from": variable})
    facts: dict[str, Json] = {"token": False, "from": str(places.token)}
    try:
        found = bool(places.token.read_text(encoding="utf-8").strip())
    except (FileNotFoundError, NotADirectoryError):
        found = False
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        return MachineCheck(name, False, f"{places.token} cannot be read: {reason}; `hf auth login` writes it", facts)
    if found:
        return MachineCheck(name, True, f"yes, from {places.token}", {**facts, "token": True})
    others = "public models alone; `hf auth login`, or HF_TOKEN, for gated and private ones and for uploads"
    return MachineCheck(name, True, f"no: {others}", facts | {"from": ""})


def _cache(name: str, folder: Path, source: str, *, writes: bool, models: bool = False) -> MachineCheck:
    """A cache's check: it must take files where anything is downloaded."""
    free = free_bytes(folder)
    facts: dict[str, Json] = {"path": str(folder), "from": source, "free_bytes": free}
    detail = f"{folder}{f' ({source})' if source else ''}, {gib(free)} free"
    if models:
        facts["models"] = _models(folder)
        detail += f", {facts['models']} models"
    if writes and not may_write(folder):
        detail += "; it cannot be written to: set HF_HOME to a folder that can"
        return MachineCheck(name, False, detail, facts)
    if writes and free < FREE_BYTES:
        detail += "; make room there, or set HF_HOME to a folder on another disk"
        return MachineCheck(name, False, detail, facts)
    return MachineCheck(name, True, detail, facts)


def _models(folder: Path) -> int:
    """How many models are in the cache."""
    try:
        return sum(1 for entry in folder.iterdir() if entry.name.startswith("models--"))
    except OSError:
        return 0


def _named(environment: Mapping[str, str], variables: tuple[str, ...]) -> str:
    """The variable that a place comes from; empty for the user's home."""
    return next((name for name in variables if name in environment), "")


def _offline(environment: Mapping[str, str]) -> str:
    """The setting that turns downloads off, as `NAME=value`; empty where they are on."""
    # the second is asked where the first is empty
    name = next((name for name in _OFFLINE if environment.get(name)), "")
    return f"{name}={environment[name]}" if name and environment[name].upper() in _TRUE else ""
