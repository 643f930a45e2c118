"""Options and builders of this plugin's components."""

from __future__ import annotations

import hashlib
import os
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from mentor_kit.core.errors import MissingError, UsageError
from mentor_kit.hooks.registry import BuildContext
from mentor_kit_tiny.noisy_demonstrator import NoisyDemonstratorOptions, NoisyTeacher

TINY = Path(__file__).parent / "students" / "tiny"


def build_noisy_demonstrator(options: NoisyDemonstratorOptions, context: BuildContext) -> NoisyTeacher:
    """The noisy demonstrator, for tasks that say how it works on their problems."""
    task = context.need_task()
    world_of = getattr(task, "noisy_world", None)
    if world_of is None:
        raise UsageError(
            f"teacher noisy-demonstrator: {type(task).__name__} has no `noisy_world`",
            hint="the tasks `arithmetic` and `records` have one; use another teacher",
        )
    return NoisyTeacher(options.chosen, world_of, task, context.need_toolbox(), context.limits, context.seed)


def tiny_student(options: Any, context: BuildContext) -> Path:
    """The folder of the student that ships with mentor-kit."""
    if not (TINY / "model.safetensors").is_file():
        raise MissingError(
            f"the tiny student is not in {TINY}", hint="make it with `mentorkit run students/tiny`, or reinstall"
        )
    return TINY


def tiny_blank(options: Any, context: BuildContext) -> Path:
    """A folder with a student of random weights; made once for each seed and state of the code, in the cache."""
    from mentor_kit.runs.files import storage_errors
    from mentor_kit.utils.version import __version__

    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mentor-kit"
    folder = root / f"tiny-blank-{__version__}-{_fingerprint()}-{context.seed}"
    if not (folder / "config.json").is_file():
        with storage_errors(folder, kept="caches are kept in XDG_CACHE_HOME, or else ~/.cache"):
            _make_blank(folder, context.seed)
    return folder


def _make_blank(folder: Path, seed: int) -> None:
    from mentor_kit.utils.files import open_to_readers
    from mentor_kit_tiny.blank import write_blank

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        written = write_blank(Path(temporary) / "student", seed)
        open_to_readers(written)
        try:
            written.rename(folder)
        except OSError:
            # another run made the same student meanwhile
            if not (folder / "config.json").is_file():
                raise


def _fingerprint() -> str:
    """Of the code here and of the tasks: the tokenizer is made from their questions, so changes may change it."""
    digest = hashlib.blake2b(digest_size=4)
    for package in ("mentor_kit_math", "mentor_kit_records", "mentor_kit_tiny"):
        for module in sorted(files(package).iterdir(), key=lambda file: file.name):
            if module.name.endswith(".py"):
                digest.update(module.read_bytes())
    return digest.hexdigest()
