"""How the completions of an update are divided among processes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mentor_kit.backend.microbatching import Place
from mentor_kit.backend.token_groups import TokenGroup


def shares(groups: Sequence[TokenGroup], size: int) -> list[set[Place]]:
    """The completions of every process, with about the same number of tokens; whole groups, if there are enough.

    Every process with a completion of a prompt runs the prompt, so groups are split only where there are fewer of them
    than processes.
    """
    whole = [[(g, c) for c in range(len(group.completions))] for g, group in enumerate(groups)]
    units = whole if len(groups) >= size else [[place] for places in whole for place in places]
    costs = [len(groups[places[0][0]].prompt_ids) + _tokens(groups, places) if places else 0 for places in units]
    found: list[set[Place]] = [set() for _ in range(size)]
    loads = [0] * size
    for index in np.argsort([-cost for cost in costs], kind="stable"):
        least = loads.index(min(loads))
        found[least] |= set(units[index])
        loads[least] += costs[index]
    return found


def _tokens(groups: Sequence[TokenGroup], places: Sequence[Place]) -> int:
    """Tokens to run; those of equal completions of a group count once."""
    lengths = {(g, groups[g].completions[c].ids.tobytes()): len(groups[g].completions[c].ids) for g, c in places}
    return sum(lengths.values())
