"""The task `datasets`: problems from a Hugging Face data set, or from a folder in its format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field

from mentor_kit.core.errors import DataError, did_you_mean
from mentor_kit.core.options import TaskOptions
from mentor_kit.core.task import TRAIN
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.runs.rows import DataRow
from mentor_kit_data.keys import KeyRule
from mentor_kit_data.rows_task import ColumnProblems, RowsBase, RowsTask, rows_task


class DataSet(Protocol):
    """The options that name a data set; see `HubOptions`."""

    @property
    def dataset(self) -> str: ...
    @property
    def config(self) -> str | None: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def splits(self) -> Mapping[str, str]: ...


class HubOptions(RowsBase, TaskOptions):
    """Problems from a Hugging Face data set."""

    dataset: str = Field(min_length=1)
    """The data set's id on the hub (owner/name), or a folder with data files, relative to the recipe's folder."""
    config: str | None = None
    """Which of the data set's configurations."""
    revision: str | None = None
    """A revision on the hub: a commit, so that the same recipe means the same rows for ever."""
    splits: dict[str, str] = Field(default={"train": "train"}, min_length=1)
    """Which of its splits serves as which of the task's: `in-domain: test`, or a slice, `in-domain: test[:500]`."""

    @property
    def task_splits(self) -> Sequence[str]:
        """The task's splits."""
        return tuple(self.splits)


def build(options: HubOptions, context: BuildContext) -> RowsTask:
    """The task; rows are loaded now, from the hub or its cache.

    Raises:
        DataError: the data set, a split or a row of it cannot be used.
    """
    sources = rows_of_data_set(options, context.recipe_folder)
    rule = KeyRule(options, options.columns.answer)
    return rows_task(sources, ColumnProblems(options), options, rule, own_ids=options.columns.id is not None)


def rows_of_data_set(options: DataSet, folder: Path) -> dict[str, Iterator[DataRow]]:
    """The rows of every split.

    Raises:
        DataError: a split of the data set is for training and for evaluation; or, with the first row, the data set or
            the split cannot be loaded.
    """
    for name, split in options.splits.items():
        if name != TRAIN and split == options.splits.get(TRAIN):
            raise DataError(
                f"the split {split!r} of {options.dataset!r} serves as {TRAIN!r} and as {name!r}",
                hint=f"evaluate on other problems than training's: {TRAIN}: '{split}[:90%]', {name}: '{split}[90%:]'",
            )
    return {name: _rows(options, split, folder) for name, split in options.splits.items()}


def _rows(options: DataSet, split: str, folder: Path) -> Iterator[DataRow]:
    table = _load(options, split, folder)
    for index, values in enumerate(table):
        yield DataRow(f"{options.dataset}[{split}]", index + 1, values)


def _load(options: DataSet, split: str, folder: Path) -> Any:
    import datasets

    local = folder / Path(options.dataset).expanduser()
    name = str(local) if local.is_dir() else options.dataset
    try:
        return datasets.load_dataset(name, options.config, split=split, revision=options.revision)
    except Exception as error:  # every way of not finding a data set has an error of its own there
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"the data set {options.dataset!r} cannot be loaded, split {split!r}: {type(error).__name__}: {reason}",
            hint=_hint(name, options),
        ) from error


def _hint(name: str, options: DataSet) -> str:
    import datasets

    try:
        known = datasets.get_dataset_split_names(name, options.config, revision=options.revision)
    except Exception:  # noqa: BLE001 (then the data set itself is what is missing)
        return "`dataset` is an id on the Hugging Face hub (owner/name), or a folder; without network only a cached one"
    wrong = next((split for split in options.splits.values() if split.split("[")[0] not in known), "")
    return f"its splits are: {', '.join(known)}{did_you_mean(wrong.split('[')[0], known)}"
