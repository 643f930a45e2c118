"""Self-checks of a loaded model: whether another way of running it gives the same, tried on few tokens.

In 16 bits rounding alone may change a deep model's results by more than a mistake would, so backends run the model in
float32 meanwhile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentor_kit.backend.token_groups import Ints, TokenCompletion, TokenGroup


def agree(found: NDArray[Any], expected: NDArray[Any], *, exact: bool) -> bool:
    """Whether two ways of running a model gave the same up to rounding: in float32, or else in 16 bits."""
    absolute, relative = (1e-3, 1e-4) if exact else (0.25, 1e-2)
    return bool(np.allclose(found, expected, atol=absolute, rtol=relative))


def trial_ids(vocabulary: int) -> Ints:
    """Tokens (2, 5) to run."""
    ids: Ints = (np.arange(10) % vocabulary).reshape(2, 5)
    return ids


def trial_groups(vocabulary: int) -> list[TokenGroup]:
    """Groups to update with: two prompts with a common prefix, each with two completions."""

    def ids(*values: int) -> Ints:
        found: Ints = np.array(values) % vocabulary
        return found

    def completion(*values: int) -> TokenCompletion:
        ones = np.ones(len(values), dtype=np.float32)
        return TokenCompletion(ids(*values), ones, -ones)

    return [TokenGroup(ids(1, 2, 3, *rest), (completion(7, 8, 9), completion(*rest, 5))) for rest in ((4,), (5, 6))]
