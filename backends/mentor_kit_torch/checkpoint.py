"""A policy in a folder, exact to the bit: trained weights, optimizer, reference and version."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.validation import other_dtype
from mentor_kit.core.errors import DataError
from mentor_kit.utils.files import open_to_readers
from mentor_kit_torch.loading import first_line
from mentor_kit_torch.optimizer import TorchOptimizer

if TYPE_CHECKING:
    from mentor_kit_torch.policy import TorchPolicy

logger = logging.getLogger("mentor_kit_torch")

WEIGHTS, REFERENCE, OPTIMIZER, STATE = "weights.safetensors", "reference.safetensors", "optimizer.pt", "policy.json"
UNREADABLE = (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, SafetensorError, UnpicklingError)


def save(policy: TorchPolicy, folder: Path) -> None:
    """Write everything `restore` needs; the folder is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(trained(policy.model), folder / WEIGHTS)
    if policy.reference is not None:
        save_file({name: value.contiguous().cpu() for name, value in policy.reference.items()}, folder / REFERENCE)
    random = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
    state: dict[str, Any] = {
        "version": policy.version,
        "optimizer": None,
        "reference": policy.reference is not None,
        "random": [part.tolist() for part in random],
        "dtype": policy.info.dtype,
    }
    if policy.optimizer is not None:
        torch.save(policy.optimizer.state(), folder / OPTIMIZER)
        state["optimizer"] = policy.optimizer.spec.model_dump()
    (folder / STATE).write_text(json.dumps(state))
    open_to_readers(folder)  # safetensors writes for the owner alone


def restore(policy: TorchPolicy, folder: Path) -> None:
    """Bring back what `save` wrote; nothing is changed if that cannot be done.

    Raises:
        DataError: the folder is not a checkpoint of this student.
    """
    try:
        state = json.loads((folder / STATE).read_text())
        weights = load_file(folder / WEIGHTS)
        reference = load_file(folder / REFERENCE) if state["reference"] else None
        moments = torch.load(folder / OPTIMIZER, weights_only=True) if state["optimizer"] else None
        optimizer = OptimizerSpec(**state["optimizer"]) if state["optimizer"] else None
        dtype = str(state.get("dtype") or policy.info.dtype)
        version, random = int(state["version"]), [torch.tensor(part, dtype=torch.uint8) for part in state["random"]]
    except UNREADABLE as error:
        raise DataError(
            f"{folder} is not a whole checkpoint of the torch backend: {first_line(error)}",
            hint="resume from an earlier checkpoint",
        ) from error
    for values in (weights, *([] if reference is None else [reference])):
        _check(policy.model, values, folder)
    _put(policy.model, weights)
    policy.reference = None if reference is None else _lying_alike(policy.model, reference)
    if policy.optimizer is not None:
        policy.optimizer.close()
    policy.optimizer = None if optimizer is None else TorchOptimizer(policy.model, optimizer)
    if policy.optimizer is not None and moments is not None:
        policy.optimizer.load(moments, weights)
    policy.version = version
    if (note := other_dtype(folder, dtype, policy.info.dtype)) is not None:
        logger.warning(note)
    torch.set_rng_state(random[0])
    if len(random) - 1 == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(random[1:])


def trained(model: Any, *, copy: bool = False) -> dict[str, Tensor]:
    """The parameters that are trained, by name, tied ones once: copies where they are, or as they are on the CPU."""
    found = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    return {n: value.clone() if copy else value.contiguous().cpu() for n, value in found.items()}


def _check(model: Any, weights: dict[str, Tensor], folder: Path) -> None:
    own = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    saved = {name: tuple(value.shape) for name, value in weights.items()}
    if own == saved:
        return
    name = next(n for n in [*own, *saved] if own.get(n) != saved.get(n))
    raise DataError(
        f"{folder} is a checkpoint of another student: {name} has the shape {saved.get(name, 'none')} there, "
        f"{own.get(name, 'none')} here",
        hint="resume with the recipe that the run was started with",
    )


@torch.no_grad()
def _lying_alike(model: Any, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights where the model's own are, and in memory as they are, since another order rounds otherwise."""
    parameters = dict(model.named_parameters())
    return {name: torch.empty_like(parameters[name], requires_grad=False).copy_(w) for name, w in weights.items()}


@torch.no_grad()
def _put(model: Any, weights: dict[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    for name, value in weights.items():
        parameters[name].copy_(value)
