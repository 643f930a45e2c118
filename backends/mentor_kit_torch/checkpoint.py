"""A policy in a folder, exact to the bit: trained weights, optimizer, reference and version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mentor_kit.errors import DataError
from mentor_kit.policy import OptimizerSpec
from mentor_kit_torch.optimizer import Optimizer

if TYPE_CHECKING:
    from mentor_kit_torch.policy import TorchPolicy

WEIGHTS, REFERENCE, OPTIMIZER, STATE = "weights.safetensors", "reference.safetensors", "optimizer.pt", "policy.json"


def save(policy: TorchPolicy, folder: Path) -> None:
    """Write everything `restore` needs."""
    save_file(_trained(policy.model), folder / WEIGHTS)
    if policy.reference is not None:
        save_file(_trained(policy.reference, like=policy.model), folder / REFERENCE)
    state: dict[str, Any] = {"version": policy.version, "rng": torch.get_rng_state().tolist()}
    if policy.optimizer is not None:
        torch.save(policy.optimizer.state(), folder / OPTIMIZER)
        state["optimizer"] = policy.optimizer.spec.model_dump()
    (folder / STATE).write_text(json.dumps(state))


def restore(policy: TorchPolicy, folder: Path) -> None:
    """Bring back what `save` wrote.

    Raises:
        DataError: the folder is not a checkpoint of this student.
    """
    try:
        state = json.loads((folder / STATE).read_text())
        weights = load_file(folder / WEIGHTS)
        reference = load_file(folder / REFERENCE) if (folder / REFERENCE).exists() else None
        optimizer = torch.load(folder / OPTIMIZER, weights_only=True) if "optimizer" in state else None
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise DataError(f"{folder} is not a checkpoint of the torch backend: {error}") from error
    _put(policy.model, weights, folder)
    policy.reference = None
    if reference is not None:
        policy.snapshot_copy()
        _put(policy.reference, reference, folder)
    if optimizer is not None:
        policy.optimizer = Optimizer(policy.model, OptimizerSpec(**state["optimizer"]))
        policy.optimizer.load(optimizer)
    policy.version = int(state["version"])
    torch.set_rng_state(torch.tensor(state["rng"], dtype=torch.uint8))


def _trained(model: Any, like: Any = None) -> dict[str, Tensor]:
    """The parameters that are trained (in `like`, where given), by name; tied ones once."""
    names = {name for name, parameter in (like or model).named_parameters() if parameter.requires_grad}
    return {n: p.detach().contiguous().cpu() for n, p in model.named_parameters() if n in names}


@torch.no_grad()
def _put(model: Any, weights: dict[str, Tensor], folder: Path) -> None:
    parameters = dict(model.named_parameters())
    for name, value in weights.items():
        if name not in parameters or parameters[name].shape != value.shape:
            raise DataError(
                f"{folder} is a checkpoint of another student: its {name} has the shape {tuple(value.shape)}",
                hint="resume with the recipe that the run was started with",
            )
        parameters[name].copy_(value)
