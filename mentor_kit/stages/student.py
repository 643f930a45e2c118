"""The loaded student of an experiment: a policy, and the chat format that turns messages into its tokens."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mentor_kit.backend.policy import Backend, Policy
from mentor_kit.backend.student import StudentSpec
from mentor_kit.chat.format import ChatFormat
from mentor_kit.chat.serving import name_parsers
from mentor_kit.core.errors import MentorKitError
from mentor_kit.rollout import Sampling
from mentor_kit.stages.generation_config import write_generation_config

_log = logging.getLogger("mentor_kit")

#: The formats in which backends hand students to each other: a whole one, and an adapter.
TRANSFORMERS, ADAPTER = "transformers", "adapter"


@dataclass(frozen=True)
class LoadedStudent:
    """A policy and its chat format."""

    policy: Policy
    format: ChatFormat
    export_formats: tuple[str, ...] = ("transformers",)
    """As `Backend.export_formats`."""
    spec: StudentSpec | None = None
    """What the policy was loaded from."""
    backend_writing: Callable[[str], Backend | None] = lambda _: None
    """Another backend that writes a format; None where there is none."""

    @property
    def whole_format(self) -> str:
        """The format in which a run leaves the student at its end."""
        return self.policy.whole_format or self.export_formats[0]

    def written_as(self, format: str) -> tuple[str, str | None]:
        """The format that the student is written in where one is asked for, and why it is another one.

        Args:
            format: one of `export_formats`, or another backend's.

        Returns:
            The format itself and None where the student can be written in it; else one of the same kind, an adapter or
            a whole student, or at last a whole student's.
        """
        inner = format if format in self.export_formats else handed_over(format)
        fault = self.policy.export_fault(inner) if inner in self.export_formats else None
        if fault is None:
            return format, None
        alike = [other for other in self.export_formats if other.endswith(ADAPTER)] if format.endswith(ADAPTER) else []
        found = (other for other in alike if self.policy.export_fault(other) is None)
        return next(found, self.whole_format), fault

    def export(self, folder: Path, format: str | None = None, *, sampling: Sampling | None = None) -> str:
        """Write the student with its tokenizer into an empty folder.

        A student that cannot be written as asked is written in another format, with a warning.

        Args:
            folder: to write.
            format: one of `export_formats`, or another backend's; a whole student's if left out.
            sampling: the default of programs that load a whole student; its base model's if left out.

        Returns:
            The format that it was written in.

        Raises:
            UsageError: no backend writes this format.
        """
        written, fault = self.written_as(format or self.whole_format)
        if fault is not None:
            _log.warning("%s", written_otherwise(format or written, written, fault))
        written = self._write(folder, written)
        self.format.tokenizer.save(folder)
        name_parsers(folder, self.format)
        if sampling is not None:
            write_generation_config(folder, sampling, self.format.stop_ids)
        return written

    def _write(self, folder: Path, format: str) -> str:
        """Write the policy, by another backend where the format is its; the format that it was written in."""
        other = None if format in self.export_formats else self.backend_writing(format)
        if other is None or self.spec is None:
            self.policy.export(folder, format=format)
            return format
        inner = handed_over(format)
        with tempfile.TemporaryDirectory(prefix=".handed-over-", dir=folder.parent) as temporary:
            exported = Path(temporary) / "student"
            self.policy.export(exported, format=inner)
            adapter = self.spec.adapter
            if inner == ADAPTER and adapter is not None:
                student = replace(self.spec, adapter=replace(adapter, path=exported))
            else:
                student = StudentSpec(str(exported))
            try:
                other.rewrite(student, folder, format, dtype=self.policy.info.dtype)
            except MentorKitError as error:
                _log.warning("%s", written_otherwise(format, inner, error.message))
                shutil.copytree(exported, folder, dirs_exist_ok=True)
                return inner
        return format


def written_otherwise(asked: str, written: str, why: str) -> str:
    """The line that says that a student is written in another format than was asked for."""
    return f"the student cannot be written as `{asked}`, and is written as `{written}`: {why}"


def handed_over(format: str) -> str:
    """The format in which a student is handed to the backend that writes a format."""
    return ADAPTER if format.endswith(ADAPTER) else TRANSFORMERS
