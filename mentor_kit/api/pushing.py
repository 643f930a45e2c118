"""Pushes a run's student, or an exported folder, to the hub."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.exporting import export
from mentor_kit.api.hub_repository import Commit, HubRepository, PushedFile, files_of
from mentor_kit.api.locations import RUNS, find_run
from mentor_kit.core.errors import UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.registry import Registry
from mentor_kit.runs import Run
from mentor_kit.runs.files import storage_errors
from mentor_kit.utils.files import NEW

#: Files of which an exported folder has one.
_EXPORTED = ("config.json", "adapter_config.json", "*.gguf")

#: What keys of hubs, model providers and clouds look like.
_KEY = re.compile(r"\b(hf_\w{20,}|sk-[\w-]{20,}|gh[pousr]_\w{30,}|AKIA[A-Z0-9]{16})\b", re.ASCII)


@dataclass(frozen=True)
class Push:
    """What was pushed, or would be."""

    repository: str
    """The hub id, `owner/name`."""
    files: tuple[PushedFile, ...]
    card: str
    """The card, metadata and text; empty where the folder has none."""
    commit: Commit | None
    """None for a dry run."""

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.bytes for file in self.files)

    def to_json(self) -> dict[str, Json]:
        """The push as data for programs."""
        commit = self.commit
        return {
            "repository": self.repository,
            "dry_run": commit is None,
            "url": None if commit is None else commit.url,
            "commit": None if commit is None else commit.id,
            "removed": [] if commit is None else list(commit.removed),
            "files": [{"path": file.path, "bytes": file.bytes} for file in self.files],
            "bytes": self.bytes,
            "card": self.card,
        }


@checked_arguments
def push(
    source: str | Path | Run,
    repository: str,
    *,
    checkpoint: str = "last",
    format: str = "transformers",
    private: bool = False,
    update: bool = False,
    license: str | None = None,
    benchmarks: dict[str, str] | None = None,
    dry_run: bool = False,
    output: str | Path = RUNS,
    registry: Registry | None = None,
) -> Push:
    """Commit a student to a model's repository on the hub; it is created where there is none.

    The token is that of `HF_TOKEN`, or of `hf auth login`. All files arrive in one commit.

    Args:
        source: a run, as for `evaluate`; or a folder that `export` wrote, which is pushed as it is.
        repository: the hub id, `owner/name`.
        checkpoint: as for `export`.
        format: as for `export`.
        private: make a repository that only its owner sees.
        update: commit over the files of a repository that has some.
        license: as for `export`.
        benchmarks: as for `export`.
        dry_run: export, and push nothing; the hub is not asked.
        output: the folder of all runs.
        registry: the plugins to use.

    Raises:
        UsageError: the id is none, the repository has files, there is no such run, checkpoint or folder, or the card
            has a key in it.
        MissingError: there is no token or no network, or huggingface_hub is not installed.
        MentorKitError: the hub refuses the token or the files.
    """
    place = HubRepository(repository)
    if not dry_run:
        place.check(private=private, update=update)
    with _exported(
        source,
        repository,
        checkpoint=checkpoint,
        format=format,
        license=license,
        benchmarks=benchmarks,
        output=output,
        registry=registry,
    ) as folder:
        files = files_of(folder)
        card = folder / "README.md"
        text = card.read_text(encoding="utf-8") if card.is_file() else ""
        _check_no_key(text)
        commit = None
        if not dry_run:
            commit = place.upload(folder, files, "Upload a student, trained with mentor-kit", private=private)
        return Push(repository, files, text, commit)


@contextmanager
def _exported(
    source: str | Path | Run, repository: str, *, output: str | Path, registry: Registry | None, **options: Json
) -> Iterator[Path]:
    """The folder to push: the one that is named, or an export of the run, which is removed again."""
    if not isinstance(source, Run) and _is_export(Path(source)):
        for key in ("license", "benchmarks"):
            if options[key]:
                raise UsageError(
                    f"{source} is exported already: its card is pushed as it is",
                    hint=f"edit {Path(source) / 'README.md'}, or leave --{key.removesuffix('s')} out",
                )
        yield Path(source)
        return
    run = find_run(source, output, lambda run: run.has_checkpoint)
    # beside the run's own files, where there is room for a student; what a killed process leaves, a resumed run clears
    with storage_errors(run.path), tempfile.TemporaryDirectory(prefix=f"{NEW}push-", dir=run.path) as temporary:
        target = Path(temporary) / "student"
        yield export(run, target, name=repository, output=output, registry=registry, **options)


def _check_no_key(card: str) -> None:
    """Refuse a card with a key in it, which a recipe may have in a plugin's options.

    Raises:
        UsageError: with the key's beginning.
    """
    if (found := _KEY.search(card)) is not None:
        raise UsageError(
            f"the card has what looks like a key in it: {found[0][:7]}…",
            hint="write `${env:NAME}` in recipes; for this run, export it, remove the key from README.md, and push the "
            "folder",
        )


def _is_export(folder: Path) -> bool:
    """Whether a folder holds an exported student, and no run."""
    if not folder.is_dir() or (folder / "recipe.yaml").exists():
        return False
    return any(next(folder.glob(pattern), None) for pattern in _EXPORTED)
