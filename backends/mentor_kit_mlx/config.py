"""Configurations: a folder's config.json as the settings that mlx-lm builds a model from.

mlx-lm's defaults are not transformers': it knows `rope_theta` and not `rope_parameters`, and takes Llama's embeddings
for tied. So every key that the file leaves out gets the default of transformers, and rope parameters are written in the
old form too.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from mentor_kit.backend.folders import check_folder, not_found
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.errors import BackendError, MissingError
from mentor_kit.utils.quiet_imports import import_transformers
from mentor_kit_mlx.config_words import write_as_mlx_lm_reads
from mentor_kit_mlx.known_configs import KNOWN
from mentor_kit_mlx.mlx_lm_faults import mlx_lm_fault

Config = dict[str, Any]
#: Files of a model on the hub, those of them that are weights, and what their folders are.
PATTERNS = ("*.json", "model*.safetensors", "*.txt", "*.model", "*.jinja", "tokenizer*")
WEIGHTS, FORMAT = ("model*.safetensors",), "the format of transformers or mlx-lm"
TAKES = f"student.model takes a folder in {FORMAT}"


def find_folder(student: StudentSpec, *, weights: bool = True) -> Path:
    """The student's folder: its own, or where the hub's files were put.

    Raises:
        MissingError: there is no such folder, and no hub that has it.
        BackendError: the folder holds no model.
    """
    folder = Path(student.model)
    if not folder.is_dir():
        folder = _download(student, PATTERNS if weights else ("*.json",))
    check_folder(folder, WEIGHTS if weights else (), takes=FORMAT)
    return folder


def config_of(student: StudentSpec) -> Config:
    """A student's complete configuration; from the table of known ones where the hub cannot be reached.

    Raises:
        MissingError: there is no such folder, no hub that has it, and it is not in the table.
        BackendError: it cannot be read.
    """
    try:
        return read_config(find_folder(student, weights=False))
    except MissingError:
        if student.model not in KNOWN:
            raise
        own = KNOWN[student.model]
        return complete(own, _defaults(own))


def folder_of(student: StudentSpec) -> Path | None:
    """The student's folder, with what is there of its files; None where the hub cannot be reached."""
    try:
        return find_folder(student, weights=False)
    except MissingError:
        return None


def read_config(folder: Path) -> Config:
    """The complete configuration of a folder.

    Raises:
        BackendError: it cannot be read, or mlx-lm computes another model than transformers.
    """
    try:
        own = json.loads((folder / "config.json").read_text(encoding="utf-8"), object_hook=_number)
    except (OSError, ValueError, RecursionError) as error:
        raise BackendError(f"{folder / 'config.json'} cannot be read: {error}", hint=TAKES) from error
    if not isinstance(own, dict) or not isinstance(own.get("model_type"), str):
        raise BackendError(
            f"{folder / 'config.json'} names no model: expected a mapping with `model_type`",
            hint=TAKES,
        )
    try:
        config = complete(own, _defaults(own))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackendError(f"{folder / 'config.json'} cannot be read: {error}", hint=TAKES) from error
    if (fault := mlx_lm_fault(config)) is not None:
        raise BackendError(f"{folder}: {fault}", hint="use the backend `torch`")
    return config


def _number(value: dict[str, Any]) -> Any:
    """A number that JSON has no form for, from the object that transformers writes in its place."""
    return float(value["__float__"]) if value.keys() == {"__float__"} else value


def complete(own: Config, defaults: Config) -> Config:
    """A configuration with its defaults filled in, in the words that mlx-lm reads.

    Args:
        own: from config.json.
        defaults: of transformers, for this type of model.
    """
    # a quantized model's own keys are mlx-lm's, and null there is no default
    config = {key: value for key, value in defaults.items() if value is not None} | own
    write_as_mlx_lm_reads(config)
    return config


def _defaults(own: Config) -> Config:
    """Transformers' defaults for this type of model; none for types it does not know."""
    configs = import_transformers().AutoConfig
    kept = {key: value for key, value in own.items() if key not in ("model_type", "quantization_config")}
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        found: Config = configs.for_model(own["model_type"], **kept).to_dict()
        return found
    except Exception:  # noqa: BLE001 (every type of model checks its configuration in its own way)
        return {}
    finally:
        logger.setLevel(level)


def _download(student: StudentSpec, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(student.model, revision=student.revision, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:
        raise not_found(student.model, error) from error
