"""Checkpoints, each complete or absent; the last few, every stage's last and the best one are kept."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mentor_kit.backend.policy import Policy
from mentor_kit.core.errors import DataError, UsageError, did_you_mean
from mentor_kit.core.frozen_model import Json
from mentor_kit.runs.files import remove_folder, write_folder, write_text
from mentor_kit.utils.strict_json import to_json

STATE = "state.json"
FILES = "files"


@dataclass(frozen=True)
class Keep:
    """The checkpoints that are kept: the last `last`, the last one of every stage, and the best by `metric`."""

    last: int = 2
    """At least 1: the newest is what a run resumes from."""
    metric: str = "out-of-domain/greedy"
    """A metric that stages give with checkpoints; a checkpoint without it is never the best."""
    mode: Literal["max", "min"] = "max"

    def __post_init__(self) -> None:
        if self.last < 1:
            raise ValueError(f"at least the last checkpoint is kept, not {self.last}")


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint: the policy's files in `policy/`, the stage's in `files/`, all else in `state.json`."""

    path: Path
    number: int
    """Position among all checkpoints of the run, from 1; orders them independently of stage names."""
    stage: str
    step: int
    state: Mapping[str, Json] = field(default_factory=dict)
    """The stage's own state."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    offsets: Mapping[str, int] = field(default_factory=dict)
    """The length in bytes of each append-only file at that moment."""

    @property
    def policy(self) -> Path:
        """The folder for `Policy.restore`."""
        return self.path / "policy"

    @property
    def text(self) -> str:
        """The content of `state.json`."""
        return to_json({name: value for name, value in vars(self).items() if name != "path"}, indent=2) + "\n"

    def file(self, name: str) -> str | None:
        """The content of a file of the stage's; None where there is none.

        Raises:
            DataError: it cannot be read.
        """
        path = self.path / FILES / name
        try:
            return path.read_text(encoding="utf-8") if path.exists() else None
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} cannot be read: {error}",
                hint=f"remove {self.path} to resume from an earlier checkpoint",
            ) from None

    @staticmethod
    def read(path: Path) -> Checkpoint:
        """The checkpoint in a folder.

        Raises:
            DataError: its state cannot be read.
        """
        try:
            record = json.loads((path / STATE).read_bytes())
            return Checkpoint(
                path=path,
                number=int(record["number"]),
                stage=str(record["stage"]),
                step=int(record["step"]),
                state=dict(record["state"]),
                metrics=dict(record["metrics"]),
                offsets=dict(record["offsets"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path / STATE} cannot be read: {error}",
                hint="remove that folder to resume from an earlier one",
            ) from None


class Checkpoints:
    """The checkpoints of a run, in their folder."""

    def __init__(self, folder: Path, keep: Keep | None = None) -> None:
        self.folder = folder
        self.keep = keep or Keep()

    def save(
        self,
        stage: str,
        step: int,
        policy: Policy,
        state: Mapping[str, Json],
        metrics: Mapping[str, float],
        offsets: Mapping[str, int],
        files: Mapping[str, str] | None = None,
    ) -> Checkpoint:
        """Save the policy, the state and the stage's files by name, then remove the checkpoints that need not be kept.

        Raises:
            MentorKitError: the disk is full or not writable; earlier checkpoints are whole.
        """
        before = self.all()
        number = before[-1].number + 1 if before else 1
        new = Checkpoint(self.folder / f"{stage}-step-{step:06d}", number, stage, step, state, metrics, offsets)

        def fill(folder: Path) -> None:
            (folder / "policy").mkdir()
            policy.save(folder / "policy")
            for name, text in (files or {}).items():
                (folder / FILES).mkdir(exist_ok=True)
                (folder / FILES / name).write_text(text, encoding="utf-8", newline="\n")
            (folder / STATE).write_text(new.text, encoding="utf-8")

        write_folder(new.path, fill)
        self._prune()
        return Checkpoint.read(new.path)

    def amend(
        self,
        checkpoint: Checkpoint,
        state: Mapping[str, Json],
        metrics: Mapping[str, float],
        offsets: Mapping[str, int],
    ) -> None:
        """Replace a checkpoint's state and metrics, not its policy; then remove checkpoints as `save` does."""
        new = replace(checkpoint, state=state, metrics=metrics, offsets=offsets)
        write_text(checkpoint.path / STATE, new.text)
        self._prune()

    def all(self) -> list[Checkpoint]:
        """All complete checkpoints, oldest first."""
        found = [Checkpoint.read(path) for path in complete(self.folder)]
        return sorted(found, key=lambda checkpoint: checkpoint.number)

    def latest(self, stages: Collection[str] | None = None) -> Checkpoint | None:
        """The newest checkpoint, from which a run resumes; or the newest one of these stages."""
        found = [checkpoint for checkpoint in self.all() if stages is None or checkpoint.stage in stages]
        return found[-1] if found else None

    def remove_after(self, checkpoint: Checkpoint) -> None:
        """Remove the newer checkpoints."""
        for found in self.all():
            if found.number > checkpoint.number:
                remove_folder(found.path)

    def best(self) -> Checkpoint | None:
        """The best checkpoint by the metric, the earliest of equals; None while none has the metric."""
        return self._best_of(self.all())

    def _best_of(self, checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
        sign = 1 if self.keep.mode == "max" else -1
        found = [(checkpoint.metrics.get(self.keep.metric), checkpoint) for checkpoint in checkpoints]
        rated = [
            (sign * value, checkpoint) for value, checkpoint in found if value is not None and math.isfinite(value)
        ]
        return max(rated, key=lambda pair: (pair[0], -pair[1].number))[1] if rated else None

    def find(self, which: str) -> Checkpoint:
        """A checkpoint by name: `last`, `best`, or that of its folder.

        Raises:
            UsageError: there is no such checkpoint.
        """
        found = self.all()
        if not found:
            raise UsageError(
                f"{self.folder.parent} has no checkpoint: it trains nothing, or ended before its first",
                hint="name another run",
            )
        named = {checkpoint.path.name: checkpoint for checkpoint in found} | {"last": found[-1]}
        if best := self._best_of(found):
            named["best"] = best
        if which not in named:
            raise UsageError(
                f"{self.folder.parent} has no checkpoint {which!r}{did_you_mean(which, named)}",
                hint=f"there are: {', '.join(named)}",
            )
        return named[which]

    def _prune(self) -> None:
        found = self.all()
        best = self._best_of(found)
        kept = {checkpoint.stage: checkpoint.number for checkpoint in found}.values()
        for checkpoint in found[: -self.keep.last]:
            if checkpoint.number not in kept and (best is None or checkpoint.number != best.number):
                remove_folder(checkpoint.path)


def complete(folder: Path) -> list[Path]:
    """The complete checkpoints in a folder of them, in no order."""
    return [state.parent for state in folder.glob(f"[!.]*/{STATE}")]
