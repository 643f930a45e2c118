"""The loaded student of an experiment: a policy, and the chat format that turns messages into its tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mentor_kit.backend.policy import Policy
from mentor_kit.chat.format import ChatFormat
from mentor_kit.chat.serving import name_parsers
from mentor_kit.rollout import Sampling
from mentor_kit.stages.generation_config import write_generation_config


@dataclass(frozen=True)
class LoadedStudent:
    """A policy and its chat format."""

    policy: Policy
    format: ChatFormat
    export_formats: tuple[str, ...] = ("transformers",)
    """As `Backend.export_formats`."""

    @property
    def whole_format(self) -> str:
        """The format in which a run leaves the student at its end."""
        return self.policy.whole_format or self.export_formats[0]

    def export(self, folder: Path, format: str | None = None, *, sampling: Sampling | None = None) -> None:
        """Write the student with its tokenizer into an empty folder.

        Args:
            folder: to write.
            format: one of `export_formats`; a whole student's if left out.
            sampling: the default of programs that load a whole student; its base model's if left out.

        Raises:
            UsageError: the backend does not write this format.
        """
        self.policy.export(folder, format=format or self.whole_format)
        self.format.tokenizer.save(folder)
        name_parsers(folder, self.format)
        if sampling is not None:
            write_generation_config(folder, sampling, self.format.stop_ids)
