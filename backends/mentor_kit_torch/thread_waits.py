"""How long the threads of one operation wait for each other before they give their cores away; no result depends on it.

On Linux PyTorch's threads are those of GNU's OpenMP library. By its own choice a thread that waits spins for
milliseconds. Where another program uses one of the cores, two threads come to share a core: each waits for the other,
which can't run as long as it waits, and a small student's steps took more than twenty times as long. Here threads spin
for a small part of that: long enough for nearly all waits where cores are free (`benchmarks/busy_cores.py`).
"""

from __future__ import annotations

import os

#: The library's variable for turns of a waiting thread's loop.
SPINS = "GOMP_SPINCOUNT"
#: OpenMP's variable for the same, `active` or `passive`.
POLICY = "OMP_WAIT_POLICY"
#: Its own number is 300,000 where there are no more threads than cores, and 1,000 where there are more.
FEW = 8000


def wait_briefly() -> None:
    """Have threads wait briefly, unless the user said how long; without effect once PyTorch is imported."""
    if POLICY not in os.environ:
        os.environ.setdefault(SPINS, str(FEW))
