"""Where dialogues come from: a run, records of a run in a file, or data in any format that is read.

a run's name or folder ──> its demonstrations, rollouts or evaluated episodes
file in a run's folder ──> its records, with the tools of the run's recipe
any other file, folder  ──> its rows
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from mentor_kit.api.locations import find_run
from mentor_kit.api.recorded_dialogues import RecordedDialogues, Rows, holds_records, run_around
from mentor_kit.core.data_format import DataFormat
from mentor_kit.core.errors import UsageError
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.loading import RecipeLike
from mentor_kit.runs import Run
from mentor_kit.runs.dialogue_rows import AUTO, DataFile, DialogueRow, data_files


class DialogueSource:
    """A source of dialogues. A context manager, which frees the tools of a run's recipe.

    Args:
        source: a run, its folder or name; a file or a folder of data; a file of a run's records.
        output: the folder of all runs.
        recipe: the recipe whose tools records have; that of their run if left out.
        tools: whether records have tools.
        registry: the plugins.

    Raises:
        UsageError: there is no such run.
        MentorKitError: a recipe cannot be read, or its task or tools cannot be built on this machine.
    """

    def __init__(
        self,
        source: str | Path | Run,
        output: str | Path,
        *,
        recipe: RecipeLike | None,
        tools: bool,
        registry: Registry,
    ) -> None:
        self._tools = tools
        self.format = "run"
        self.file: Path | None = None
        """The file or folder of data; None for a run."""
        self.records: RecordedDialogues | None = None
        """Reads records of a run; None for data."""
        run: Run | None = None
        path = None if isinstance(source, Run) else Path(source)
        if path is None or not _is_data(path):
            run = find_run(source, output, lambda _: True)
        else:
            self.file, run = path, run_around(path)
        self._recorded = self.file is None or all(map(holds_records, data_files(self.file)))
        if self._recorded and (run is not None or recipe is not None):
            self.records = RecordedDialogues(run, recipe=recipe, tools=tools, registry=registry)

    def __enter__(self) -> DialogueSource:
        return self

    def __exit__(self, *_: object) -> None:
        if self.records is not None:
            self.records.close()

    @property
    def name(self) -> str:
        """The source in messages."""
        return "the run" if self.file is None else str(self.file)

    def rows(
        self,
        formats: Mapping[str, DataFormat],
        format: str,
        rollouts: tuple[int, int] | Literal["all"] | None,
        evaluation: str | None,
    ) -> Rows:
        """The dialogues that are asked for.

        Raises:
            UsageError: rollouts or an evaluation of something else than a run, or both.
        """
        if rollouts is not None and evaluation is not None:
            raise UsageError("`rollouts` and `evaluation` each say which episodes are meant", hint="give one of them")
        if self.file is not None:
            if rollouts is not None or evaluation is not None:
                raise UsageError(
                    f"{self.file} is a file of its own, which has neither rollouts nor evaluations to choose from",
                    hint="name the run's folder",
                )
            if self.records is not None and format == AUTO:
                return itertools.chain.from_iterable(map(self.records.file, data_files(self.file)))
            opened = DataFile(self.file, formats, format)
            self.format = opened.format_name
            return self._data(opened)
        assert self.records is not None
        if rollouts is not None:
            return self.records.rollouts(None if rollouts == "all" else rollouts)
        return self.records.demonstrations() if evaluation is None else self.records.evaluation(evaluation)

    def _data(self, opened: DataFile) -> Rows:
        for row in opened.rows():
            if self._recorded and self._tools and isinstance(row, DialogueRow) and _lacks_tools(row):
                raise UsageError(
                    f"the tools of {row.place} are unknown: records have none, and the file lies in no run's folder",
                    hint="name the recipe that has them, --recipe RECIPE, or write rows without tools: --no-tools",
                )
            yield row


def _is_data(path: Path) -> bool:
    """Whether a path is a file, or a folder with files of data: no run, and no folder of runs."""
    if path.is_dir():
        return not (path / "recipe.yaml").is_file() and not any(path.glob("*/recipe.yaml"))
    # a name with a known ending that is not there is a missing file, not a run
    return path.exists() or bool(re.search(r"\.(jsonl|ndjson|json|csv|tsv|parquet)(\.gz)?$", path.name.lower()))


def _lacks_tools(row: DialogueRow) -> bool:
    return not row.dialogue.tools and any(message.tool_calls for message in row.dialogue.messages)
