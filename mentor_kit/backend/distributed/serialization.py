"""Messages among processes: plain values with arrays in them, as bytes, from which no code can run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np

from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.core.frozen_model import FrozenModel, Json

_ARRAY = "~array"

Model = TypeVar("Model", bound=FrozenModel)


def pack(value: Json) -> bytes:
    """A JSON value that may contain NumPy arrays, as bytes: the length of the JSON, the JSON, and the arrays."""
    blocks: list[bytes] = []

    def place(found: Any) -> Json:
        array = np.ascontiguousarray(found)
        start = sum(map(len, blocks))
        blocks.append(array.tobytes())
        return {_ARRAY: [array.dtype.str, list(np.shape(found)), start]}

    head = json.dumps(value, default=place).encode()
    return b"".join([len(head).to_bytes(8, "little"), head, *blocks])


def unpack(message: bytes) -> Json:
    """The value that was packed; tuples have become lists."""
    start = 8 + int.from_bytes(message[:8], "little")

    def find(found: dict[str, Json]) -> Json:
        if _ARRAY not in found:
            return found
        kind, shape, offset = found[_ARRAY]
        dtype = np.dtype(kind)
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(message, dtype, count, start + offset).reshape(shape)

    return json.loads(message[8:start].decode(), object_hook=find)


def model_as_data(model: FrozenModel | None) -> Json:
    """A model of plain values for `pack`, or None."""
    return None if model is None else model.model_dump()


def model_from_data(kind: type[Model], data: Json) -> Model | None:
    """The inverse of `model_as_data`."""
    return None if data is None else kind(**data)


def groups_as_data(groups: Sequence[TokenGroup]) -> Json:
    """Token groups for `pack`."""
    return [[group.prompt_ids, group.temperature, [vars(c) for c in group.completions]] for group in groups]


def groups_from_data(data: Json) -> list[TokenGroup]:
    """The inverse of `groups_as_data`."""
    return [
        TokenGroup(prompt, tuple(TokenCompletion(**fields) for fields in completions), temperature)
        for prompt, temperature, completions in data
    ]


def request_as_data(request: SampleRequest) -> Json:
    """A request for `pack`."""
    return vars(request) | {"context": np.asarray(request.context, np.int64), "stop_ids": sorted(request.stop_ids)}


def request_from_data(data: Json) -> SampleRequest:
    """The inverse of `request_as_data`."""
    return SampleRequest(**data | {"context": tuple(data["context"].tolist()), "stop_ids": frozenset(data["stop_ids"])})


def completion_from_data(data: Json) -> Completion:
    """The completion whose `vars` were packed."""
    return Completion(**data | {"ids": tuple(data["ids"]), "log_probs": tuple(data["log_probs"])})


def student_as_data(student: StudentSpec) -> Json:
    """A student's specification for `pack`."""
    data = asdict(student)
    if student.adapter is not None and student.adapter.path is not None:
        data["adapter"]["path"] = str(student.adapter.path)
    return data


def student_from_data(data: Json) -> StudentSpec:
    """The inverse of `student_as_data`."""
    from pathlib import Path

    adapter = data["adapter"]
    if adapter is not None:
        path = None if adapter["path"] is None else Path(adapter["path"])
        adapter = AdapterSpec(**adapter | {"path": path, "targets": tuple(adapter["targets"])})
    return StudentSpec(data["model"], data["revision"], adapter)
