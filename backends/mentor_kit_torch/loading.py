"""Loading: a model in memory from a student's folder or hub id, with its device and floating-point type."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mentor_kit.backend import folders
from mentor_kit.backend.student import StudentSpec
from mentor_kit.chat.hub import hub_answers
from mentor_kit.core.errors import BackendError, MissingError
from mentor_kit_torch.cpu_weight_layout import lay_out
from mentor_kit_torch.options import TorchOptions
from mentor_kit_torch.quantized import WeightQuantization, prepare, quantization_of, require_bitsandbytes
from mentor_kit_torch.text_part import freeze_beside_text, made_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger("mentor_kit_torch")

#: Patterns of the files of weights, and what their folders are.
WEIGHTS, FORMAT = ("*.safetensors", "*.bin"), "transformers' format"
#: Hidden widths below which a CPU multiplies no faster in 16 bits, and MPS waits for its operations to be launched.
WIDE = 512


def pick_device(name: str, config: Any = None) -> torch.device:
    """The device an option names.

    auto: CUDA where it is; MPS where a trial finds that it computes as the CPU does, for models wide enough to gain by
    it; else the CPU.

    Args:
        name: the option.
        config: the model's configuration; a wide model is assumed if left out.

    Raises:
        MissingError: it is not on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if _mps_serves(config) else "cpu"
    if name.startswith("cuda") and int(name.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise MissingError(f"backend.device: {name} is not on this machine", hint="use `device: auto` or `cpu`")
    if name == "mps" and not torch.backends.mps.is_available():
        raise MissingError("backend.device: mps is not on this machine", hint="use `device: auto` or `cpu`")
    return torch.device(name)


def planned_device(name: str, config: Any = None) -> torch.device:
    """As `pick_device`, for a run that is planned: CUDA need not be on this machine."""
    return torch.device(name) if name.startswith("cuda") else pick_device(name, config)


def _mps_serves(config: Any) -> bool:
    """Whether MPS is there and of use: launching a narrow model's operations takes longer there than they do."""
    return torch.backends.mps.is_available() and (config is None or _width(config) >= WIDE) and _mps_is_right()


@cache
def _mps_is_right() -> bool:
    """Whether MPS passes its trial; a line says so where it does not, once."""
    from mentor_kit_torch.device_trial import device_fault

    fault = device_fault("mps")
    if fault:
        logger.warning("device: auto takes the CPU, as MPS is not right here: %s; `device: mps` takes it anyhow", fault)
    return not fault


def pick_dtype(name: str, device: torch.device, config: Any) -> torch.dtype:
    """The floating-point type an option names, for a model of this configuration on a device.

    auto: bfloat16 on CUDA devices that multiply it (a T4 does not), and on CPUs with instructions for it where the
    model is wide enough to gain by them; else float32.
    """
    if name == "auto":
        on_cpu = device.type == "cpu" and multiplies_bfloat16() and _width(config) >= WIDE
        on_cuda = device.type == "cuda" and cuda_multiplies_bfloat16(device)
        return torch.bfloat16 if on_cpu or on_cuda else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def multiplies_bfloat16() -> bool:
    """Whether this CPU has matrix units for bfloat16 (Intel's AMX) or multiplies vectors of it (AVX-512 BF16)."""
    capabilities: Any = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch has it since 2.10
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))


def cuda_multiplies_bfloat16(device: torch.device) -> bool:
    """Whether this GPU has units for bfloat16 (compute capability 8.0 or higher); yes where none is there to ask."""
    return not torch.cuda.is_available() or torch.cuda.get_device_capability(device) >= (8, 0)


def _width(config: Any) -> int:
    return int(getattr(config.get_text_config(), "hidden_size", 0))


def read_config(student: StudentSpec) -> Any:
    """The model's configuration.

    Raises:
        MissingError: there is no such folder, and no hub that has it.
        BackendError: the folder has no usable configuration.
    """
    from transformers import AutoConfig

    _check_folder(student.model, weights=False)
    with model_errors(student):
        return AutoConfig.from_pretrained(
            student.model,
            revision=student.revision,
            # the client tries five times where no hub answers
            local_files_only=not Path(student.model).is_dir() and not hub_answers(),
        )


def model_errors(student: StudentSpec) -> AbstractContextManager[None]:
    """Turn what transformers, or a model's own code, raises about a student into an error that names it.

    Raises:
        MissingError: there is no such folder, and no hub that has it.
        BackendError: the folder holds no model that transformers can run.
    """
    return folders.model_errors(student.model, takes=f"a causal language model in {FORMAT}", downloads=True)


@contextmanager
def room_errors(student: StudentSpec, device: torch.device) -> Iterator[None]:
    """Turn a lack of memory while a model is loaded into an error that says so.

    Raises:
        BackendError: in its place.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise BackendError(
            f"student {student.model!r} does not fit into the free memory of {device}: {folders.first_line(error)}",
            hint="`mentorkit run RECIPE --dry-run` says what it takes, and with which settings it fits; "
            "other programs, or a local teacher, may hold memory there",
        ) from error


def load_model(
    student: StudentSpec, config: Any, options: TorchOptions, device: torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    """The model of this configuration on its device, in evaluation mode, without an adapter.

    Raises:
        MissingError: there is no such folder, and no hub that has it.
        BackendError: the folder holds no model that transformers can run.
    """
    from transformers.utils import logging as transformers_logging

    _check_folder(student.model, weights=True)
    if (how := quantization_of(config, options.quantize)) is not None:
        require_bitsandbytes("students in 4 or 8 bits", "`backend.quantize`")
        # it tells of kernels that are not installed, and that are not used here
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)

    def load(kind: Any) -> Any:
        return kind.from_pretrained(
            student.model,
            config=config,
            revision=student.revision,
            dtype=dtype,
            attn_implementation=None if options.attention == "auto" else options.attention,
            output_loading_info=True,
            **({} if how is None else _quantized(config, how, device, dtype)),
        )

    with model_errors(student), room_errors(student, device):
        model, found = made_of(config, load)
    if missing := sorted(found["missing_keys"]):
        raise BackendError(
            f"{student.model} has no weights for {missing[0]}" + (f" and {len(missing) - 1} more" * (len(missing) > 1)),
            hint="the file of weights is incomplete, or belongs to another config.json",
        )
    model.config.use_cache = True
    model = (model if how is not None else model.to(device)).eval()
    if how is not None:
        prepare(model, dtype)
    freeze_beside_text(model)
    lay_out(model)
    return model


def _quantized(config: Any, how: WeightQuantization, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of transformers for quantized weights, which it puts on their device itself."""
    placed: dict[str, Any] = {"device_map": {"": device}}
    if getattr(config, "quantization_config", None) is None:
        placed["quantization_config"] = how.of_transformers(dtype)
    return placed


def _check_folder(model: str, *, weights: bool) -> None:
    folder = Path(model)
    if folder.is_dir():
        folders.check_folder(folder, WEIGHTS if weights else (), takes=FORMAT)
