"""A policy in a folder, exact to the bit: trained weights, optimizer, reference, random state and version."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.validation import other_dtype
from mentor_kit.core.errors import DataError
from mentor_kit.utils.randomness import derive_seed
from mentor_kit_mlx.loading import first_line
from mentor_kit_mlx.optimizer import MLXOptimizer, exact_weights
from mentor_kit_mlx.params import Arrays, put, read, trained, write
from mentor_kit_mlx.random_state import random_state

if TYPE_CHECKING:
    from mentor_kit_mlx.policy import MLXPolicy

logger = logging.getLogger("mentor_kit_mlx")

WEIGHTS, REFERENCE, OPTIMIZER = "weights.safetensors", "reference.safetensors", "optimizer.safetensors"
STATE = "policy.json"
UNREADABLE = (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError)


def save(policy: MLXPolicy, folder: Path, random: Sequence[int] | None = None) -> None:
    """Write everything `restore` needs; the folder is made if it is not there.

    Args:
        policy: to keep.
        folder: where.
        random: the random state of every process that holds the policy; this one's alone if left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / WEIGHTS, trained(policy.model))
    if policy.reference is not None:
        write(folder / REFERENCE, policy.reference)
    state: dict[str, Any] = {
        "version": policy.version,
        "optimizer": None,
        "reference": policy.reference is not None,
        "random": list(random or [random_state()]),
        "dtype": policy.info.dtype,
    }
    if policy.optimizer is not None:
        write(folder / OPTIMIZER, policy.optimizer.state())
        state["optimizer"] = policy.optimizer.spec.model_dump()
        state["steps"] = policy.optimizer.steps
    (folder / STATE).write_text(json.dumps(state))


def restore(policy: MLXPolicy, folder: Path) -> None:
    """Bring back what `save` wrote; nothing is changed if that cannot be done.

    A checkpoint of a model in another type goes on in this one's, with the optimizer's float32 masters as they were.

    Raises:
        DataError: the folder is not a checkpoint of this student.
    """
    try:
        state = json.loads((folder / STATE).read_text())
        weights = _whole(folder / WEIGHTS)
        reference = _whole(folder / REFERENCE) if state["reference"] else None
        moments = _whole(folder / OPTIMIZER) if state["optimizer"] else {}
        spec = OptimizerSpec(**state["optimizer"]) if state["optimizer"] else None
        version, steps = int(state["version"]), int(state.get("steps", 0))
        random = seed_of(state["random"], 0)
        for values in (weights, *([] if reference is None else [reference])):
            _check(policy.model, values, folder)
        exact = exact_weights(weights, moments)
        optimizer = None if spec is None else MLXOptimizer(policy.model, spec, compiled=policy.compiled)
        if optimizer is not None:
            optimizer.load(moments, steps, exact)
        dtype = str(state.get("dtype") or policy.info.dtype)
    except UNREADABLE as error:
        raise DataError(
            f"{folder} is not a whole checkpoint of the mlx backend: {first_line(error)}",
            hint="resume from an earlier checkpoint",
        ) from error
    put(policy.model, _as_here(policy.model, exact))
    policy.reference = None if reference is None else _as_here(policy.model, reference)
    policy.optimizer, policy.version = optimizer, version
    mx.random.seed(random)
    if (note := other_dtype(folder, dtype, policy.info.dtype)) is not None:
        logger.warning(note)


def random_states(folder: Path) -> list[int]:
    """The random states of all processes in a checkpoint that was restored."""
    return list(json.loads((folder / STATE).read_text())["random"])


def seed_of(random: Sequence[int], rank: int) -> int:
    """The seed that brings a process's generator into its state; a state of its own where it was not there then."""
    return int(random[rank]) if rank < len(random) else derive_seed(int(random[0]), "process", rank)


def _whole(path: Path) -> Arrays:
    found = read(path)
    mx.eval(found)
    return found


def _as_here(model: Any, weights: Arrays) -> Arrays:
    """Weights in the types that the model's own have."""
    return {name: weights[name].astype(value.dtype) for name, value in trained(model).items()}


def _check(model: Any, weights: Arrays, folder: Path) -> None:
    own = {name: tuple(value.shape) for name, value in trained(model).items()}
    saved = {name: tuple(value.shape) for name, value in weights.items()}
    if own == saved:
        return
    name = next(n for n in [*own, *saved] if own.get(n) != saved.get(n))
    raise DataError(
        f"{folder} is a checkpoint of another student: {name} has the shape {saved.get(name, 'none')} there, "
        f"{own.get(name, 'none')} here",
        hint="resume with the recipe that the run was started with",
    )
