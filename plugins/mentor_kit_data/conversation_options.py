"""Options of the task `conversations`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from mentor_kit.core.options import TaskOptions
from mentor_kit.recipe.shorthand import one_or_several
from mentor_kit_data.checking import Check
from mentor_kit_data.rows_task import BrokenRows


class ConversationCheck(Check):
    """How answers are compared.

    calls: the calls of the first turn are the answer, by BFCL's rules; a row without calls means to call nothing.
    Others: as for the task `rows`; the key is the row's column `answer`, or else the answer of the recorded solution.
    """

    use: Literal["calls", "number", "text", "phrase", "choice", "math"] = "calls"  # type: ignore[assignment]
    """The kind of check."""


class ConversationsOptions(BrokenRows, TaskOptions):
    """Problems and demonstrations from dialogues of tool use. Either `files` or `dataset` is needed."""

    files: dict[str, tuple[str, ...]] = Field(default={}, examples=[{"train": ["train.jsonl"]}])
    """The files of every split, or patterns such as `train-*.jsonl`: `train`, and others such as `in-domain`; JSONL,
    JSON, CSV, TSV or parquet."""
    dataset: str = ""
    """A data set's id on the Hugging Face hub (owner/name), or a folder with data files, relative to the recipe's
    folder."""
    config: str | None = None
    """Which of the data set's configurations."""
    revision: str | None = None
    """A revision on the hub: a commit, so that the same recipe means the same rows for ever."""
    splits: dict[str, str] = Field(default={"train": "train"}, min_length=1)
    """Which of the data set's splits serves as which of the task's: `in-domain: test`, or a slice `train[:500]`."""
    format: str = "auto"
    """The rows' format, one of `mentorkit plugins formats`; auto: found out from the rows."""
    tools: Literal["declared", "bound"] = "declared"
    """declared: the row's tools, which are never run. bound: the recipe's tools of the same names take their place and
    are run; a row without tools has all of the recipe's."""
    check: ConversationCheck = ConversationCheck()
    """calls, number, text, phrase, choice or math; or one of them with options."""

    _one_or_several = field_validator("files", mode="before", json_schema_input_type=dict[str, str | tuple[str, ...]])(
        one_or_several
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.files) == bool(self.dataset):
            raise ValueError("expected either `files` or `dataset`")
        fields = type(self).model_fields
        meant = [name for name in ("config", "revision", "splits") if getattr(self, name) != fields[name].default]
        if self.files and meant:
            raise ValueError(f"`{meant[0]}` belongs to `dataset`, not to `files`")
        return self

    @property
    def task_splits(self) -> Sequence[str]:
        """The task's splits."""
        return tuple(self.files or self.splits)
