"""The live site: which page or data an address stands for, without sockets.

/                           the page of the one run that is named, or else a list of runs
/runs.json?since=VERSION    the list's data; 204 where nothing is new
/pages/NAME:ID/             a run's page; several runs side by side are separated by commas
…/data.json?since=VERSION   a page's index; 204 where nothing is new
…/chunk.json?run=&name=     a part of a page's data
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from mentor_kit.core.errors import MentorKitError, UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.report.page import PageData
from mentor_kit.report.page.document import live_list, live_page
from mentor_kit.report.page.run_page import hash_of
from mentor_kit.runs import Run, RunFolder
from mentor_kit.runs.listing import RunLister, RunSummary
from mentor_kit.utils.strict_json import to_json

HTML, JSON = "text/html; charset=utf-8", "application/json"

#: How many pages' data are kept ready.
KEPT_PAGES = 4


@dataclass(frozen=True)
class Answer:
    """An answer of HTTP."""

    status: int
    type: str = ""
    body: bytes = b""
    location: str = ""
    """Where to go instead."""


@dataclass
class LiveSite:
    """The site of a folder of runs, or of the runs that are named. Threads may use it at once.

    Args:
        root: the folder of all runs.
        named: the runs that are shown; all in the folder if left out.
    """

    root: Path
    named: Sequence[Run] = ()
    _pages: OrderedDict[str, PageData] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self._lister = RunLister(self.root)

    def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        """The answer to a request.

        Args:
            path: of the address, as it was sent.
            query: of the address.
        """
        try:
            with self._lock:
                return self._answer(path, query)
        except UsageError as error:
            return problem(404, error.message)
        except (MentorKitError, OSError) as error:
            return problem(500, str(error).split("\n")[0])

    def _answer(self, path: str, query: Mapping[str, str]) -> Answer:
        folder, _, name = path.rpartition("/")
        if path == "/favicon.ico":
            return Answer(204)
        if folder == "" and len(self.named) == 1:
            return self._page("", name, query)
        if folder == "" and name == "":
            return Answer(200, HTML, live_list("runs.json").encode())
        if folder == "" and name == "runs.json":
            return self._list(query.get("since"))
        if folder.startswith("/pages/") and folder != "/pages/":
            return self._page(folder.removeprefix("/pages/"), name, query)
        if folder == "/pages":
            return Answer(301, location=f"{path}/")
        raise UsageError("there is nothing at this address")

    def _page(self, keys: str, name: str, query: Mapping[str, str]) -> Answer:
        """A file of a page.

        Args:
            keys: of its runs, as they are in the address; empty for the named run.
            name: of the file.
            query: of the address.
        """
        if name == "":
            self._runs(keys)
            return Answer(200, HTML, live_page("", home="../../" if keys else "").encode())
        if name == "data.json":
            index = self._data(keys).index(query.get("since"))
            return Answer(204) if index is None else _json(index)
        if name == "chunk.json":
            return _json(self._data(keys).chunk(query.get("run", ""), query.get("name", "")))
        raise UsageError("there is nothing at this address")

    def _data(self, keys: str) -> PageData:
        if keys not in self._pages:
            self._pages[keys] = PageData(self._runs(keys))
        self._pages.move_to_end(keys)
        while len(self._pages) > KEPT_PAGES:
            self._pages.popitem(last=False)
        return self._pages[keys]

    def _runs(self, keys: str) -> list[Run]:
        """The runs that an address names.

        Raises:
            UsageError: there is no such run, or it is not one of this site.
        """
        if not keys:
            return list(self.named)
        return [self._run(*map(unquote, key.partition(":")[::2])) for key in dict.fromkeys(keys.split(","))]

    def _run(self, name: str, identifier: str) -> Run:
        if self.named:
            for run in self.named:
                if (run.folder.name, run.folder.id) == (name, identifier):
                    return run
            raise UsageError(f"{name}/{identifier} is not one of these runs")
        folder = RunFolder(self.root / name / identifier)
        if not (_is_plain(name) and _is_plain(identifier) and folder.recipe.is_file()):
            raise UsageError(f"there is no run {name}/{identifier}")
        return Run(folder)

    def _list(self, since: str | None) -> Answer:
        if self.named:
            found = [self._lister.summary(run.path) for run in self.named]
        else:
            found = self._lister.list() if self.root.is_dir() else []
        rows = [_row(run) for run in found]
        version = hash_of(rows)
        return Answer(204) if version == since else _json({"version": version, "runs": rows})


def address_of(runs: Sequence[tuple[str, str]]) -> str:
    """The path of the page of runs, by their names and ids."""
    keys = (":".join(quote(part, safe="") for part in run) for run in runs)
    return f"/pages/{','.join(keys)}/"


def problem(status: int, message: str) -> Answer:
    """An answer that says what is wrong."""
    return Answer(status, JSON, (json.dumps({"error": message}) + "\n").encode())


def _is_plain(name: str) -> bool:
    """Whether a part of an address names a folder, and leads nowhere else."""
    return bool(name) and not name.startswith(".") and not {"/", "\\", "\0"} & set(name)


def _row(run: RunSummary) -> dict[str, Json]:
    """A run in the list; without what changes by itself, and without its place on the disk."""
    found = {key: value for key, value in run.to_json().items() if key not in ("age", "path", "bytes")}
    # the address is relative to the list's, so that a server in front may move it
    return found | {"size": run.bytes, "page": address_of([(run.name, run.id)]).removeprefix("/")}


def _json(data: Json) -> Answer:
    return Answer(200, JSON, to_json(data).encode(errors="replace"))
