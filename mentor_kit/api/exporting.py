"""Exports a run's student for other programs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.checking import load_served
from mentor_kit.api.gguf import GGUF, convert, converter
from mentor_kit.api.locations import RUNS, find_run
from mentor_kit.api.quantized_export import write_quantized
from mentor_kit.api.student_cards import CardOptions, benchmarks_of, card_writer
from mentor_kit.api.subjects import find_checkpoint
from mentor_kit.core.errors import BackendError, UsageError
from mentor_kit.core.posix import require_posix
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.assembly import assemble, assemble_components, backend_of, student_spec
from mentor_kit.recipe.attribution import attributed
from mentor_kit.runs import Run
from mentor_kit.runs.files import write_folder
from mentor_kit.stages import Experiment

if TYPE_CHECKING:
    from mentor_kit.backend.quantization_cost import QuantizationCost
    from mentor_kit.chat.serving import ServingCommand


@checked_arguments
def export(
    run: str | Path | Run,
    target: str | Path,
    *,
    checkpoint: str = "last",
    format: str = "transformers",
    name: str | None = None,
    license: str | None = None,
    benchmarks: Mapping[str, str] | None = None,
    output: str | Path = RUNS,
    registry: Registry | None = None,
) -> Path:
    """Write a checkpoint's student, with its tokenizer and its card, into a new folder.

    Args:
        run: as for `evaluate`.
        target: the folder to make; it must not exist, or be empty.
        checkpoint: `last`, `best`, or the name of a folder under `checkpoints/`.
        format: `transformers`; `adapter`; `gguf`, by llama.cpp's converter; or another one of the backend's. For
            quantized weights (`mlx-4bit`) what they cost is measured, and written beside them.
        name: the student's hub id for its card, `owner/name`, where it gets one.
        license: the hub's identifier of a licence for its card, such as `apache-2.0`.
        benchmarks: evaluations of the run whose data is a benchmark on the hub, as `owner/dataset` or
            `owner/dataset:task` by their plans' names; the hub lists their results.
        output: the folder of all runs.
        registry: the plugins to use.

    Returns:
        The folder.

    Raises:
        UsageError: the target exists already, or there is no such run, checkpoint or evaluation.
        MissingError: llama.cpp's converter is not installed, for `gguf`; or this is Windows, outside WSL.
    """
    require_posix("an export")
    registry = registry or default_registry()
    folder = new_folder(target)
    command = converter(str(run.path if isinstance(run, Run) else run), folder) if format == GGUF else None
    done = find_run(run, output, lambda run: run.has_checkpoint)
    loaded = load_served(done.folder.recipe, registry)
    found = find_checkpoint(done, loaded.recipe, checkpoint)
    chosen_by = loaded.recipe.checkpoints.best if checkpoint == "best" else None
    options = CardOptions(name, license, benchmarks_of(done, benchmarks or {}), chosen_by)
    with attributed(loaded, registry), closing(assemble_components(loaded, registry)) as components:
        experiment = assemble(loaded, registry, components)
        experiment.policy.restore(found.policy)
        experiment.describe_export = card_writer(
            experiment, loaded, components, registry, done, checkpoint=found, options=options
        )
        backend = backend_of(loaded.recipe, registry, components.context)
        if format in backend.quantized_formats:
            student = student_spec(loaded, registry, components.context)
            return write_folder(folder, lambda new: write_quantized(experiment, backend, student, done, new, format))
        if command is None:
            return write_folder(folder, lambda new: experiment.export(new, format))
        return write_folder(folder, lambda new: _write_gguf(experiment, command, new))


@checked_arguments
def serving(
    folder: str | Path, *, format: str = "transformers", registry: Registry | None = None
) -> tuple[ServingCommand, ...]:
    """The commands by which other programs serve an exported student, so that its tool calls arrive as calls.

    Args:
        folder: as `export` writes it.
        format: that it was exported in; there are no commands for a format of a plugin's backend.
        registry: the plugins whose families are known.

    Raises:
        MissingError, ChatError: the folder has no tokenizer, or none with a chat template.
    """
    from mentor_kit.chat import load_chat_format
    from mentor_kit.chat.serving import served_export, serving_commands

    # a file of GGUF has its tokenizer inside
    is_gguf = format == GGUF
    chat_format = None if is_gguf else load_chat_format(folder, registry=registry or default_registry())
    return serving_commands(served_export(Path(folder), format), chat_format)


@checked_arguments
def written_format(folder: str | Path, *, format: str = "transformers") -> str:
    """The format that a student was exported in: another one than was asked for, where it could not be written so.

    Args:
        folder: as `export` writes it.
        format: that was asked for.
    """
    from mentor_kit.backend.export_format import format_of

    return format_of(Path(folder), format)


@checked_arguments
def quantization_cost(folder: str | Path) -> QuantizationCost | None:
    """What an exported student lost when its weights were quantized; None where they were not, or it is not known.

    Args:
        folder: as `export` writes it.
    """
    from mentor_kit.backend.quantization_cost import read_cost

    return read_cost(Path(folder))


def _write_gguf(experiment: Experiment, command: Sequence[str], folder: Path) -> None:
    """Write the student as one file of GGUF, with its card."""
    describe, experiment.describe_export = experiment.describe_export, None
    whole = folder / "transformers"
    if experiment.student is not None and (fault := experiment.student.written_as("transformers")[1]) is not None:
        raise BackendError(f"the student cannot be written as `{GGUF}`: {fault}", hint="use the format `mlx`")
    experiment.export(whole, "transformers")
    convert(command, whole, folder / f"{experiment.name}.gguf")
    shutil.rmtree(whole)
    if describe is not None:
        describe(folder, GGUF)


def new_folder(target: str | Path) -> Path:
    """The folder to make.

    Raises:
        UsageError: it is not a name, it is a file, or there is something in it.
    """
    if not isinstance(target, str | Path):
        raise UsageError(f"target must be a folder, not {type(target).__name__}")
    folder = Path(target)
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise UsageError(f"{place} is a file", hint="name a folder to make")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} exists already and is not empty", hint="name another folder")
    return folder
