"""A comparison of servers with the policy: a few sampled tokens, and both log-probabilities of them.

It finds another model or another type of numbers, log-probabilities of another temperature, and weights that a server
did not take, which all else would show only as a mismatch of sampling and training.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.core.errors import BackendError

#: Not 1, so that log-probabilities from before the temperature differ.
_TEMPERATURE = 0.7
_PROMPT, _TOKENS = 16, 16
#: The largest difference that is taken, in nats, by the policy's type.
_TOLERANCES = {"float32": 0.05}
_TOLERANCE = 0.5


def probe_request(policy: Policy) -> SampleRequest:
    """A turn behind a prompt of random tokens."""
    rng = np.random.default_rng(0)
    return SampleRequest(
        id="probe",
        session="probe",
        context=tuple(rng.integers(0, policy.info.vocabulary, min(_PROMPT, policy.info.context // 2)).tolist()),
        temperature=_TEMPERATURE,
        max_new_tokens=min(_TOKENS, policy.info.context // 2),
        stop_ids=frozenset(),
        seed=1,
    )


def check_answers(
    policy: Policy, request: SampleRequest, answers: Mapping[str, Completion], tolerance: float | None
) -> float:
    """Compare servers' log-probabilities with the policy's; returns the largest difference, in nats.

    Args:
        policy: as it is now.
        request: what the servers were asked.
        answers: by the servers' addresses.
        tolerance: the largest difference that is taken; by the policy's type if None.

    Raises:
        BackendError: one differs by more; the message says whose.
    """
    limit = tolerance or _TOLERANCES.get(policy.info.dtype, _TOLERANCE)
    group = TokenGroup(
        np.array(request.context, dtype=np.int64),
        tuple(
            TokenCompletion(
                np.array(answer.ids, dtype=np.int64),
                np.ones(len(answer.ids), dtype=np.float32),
                np.array(answer.log_probs, dtype=np.float32),
            )
            for answer in answers.values()
        ),
        request.temperature,
    )
    largest = 0.0
    for url, completion, own in zip(answers, group.completions, policy.log_probs([group])[0], strict=True):
        difference = float(np.abs(own - completion.log_probs).max(initial=0.0))
        if not difference <= limit:
            raise BackendError(
                f"{url} gives log-probabilities that differ from the student's by {difference:.3g} nats; "
                f"at most {limit:g} are taken",
                hint="does it serve the same model, with the same --dtype and with --logprobs-mode processed_logprobs? "
                "If this is so after an update alone: vLLM on a CPU keeps tied output projections (`sampler.untie`)",
            )
        largest = max(largest, difference)
    return largest
