"""Reads the files that trackers write, by the trackers' own packages where these have readers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Of a curve: its steps and values, in the order of the file.
Curve = list[tuple[int, float]]


def event_file(path: Path) -> tuple[dict[str, Curve], dict[str, list[tuple[int, str]]]]:
    """The scalars and strings of a TensorBoard event file by tag: TFRecords of `Event` messages, checksums ignored."""
    from tensorboardX.proto import event_pb2

    scalars: dict[str, Curve] = {}
    texts: dict[str, list[tuple[int, str]]] = {}
    for record in _tf_records(path.read_bytes()):
        event = event_pb2.Event.FromString(record)
        for value in event.summary.value:
            if value.HasField("tensor"):
                texts.setdefault(value.tag, []).append((event.step, value.tensor.string_val[0].decode()))
            else:
                scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
    return scalars, texts


def _tf_records(data: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        yield data[place + 12 : place + 12 + length]
        place += 12 + length + 4


def wandb_records(path: Path) -> list[Any]:
    """The records of a `.wandb` file: LevelDB's log format, 32 KiB blocks of chunks, of wandb's `Record` messages."""
    from wandb.proto import wandb_internal_pb2

    data, place, parts, found = path.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or its last chunk
            found.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return found


def wandb_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a `.wandb` file's history."""
    rows = []
    for record in wandb_records(path):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows
