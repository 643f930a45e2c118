"""Weights of a student that are not loaded, as they serve pictures and sound: an export takes them from its folder.

They are written as the folder has them, beside the file of those of text, with an index of both:

    model-00001-of-00002.safetensors  text, as trained
    model-00002-of-00002.safetensors  the others, of the student's folder
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.errors import MissingError
from mentor_kit_torch.text_part import LeftOut, beside_text

INDEX = "model.safetensors.index.json"
_FORMAT = {"format": "pt"}


def write_others(model: Any, student: StudentSpec, folder: Path) -> None:
    """Add the weights of a model's parts that are not loaded to its export; nothing where it has all of them.

    Args:
        model: of transformers.
        student: what it was loaded from.
        folder: that transformers has written the model to, in safetensors.

    Raises:
        MissingError: the student's folder is not there any more.
    """
    left_out = [name.rpartition(".")[2] for name, module in beside_text(model).items() if isinstance(module, LeftOut)]
    if not left_out or not (others := _others(_source(student), left_out)):
        return
    files = sorted(folder.glob("model*.safetensors"))
    shards = {file: f"model-{place:05}-of-{len(files) + 1:05}.safetensors" for place, file in enumerate(files, 1)}
    placed: dict[str, str] = {}
    for file, shard in shards.items():
        with safe_open(file, framework="pt") as opened:
            placed |= dict.fromkeys(opened.keys(), shard)
        file.rename(folder / shard)
    last = f"model-{len(files) + 1:05}-of-{len(files) + 1:05}.safetensors"
    save_file(others, folder / last, metadata=_FORMAT)
    placed |= dict.fromkeys(others, last)
    size = sum((folder / shard).stat().st_size for shard in {*shards.values(), last})
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(placed.items()))}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _source(student: StudentSpec) -> Path:
    """The folder of a student's weights, where a hub's are kept."""
    if (folder := Path(student.model)).is_dir():
        return folder
    from transformers.utils import cached_file

    try:
        found: Any = cached_file(student.model, "config.json", revision=student.revision)
    except OSError as error:
        raise MissingError(
            f"student {student.model!r} is gone, whose weights for pictures and sound belong to an export",
            hint="put its folder back, or export with the format `adapter`",
        ) from error
    return Path(found).parent


def _others(folder: Path, left_out: Iterable[str]) -> dict[str, Tensor]:
    """The weights in a folder that are of modules with these names."""
    inside = tuple(f".{name}." for name in left_out)
    found: dict[str, Tensor] = {}
    files = sorted(folder.glob("model*.safetensors"))
    for file in files:
        with safe_open(file, framework="pt") as opened:
            found |= {name: opened.get_tensor(name) for name in opened.keys() if _is_of(name, inside)}  # noqa: SIM118
    for file in [] if files else sorted(folder.glob("pytorch_model*.bin")):
        saved: Mapping[str, Tensor] = torch.load(file, weights_only=True, mmap=True, map_location="cpu")
        found |= {name: value.contiguous() for name, value in saved.items() if _is_of(name, inside)}
    return found


def _is_of(name: str, inside: tuple[str, ...]) -> bool:
    return any(part in f".{name}" for part in inside)
