"""What an engine drew, held to other code's distributions and to what the same request gives elsewhere.

In float32 the same request gives the same tokens wherever it runs. In 16 bits sums differ with the company of a row,
and where two tokens are nearly as good it may be the other one: there each token is held to the oracle alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.testing.material import TOLERANCE, Oracle, log_softmax
from mentor_kit.utils.randomness import uniforms

#: Log-probabilities that differ by more than this, by rounding, may draw other tokens.
EXACT = 1e-3


def check_same(
    asked: SampleRequest, found: Completion, twin: Completion, oracle: Oracle | None = None, rounding: float = TOLERANCE
) -> None:
    """Check that a request gave what it gave elsewhere; where it was cancelled, the beginning of it.

    Args:
        asked: the request, without `top_p` and `top_k` where `rounding` is beyond `EXACT`.
        found: what it gave.
        twin: what it gave elsewhere, whole.
        oracle: of the student; needed where `rounding` is beyond `EXACT`.
        rounding: how far a log-probability may be from its exact value.
    """
    if rounding > EXACT:
        assert oracle is not None
        check_drawn(asked, found, oracle, rounding)
        return
    length = len(found.ids) if found.finish == "cancelled" else len(twin.ids)
    assert found.ids == twin.ids[:length]
    np.testing.assert_allclose(found.log_probs, twin.log_probs[:length], atol=rounding)


def check_drawn(asked: SampleRequest, found: Completion, oracle: Oracle, rounding: float) -> None:
    """Check each token's log-probability, that its counter draws it from the oracle's distribution, and the end.

    Args:
        asked: the request.
        found: what was drawn for it.
        oracle: of the student.
        rounding: how far a log-probability at temperature 1, or a sum of probabilities, may be from the oracle's.
    """
    context = list(asked.context)
    if 0 < asked.temperature < 1:
        # logits are divided by the temperature, and so is what they were rounded by
        rounding /= asked.temperature
    for token, log_prob in zip(found.ids, found.log_probs, strict=True):
        row = log_softmax(oracle(context)[-1], asked.temperature or 1.0)
        assert abs(log_prob - row[token]) <= rounding
        if asked.temperature == 0:
            assert row[token] >= row.max() - 2 * rounding
        else:
            kept = filtered(np.exp(row), asked.top_p, asked.top_k)
            upper = np.cumsum(kept)
            uniform = float(uniforms([asked.seed], [len(context)])[0]) * upper[-1]
            assert upper[token] - kept[token] - rounding <= uniform <= upper[token] + rounding
            # one that is left out may be as likely as the last that is kept, but for rounding
            assert row[token] >= np.log(kept[kept > 0].min()) - 2 * rounding
        context.append(token)
    if found.finish != "cancelled":
        assert [token in asked.stop_ids for token in found.ids[-1:]] == [found.finish == "stop"]
    assert not asked.stop_ids.intersection(found.ids[:-1])


def filtered(probabilities: NDArray[np.float64], top_p: float, top_k: int) -> NDArray[np.float64]:
    """Zero outside the top k, then outside the smallest set of the likeliest that holds top-p of what is left."""
    order = np.argsort(-probabilities, kind="stable")
    kept = list(order[: top_k or len(order)])
    total, held, last = probabilities[kept].sum(), 0.0, 0
    while held < top_p * total and last < len(kept):
        held += probabilities[kept[last]]
        last += 1
    result = np.zeros_like(probabilities)
    result[kept[:last]] = probabilities[kept[:last]]
    return result
