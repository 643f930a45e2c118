"""What an exported student is, by its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mentor_kit.backend.adapters import ADAPTER_CONFIG
from mentor_kit.backend.text_weights import is_inside

#: The file of an adapter's weights.
ADAPTER_WEIGHTS = "adapter_model.safetensors"

#: Formats whose files tell them.
_KNOWN = ("transformers", "adapter", "mlx", "mlx-adapter", "gguf")


def format_of(folder: Path, asked: str) -> str:
    """The format of an export, which is another one where the student could not be written as asked.

    Args:
        folder: the export.
        asked: the format that was asked for; a format whose files do not tell it is taken to be the folder's.
    """
    if asked not in _KNOWN:
        return asked
    if next(folder.glob("*.gguf"), None) is not None:
        return "gguf"
    if (folder / ADAPTER_CONFIG).is_file():
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        return "adapter" if "peft_type" in config else "mlx-adapter"
    weights = next(iter(sorted(folder.glob("model*.safetensors"))), None)
    if weights is None:
        return asked
    return "mlx" if _metadata(weights).get("format") == "mlx" else "transformers"


def takes_pictures(folder: Path) -> bool:
    """Whether an export is a model that a model of text is inside of, or an adapter of peft for one."""
    weights = folder / ADAPTER_WEIGHTS
    if (folder / ADAPTER_CONFIG).is_file() and weights.is_file():
        return is_inside(name.removeprefix("base_model.model.") for name in _header(weights))
    file = folder / "config.json"
    return file.is_file() and "text_config" in json.loads(file.read_text(encoding="utf-8"))


def _metadata(file: Path) -> dict[str, str]:
    """What a file of safetensors says of itself."""
    found: dict[str, str] = _header(file).get("__metadata__") or {}
    return found


def _header(file: Path) -> dict[str, Any]:
    """The header of a file of safetensors: its weights by name, and what it says of itself."""
    with file.open("rb") as opened:
        header: dict[str, Any] = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    return header
