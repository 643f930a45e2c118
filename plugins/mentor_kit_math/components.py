"""Options and builders of this plugin's components."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from mentor_kit.core.errors import MissingError, UsageError
from mentor_kit.core.options import TaskOptions, ToolOptions
from mentor_kit.core.tool import Tool
from mentor_kit.hooks.registry import BuildContext
from mentor_kit_math.arithmetic import ArithmeticTask
from mentor_kit_math.noisy_demonstrator import NoisyDemonstratorOptions, NoisyTeacher
from mentor_kit_math.operations import OPERATIONS, math_tools

TINY = Path(__file__).parent / "students" / "tiny"


class MathOptions(ToolOptions):
    """Twelve mathematical tools."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decimals: int | None = Field(default=2, ge=0, le=12)
    """Results are rounded to so many digits after the point; null leaves them as they are."""

    @property
    def tool_names(self) -> list[str]:
        """The names of the tools."""
        return list(OPERATIONS)


class ArithmeticOptions(TaskOptions):
    """Chains of operations in words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    capacity_gap: bool = False
    """The teacher does most additions, subtractions and sums in its head, which a student cannot imitate."""
    blind_check: bool = False
    """In training a favourite mistake on some operations mostly gives the right answer; out of domain never."""

    @property
    def task_splits(self) -> Sequence[str]:
        """The splits of the task."""
        return ArithmeticTask.splits


def build_tools(options: MathOptions, context: BuildContext) -> list[Tool]:
    """The tools."""
    return math_tools(options.decimals)


def build_task(options: ArithmeticOptions, context: BuildContext) -> ArithmeticTask:
    """The task."""
    return ArithmeticTask(capacity_gap=options.capacity_gap, blind_check=options.blind_check)


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
    """A folder with a student of random weights; made once for each seed and state of this package, in the cache."""
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
    from mentor_kit_math.blank import write_blank

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
    """Of this package's code: the tokenizer is made from the task's questions, so any change may change the student."""
    digest = hashlib.blake2b(digest_size=4)
    for module in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()
