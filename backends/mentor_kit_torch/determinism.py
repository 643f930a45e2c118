"""Results that repeat to the bit: what PyTorch is asked for, and an error that names what it has not."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from mentor_kit.core.errors import BackendError

#: The variable that cuBLAS takes its workspaces from, and the values with which it repeats its results.
WORKSPACE, REPEATING = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")
_AS_IT_IS = nullcontext()
_MISSING = re.compile(r"(\S+) does not have a deterministic implementation")


def make_deterministic(device: torch.device, *, strict: bool = False) -> None:
    """Make PyTorch use algorithms whose results repeat to the bit, where it has them.

    Args:
        device: where a model is about to be put.
        strict: raise an error where PyTorch has none (`named_determinism`), rather than go on.

    Raises:
        BackendError: strict, and cuBLAS is told to do otherwise.
    """
    if device.type == "cuda":
        found = os.environ.setdefault(WORKSPACE, REPEATING[0])
        if strict and found not in REPEATING:
            raise BackendError(
                f"backend.deterministic: products do not repeat with {WORKSPACE}={found}",
                hint=f"leave it out, or set it to one of {', '.join(REPEATING)}",
            )
        if not strict:
            warnings.filterwarnings("ignore", message=r".*does not have a deterministic implementation.*")
            warnings.filterwarnings("ignore", message=r".*defaults to a non-deterministic algorithm.*")
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def algorithms(*, deterministic: bool) -> Iterator[None]:
    """Have PyTorch's algorithms be deterministic, or in whatever order is quickest, and be as before afterwards."""
    before, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(deterministic)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)


def each_once(written: Tensor) -> AbstractContextManager[None]:
    """For writes to places of which none is there twice, or is read afterwards.

    Their result is the same in any order. CUDA's deterministic way would sort the places, and copy all of what is
    written to.

    Args:
        written: on the device that is meant.
    """
    if written.device.type == "cpu" or not torch.are_deterministic_algorithms_enabled():
        return _AS_IT_IS
    return algorithms(deterministic=False)


@contextmanager
def named_determinism() -> Iterator[None]:
    """Turn PyTorch's error about an operation that is not deterministic into one that names it and the option.

    Raises:
        BackendError: in place of PyTorch's.
    """
    try:
        yield
    except RuntimeError as error:
        if (found := _MISSING.search(str(error))) is None:
            raise
        raise BackendError(
            f"backend.deterministic: PyTorch has no deterministic {found[1]} on this device",
            hint="leave `deterministic` out, or take another model, loss or device",
        ) from error
