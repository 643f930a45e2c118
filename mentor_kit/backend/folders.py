"""A student's folder: the files it must have, and errors that name it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mentor_kit.core.errors import BackendError, MentorKitError, MissingError


def check_folder(folder: Path, weights: Sequence[str], *, takes: str) -> None:
    """Refuse a folder that holds no model.

    Args:
        folder: the student's.
        weights: patterns of the files of weights, one of which has to match; none for a folder without weights.
        takes: the format of folders that the backend reads, for the hint.

    Raises:
        BackendError: naming the file that is missing.
    """
    if not (folder / "config.json").is_file():
        raise BackendError(f"{folder} has no config.json", hint=f"student.model takes a folder in {takes}")
    if weights and not any(next(folder.glob(pattern), None) for pattern in weights):
        raise BackendError(
            f"{folder} has no weights", hint="there should be a model.safetensors, or shards with an index, in it"
        )


@contextmanager
def model_errors(model: str, *, takes: str, downloads: bool = False) -> Iterator[None]:
    """Turn what a library raises about an odd folder into an error that names the folder.

    Args:
        model: the student's folder or hub id.
        takes: the models that the backend runs, for the hint.
        downloads: whether a hub id is downloaded here, so that an error is one of the hub.

    Raises:
        BackendError: in place of any error but ours.
        MissingError: in its place for a hub id that is downloaded here.
    """
    try:
        yield
    except MentorKitError:
        raise
    except Exception as error:
        if downloads and not Path(model).is_dir():
            raise not_found(model, error) from error
        raise BackendError(
            f"{model} cannot be loaded: {first_line(error)}", hint=f"student.model takes {takes}"
        ) from error


def not_found(model: str, error: Exception) -> MissingError:
    """The error for a student that is neither a folder nor on the hub."""
    return MissingError(
        f"student {model!r} is no folder here, and the hub did not give it: {first_line(error)}",
        hint=f"check the name, fetch it where there is a network (hf download {model}), or give its folder",
    )


def untrainable(model: str) -> BackendError:
    """The error for a student that is trained without an adapter, and whose weights are quantized."""
    return BackendError(
        f"{model} is quantized: its weights cannot be trained themselves",
        hint="add `student.adapter`, or take a model that is not quantized",
    )


def first_line(error: Exception) -> str:
    """An error's message in short: its first line, with the second where that only announces it."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    if isinstance(error, KeyError):
        return f"{lines[0]} is missing"
    announces = lines[0].rstrip().endswith(":") and len(lines) > 1
    return f"{lines[0].rstrip()} {lines[1].strip().rstrip('.,')}" if announces else lines[0]
