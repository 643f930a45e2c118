"""Models of the hub that are on this machine, found without huggingface_hub, which takes long to import."""

from __future__ import annotations

import os
from pathlib import Path


def hub_cache() -> Path:
    """Return the folder in which huggingface_hub keeps what it downloads."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def downloaded(model: str) -> list[Path]:
    """Return the folders of a model's downloaded revisions, sorted; empty for a model that was never downloaded.

    Args:
        model: its id, `owner/name`.
    """
    return sorted(hub_cache().glob(f"models--{model.replace('/', '--')}/snapshots/*"))
