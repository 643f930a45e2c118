"""The files of a task's splits: patterns, prefixes of ids, and a check that no file serves twice."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mentor_kit.core.errors import DataError
from mentor_kit.core.task import TRAIN
from mentor_kit.runs.rows import DataRow, read_rows

_APART = "evaluate on problems that training does not meet: put them into a file of their own"


@dataclass(frozen=True)
class SplitFile:
    """One file of a split."""

    path: Path
    label: str
    """What the ids of its rows start with; no other file of the split has it."""

    def rows(self) -> Iterator[DataRow]:
        """Its rows; see `read_rows`."""
        return read_rows(self.path, self.label)


def split_files(splits: Mapping[str, Sequence[str]], folder: Path) -> dict[str, tuple[SplitFile, ...]]:
    """The files of every split, in order.

    Args:
        splits: names of files by split, also patterns such as `train-*.parquet`.
        folder: the recipe's folder, which the names are relative to.

    Raises:
        DataError: a pattern fits no file; a split has a file twice; a file is for training and for evaluation.
    """
    found = {split: [path for name in names for path in matching(name, folder)] for split, names in splits.items()}
    for split, paths in found.items():
        for index, path in enumerate(paths):
            twin = next((other for other in paths[:index] if _is_same_file(path, other)), None)
            if twin is not None:
                raise DataError(f"the split {split!r} has one file twice: {twin} and {path}", hint="name it once")
    for split in found.keys() - {TRAIN}:
        _check_apart(split, found.get(TRAIN, []), found[split])
    return {
        split: tuple(map(SplitFile, paths, labels([_below(path, folder) for path in paths])))
        for split, paths in found.items()
    }


def _below(path: Path, folder: Path) -> Path:
    """The path from a folder on, where it is in there: the folders above differ between machines."""
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def matching(name: str, folder: Path) -> list[Path]:
    """The file of that name, or the files that fit a pattern, in the order of their names.

    Raises:
        DataError: a pattern fits no file.
    """
    path = folder / Path(name).expanduser()
    if path.exists() or not glob.has_magic(name):
        return [path]
    given = Path(name).expanduser()
    root = Path(given.anchor) if given.is_absolute() else folder
    files = sorted(file for file in root.glob(str(given.relative_to(given.anchor))) if file.is_file())
    if not files:
        raise DataError(f"no file fits {path}", hint="in such patterns * stands for any letters, ** for any folders")
    return files


def labels(paths: Sequence[Path]) -> list[str]:
    """A name for each file: its own without the ending, or with what distinguishes it from those before it.

    A file that is added at the end changes no label.
    """
    found: list[str] = []
    tails: set[str] = set()
    for path in paths:
        own = ["/".join(path.parts[-count:]) for count in range(1, len(path.parts) + 1)]
        # `data` for the first, `data.csv` for one of another kind, `part-2/data` for one of the same name
        candidates = [name for tail in own for name in (_without_ending(tail), *([tail] if tail not in tails else []))]
        numbered = (f"{_without_ending(own[0])}-{number}" for number in itertools.count(len(found) + 1))
        found.append(next(name for name in itertools.chain(candidates, numbered) if name not in found))
        tails.update(own)
    return found


def _without_ending(name: str) -> str:
    """As `Path.stem`, with the folders; `.jsonl.gz` is one ending."""
    path = Path(name.removesuffix(".gz"))
    return path.with_name(path.stem).as_posix()


def _check_apart(split: str, train: Sequence[Path], paths: Sequence[Path]) -> None:
    for path in paths:
        for other in train:
            if _is_same_file(path, other):
                named = f"the file {path}" if path == other else f"one file, {other} and {path},"
                raise DataError(f"{named} is in the splits {TRAIN!r} and {split!r}", hint=_APART)


def _is_same_file(first: Path, second: Path) -> bool:
    """Whether both are one file, by whatever names and links."""
    try:
        return first.samefile(second)
    except OSError:
        return False  # what is missing is named when it is read
