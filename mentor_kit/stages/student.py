"""The loaded student of an experiment: a policy, and the chat format that turns messages into its tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mentor_kit.backend.policy import Policy
from mentor_kit.chat.format import ChatFormat


@dataclass(frozen=True)
class LoadedStudent:
    """A policy and its chat format."""

    policy: Policy
    format: ChatFormat
    export_formats: tuple[str, ...] = ("transformers",)
    """As `Backend.export_formats`."""

    def export(self, folder: Path, format: str | None = None) -> None:
        """Write the student with its tokenizer into an empty folder; the whole student if no format is given.

        Raises:
            UsageError: the backend does not write this format.
        """
        self.policy.export(folder, format=format or self.export_formats[0])
        self.format.tokenizer.save(folder)
