"""The data of a page of one or more runs: the index of all, and the chunks of each."""

from __future__ import annotations

from collections.abc import Sequence

from mentor_kit.core.errors import UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.report.page.document import FORMAT
from mentor_kit.report.page.run_page import RunPage, hash_of
from mentor_kit.report.paired import paired
from mentor_kit.runs import Run
from mentor_kit.utils.version import __version__


class PageData:
    """The data of several runs, as a server of the live page answers with them.

    Args:
        runs: in the order of the page; a run's key is its place in it, as a string.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = [RunPage(run) for run in runs]

    @property
    def version(self) -> str:
        """A string that changes when there is more to show."""
        return hash_of([page.version for page in self.runs])

    def index(self, since: str | None = None) -> dict[str, Json] | None:
        """The index of all runs; None where nothing is new since a version."""
        version = self.version
        if version == since:
            return None
        return document_index(self.runs, [page.index() for page in self.runs], version)

    def chunk(self, run: str, name: str) -> dict[str, Json]:
        """A chunk of a run.

        Raises:
            UsageError: there is no such run or chunk.
        """
        if not (run.isdecimal() and int(run) < len(self.runs)):
            raise UsageError(f"there is no run {run!r} in the page")
        return self.runs[int(run)].chunk(name)


def document_index(pages: Sequence[RunPage], indexes: Sequence[dict[str, Json]], version: str) -> dict[str, Json]:
    """The index of a page.

    Args:
        pages: its runs.
        indexes: what `RunPage.index` returned for each.
        version: of the data.
    """
    return {
        "format": FORMAT,
        "version": version,
        "program": __version__,
        "runs": [{"key": str(place)} | index for place, index in enumerate(indexes)],
        "comparisons": _comparisons([page.run for page in pages]),
    }


def _comparisons(runs: Sequence[Run]) -> list[dict[str, Json]]:
    """The first run that was evaluated against each later one that was evaluated on the same problems."""
    evaluated = [(place, run) for place, run in enumerate(runs) if run.evaluations]
    found: list[dict[str, Json]] = []
    for place, run in evaluated[1:]:
        first, other = evaluated[0]
        try:
            pairs = paired([other, run]).to_json()
        except UsageError:
            continue
        found.append({"a": str(first), "b": str(place), "pairs": pairs["pairs"], "notes": list(pairs["notes"])})
    return found
