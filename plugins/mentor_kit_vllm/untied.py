"""Writes a student's output projection as a tensor of its own: `python -m mentor_kit_vllm.untied FOLDER COPY`.

vLLM on a CPU packs the output projection when it loads a model, and keeps the packed one when new weights are read: of
a student whose embeddings are tied, the old projection would stay. A copy whose projection is a tensor of its own gets
new ones of both.
"""

from __future__ import annotations

import json
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

from mentor_kit.core.errors import BackendError

_HEAD = "lm_head.weight"
_INDEX = "model.safetensors.index.json"
_SINGLE, _FIRST, _EXTRA = "model.safetensors", "model-weights.safetensors", "model-output-projection.safetensors"
#: Names that the input embedding has in files.
_EMBEDDINGS = ("model.embed_tokens.weight", "model.language_model.embed_tokens.weight", "transformer.wte.weight")


def untie(folder: Path) -> bool:
    """Give an exported model an output projection of its own, in place; returns whether it had none.

    Args:
        folder: a whole model in transformers' format, in files of safetensors.

    Raises:
        BackendError: it has neither an output projection nor an input embedding under a known name.
    """
    index = _index(folder)
    if _HEAD in index:
        return False
    embedding = next((name for name in _EMBEDDINGS if name in index), None)
    if embedding is None:
        raise BackendError(
            f"{folder}: there is no input embedding under a name that is known", hint="leave out `sampler.untie`"
        )
    if index[embedding] == _SINGLE:
        # beside an index, transformers would read a file of this name alone
        (folder / _SINGLE).rename(folder / _FIRST)
        index = {name: _FIRST if file == _SINGLE else file for name, file in index.items()}
    tensor, data = _read(folder / index[embedding], embedding)
    _write(folder / _EXTRA, {_HEAD: {**tensor, "data_offsets": [0, len(data)]}}, data)
    index[_HEAD] = _EXTRA
    (folder / _INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}), encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        if part is config or "tie_word_embeddings" in part:
            part["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return True


def _index(folder: Path) -> dict[str, str]:
    """The file of each tensor."""
    if (path := folder / _INDEX).is_file():
        return dict(json.loads(path.read_text(encoding="utf-8"))["weight_map"])
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BackendError(f"{folder} has no weights in files of safetensors")
    return {name: file.name for file in files for name in _header(file)[0] if name != "__metadata__"}


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """What a file of safetensors says of its tensors, and where their bytes begin."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        return json.loads(opened.read(length)), 8 + length


def _read(file: Path, name: str) -> tuple[dict[str, Any], bytes]:
    header, start = _header(file)
    first, last = header[name]["data_offsets"]
    with file.open("rb") as opened:
        opened.seek(start + first)
        return header[name], opened.read(last - first)


def _write(file: Path, header: dict[str, Any], data: bytes) -> None:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # data are aligned to eight bytes
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    source, copy = map(Path, sys.argv[1:])
    shutil.copytree(source, copy)
    untie(copy)
