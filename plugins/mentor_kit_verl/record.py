"""The files of an exported folder in which verl's processes leave the episodes that they play.

episodes/<host>-<process>.jsonl    an episode a line, in the order in which they end
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from mentor_kit.recipe.engines import PlayedEpisode
from mentor_kit.runs.jsonl import JsonlFile
from mentor_kit.runs.records import read_records

#: The folder of the files.
EPISODES = "episodes"


def record(folder: Path, played: PlayedEpisode) -> None:
    """Append an episode to this process's file."""
    _file(folder, os.getpid()).append([played.model_copy(update={"time": time.time()}).to_json()])


def read_episodes(folder: Path) -> list[PlayedEpisode]:
    """All episodes; of one that was played twice, as after a resumption, the later one.

    Raises:
        DataError: a line is no episode.
    """
    found: dict[tuple[int, int, int], PlayedEpisode] = {}
    for played in sorted(_lines(folder), key=lambda played: played.time):
        found[played.key] = played
    return [found[key] for key in sorted(found)]


def _lines(folder: Path) -> Iterator[PlayedEpisode]:
    for file in sorted((folder / EPISODES).glob("*.jsonl")):
        yield from read_records(file, PlayedEpisode)


@cache
def _file(folder: Path, process: int) -> JsonlFile:
    """This process's file, which is open as long as the process lives."""
    (folder / EPISODES).mkdir(exist_ok=True)
    return JsonlFile(folder / EPISODES / f"{socket.gethostname()}-{process}.jsonl")
