"""The place of this process among others, by the environment variables that `torchrun` sets."""

from __future__ import annotations

import os
from dataclasses import dataclass

LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launched:
    """This process's place among those that a launcher started."""

    rank: int
    size: int
    host: str
    """Of the first process."""


def launched() -> Launched | None:
    """The place of this process; None where no launcher started it with others."""
    if not all(os.environ.get(name) for name in LAUNCHED):
        return None
    size = int(os.environ["WORLD_SIZE"])
    return Launched(int(os.environ["RANK"]), size, os.environ["MASTER_ADDR"]) if size > 1 else None


def local_rank() -> int:
    """This process's place among those of its machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))
