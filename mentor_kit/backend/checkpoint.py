"""The manifest of a policy's checkpoint, and the checks before one is restored.

    folder/  weights.safetensors  reference.safetensors?  optimizer.*?  policy.json

The manifest, `policy.json`, tells which of the files there are and what else a policy is restored to. Arrays are
written and read by the backends.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from mentor_kit.backend.folders import first_line
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.errors import DataError
from mentor_kit.core.frozen_model import FrozenModel, Json
from mentor_kit.utils.version import __version__

WEIGHTS, REFERENCE, MANIFEST = "weights.safetensors", "reference.safetensors", "policy.json"
#: The version of this layout.
FORMAT = 1
#: What reading a file raises where it is damaged; libraries may have errors of their own.
UNREADABLE = (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError)

Shapes = Mapping[str, tuple[int, ...]]


class FoundLimits(FrozenModel):
    """What updates were held to because of the device, and not by options: a resumed run is held to it too."""

    token_budget: int
    """Tokens of a micro-batch, for people: it follows from the others."""
    halvings: int = 0
    """How often it was halved because the device was out of memory."""
    memory: int | None = None
    """Bytes that the run may take, from which `token_budget: auto` was found; None where it was not."""


class Manifest(FrozenModel):
    """The contents of a policy's checkpoint."""

    format: int = FORMAT
    mentor_kit: str = __version__
    """The version that wrote it."""
    backend: str
    model: str
    """The student's folder or hub id, for people: what has to fit are the parameters' names and shapes."""
    dtype: str
    """The floating-point type of the model's weights."""
    version: int
    """How many optimizer steps the weights have seen."""
    optimizer: OptimizerSpec | None
    reference: Literal["none", "weights", "bare"]
    """weights: there is a file of the trained parameters; bare: the model without its adapter."""
    random: tuple[Json, ...]
    """The random state of every process that held the policy, in the backend's form."""
    found: FoundLimits | None = None
    """None where options alone say how updates are batched."""


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a checkpoint."""
    # left out where there are none, so that earlier versions read it
    data = manifest.model_dump(exclude={"found"} if manifest.found is None else None)
    (folder / MANIFEST).write_text(json.dumps(data), encoding="utf-8")


def read_manifest(folder: Path, backend: str) -> Manifest:
    """The manifest of a checkpoint.

    Raises:
        DataError: it is of another backend, or of a newer layout.
        OSError, ValueError: there is none, or it is damaged.
    """
    data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise ValueError(f"{MANIFEST} holds no object")
    if int(data.get("format", 0)) != FORMAT:
        raise DataError(
            f"{folder} is a checkpoint of format {data.get('format', 0)}, and this mentor-kit reads format {FORMAT}",
            hint="resume with the version of mentor-kit that wrote it",
        )
    if data.get("backend") != backend:
        raise DataError(
            f"{folder} is a checkpoint of the backend {data.get('backend')!r}, not of {backend!r}",
            hint="resume with the recipe that the run was started with",
        )
    return Manifest.model_validate(data)


@contextmanager
def checkpoint_errors(folder: Path, backend: str, more: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn errors of reading into one that names the checkpoint.

    Raises:
        DataError: in place of `UNREADABLE` and the errors in `more`.
    """
    try:
        yield
    except ValidationError as error:
        raise _damaged(folder, backend, f"{MANIFEST}: {error.errors()[0]['msg']}") from error
    except Exception as error:
        if not isinstance(error, (*UNREADABLE, *more)):
            raise
        raise _damaged(folder, backend, first_line(error)) from error


def check_student(folder: Path, own: Shapes, saved: Shapes) -> None:
    """Refuse a checkpoint of another student.

    Args:
        folder: the checkpoint's.
        own: shapes of the parameters that are trained here, by name.
        saved: shapes of those in the checkpoint.

    Raises:
        DataError: naming the first parameter that differs.
    """
    if own == saved:
        return
    name = next(name for name in (*own, *saved) if own.get(name) != saved.get(name))
    raise DataError(
        f"{folder} is a checkpoint of another student: {name} has the shape {saved.get(name, 'none')} there, "
        f"{own.get(name, 'none')} here",
        hint="resume with the recipe that the run was started with",
    )


def dtype_note(folder: Path, saved: str, own: str) -> str | None:
    """A warning about a policy that is restored in another floating-point type than it was saved in."""
    if saved == own:
        return None
    return (
        f"{folder} was saved in {saved} and is restored in {own}: weights that an optimizer keeps in float32 stay "
        "exact, but the model now rounds otherwise"
    )


def _damaged(folder: Path, backend: str, why: str) -> DataError:
    return DataError(
        f"{folder} is not a whole checkpoint of the {backend} backend: {why}",
        hint="resume from an earlier checkpoint",
    )
