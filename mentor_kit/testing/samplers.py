"""Contract suite for samplers: what a `SamplingService` is held to, and what it may bend.

    class TestMySampler(SamplerContract):
        @pytest.fixture
        def policy_factory(self): ...     # token_budget -> a fresh policy, in float32, always of the same weights
        @pytest.fixture
        def student(self): ...            # the `StudentSpec` that it was loaded from
        @pytest.fixture
        def service_factory(self): ...    # () -> a service that is not started; closed by the test

Kept by every sampler: tokens of the policy's distribution with the log-probabilities that the policy itself computes
for them, stop tokens and limits, one completion for each request, and the current weights after every change.

A sampler may bend three promises of a local engine; the class says which it keeps. `counter_based`: a request gives the
same tokens as the policy's own engine, whatever else is sampled. `full_log_probs`: log-probabilities are those of the
full distribution, before top-p and top-k, not of what they leave. `cancels`: a cancelled request ends early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.backend.sampling_service import SamplingService
from mentor_kit.backend.served_policy import ServedPolicy, serve
from mentor_kit.backend.student import StudentSpec
from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.core.errors import BackendError
from mentor_kit.testing.material import GENTLE, TOLERANCE, PolicyFactory, drive, flat, group_of, ragged_groups, request
from mentor_kit.testing.objectives import make_objective

ServiceFactory = Callable[[], SamplingService]

#: A learning rate that changes a tiny model's log-probabilities by far more than `TOLERANCE`.
_BIG_STEP = 0.5


class SamplerContract:
    """The tests; see the module for the fixtures a subclass gives."""

    counter_based: ClassVar[bool] = False
    """Whether a request gives the tokens that the policy's own engine gives."""
    full_log_probs: ClassVar[bool] = False
    """Whether log-probabilities are of the full distribution even with top-p or top-k."""
    cancels: ClassVar[bool] = True
    """Whether a cancelled request ends early."""
    draws: ClassVar[int] = 1000
    """How many tokens are drawn to look at their distribution."""

    @pytest.fixture
    def policy(
        self, policy_factory: PolicyFactory, service_factory: ServiceFactory, student: StudentSpec
    ) -> Iterator[ServedPolicy]:
        """A policy with an optimizer, served."""
        service = service_factory()
        try:
            policy = serve(policy_factory(None), service, student, "contract")
            policy.prepare(GENTLE)
            yield policy
        finally:
            service.close()
            service.close()

    # tokens and log-probabilities

    def test_greedy_tokens_are_the_engines(self, policy: ServedPolicy) -> None:
        requests = [request(f"g{n}", range(1, n + 3), temperature=0.0, max_new_tokens=12) for n in range(6)]
        found, expected = sample(policy, requests), drive(policy.own.engine(), requests)
        for one in requests:
            assert found[one.id].ids == expected[one.id].ids
            np.testing.assert_allclose(found[one.id].log_probs, expected[one.id].log_probs, atol=TOLERANCE)

    @pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
    def test_log_probs_are_those_that_the_policy_computes(self, policy: ServedPolicy, temperature: float) -> None:
        requests = [request(f"t{n}", [5, 6, 7, 8], temperature=temperature, max_new_tokens=10) for n in range(8)]
        assert mismatch(policy, requests, sample(policy, requests)) < TOLERANCE

    def test_tokens_follow_the_distribution(self, policy: ServedPolicy) -> None:
        context, temperature = [3, 1, 4, 1, 5], 1.3
        requests = [
            request(f"d{n}", context, max_new_tokens=1, temperature=temperature, seed=n * 7919)
            for n in range(self.draws)
        ]
        done = sample(policy, requests)
        counts = np.bincount([done[one.id].ids[0] for one in requests], minlength=policy.info.vocabulary)
        probabilities = np.exp(_next_log_probs(policy.own, context, temperature))
        # tokens that are expected less than five times are one cell
        often = probabilities * self.draws >= 5
        expected = np.append(probabilities[often], probabilities[~often].sum()) * self.draws
        observed = np.append(counts[often], counts[~often].sum())
        statistic = float(((observed - expected) ** 2 / np.maximum(expected, 1e-9)).sum())
        degrees = len(expected) - 1
        # six standard deviations: a server's seeds may be its own, so this is not the same in every run
        assert statistic < degrees + 6 * (2 * max(degrees, 1)) ** 0.5

    def test_a_request_of_its_own_seed_has_tokens_of_its_own(self, policy: ServedPolicy) -> None:
        requests = [request(f"s{n}", [2, 3], max_new_tokens=16, temperature=1.5, seed=n) for n in range(8)]
        done = sample(policy, requests)
        assert len({done[one.id].ids for one in requests}) > 1
        turns = [request(f"u{n}", [2, 3, *[7] * n], session="one", seed=5, temperature=1.5) for n in range(3)]
        assert len({done.ids for done in sample(policy, turns).values()}) > 1

    def test_counter_based_draws_are_the_engines(self, policy: ServedPolicy) -> None:
        if not self.counter_based:
            pytest.skip("this sampler draws by seeds of its own")
        requests = [request(f"c{n}", [1, 2, 3, n], max_new_tokens=8, seed=n) for n in range(6)]
        expected = drive(policy.own.engine(), requests)
        found = sample(policy, requests)
        assert [found[one.id].ids for one in requests] == [expected[one.id].ids for one in requests]

    def test_filtered_draws_keep_to_the_filter(self, policy: ServedPolicy) -> None:
        context = [3, 1, 4, 1, 5]
        likeliest = np.argsort(-_next_log_probs(policy.own, context, 1.0))[:3].tolist()
        requests = [request(f"k{n}", context, max_new_tokens=1, top_k=3, seed=n) for n in range(20)]
        done = sample(policy, requests)
        assert {done[one.id].ids[0] for one in requests} <= set(likeliest)
        if self.full_log_probs:
            assert mismatch(policy, requests, done) < TOLERANCE

    # requests

    def test_stop_tokens_end_a_completion_and_are_in_it(self, policy: ServedPolicy) -> None:
        free = sample(policy, [request("f", [9, 8, 7], temperature=0.0, max_new_tokens=8)])["f"]
        assert (len(free.ids), free.finish) == (8, "length")
        stop = free.ids[3]
        cut = sample(policy, [request("c", [9, 8, 7], temperature=0.0, stop_ids=frozenset({stop}))])["c"]
        assert cut.finish == "stop"
        assert cut.ids == free.ids[: free.ids.index(stop) + 1]
        assert len(cut.log_probs) == len(cut.ids)

    def test_every_request_gets_its_own_completion(self, policy: ServedPolicy) -> None:
        requests = [request(f"r{n}", [n % 7 + 1, n % 5 + 1], max_new_tokens=1 + n % 9) for n in range(40)]
        done = sample(policy, requests)
        assert [(one.id, len(done[one.id].ids)) for one in requests] == [
            (one.id, one.max_new_tokens) for one in requests
        ]

    def test_turns_of_a_session_extend_its_context(self, policy: ServedPolicy) -> None:
        context: tuple[int, ...] = (4, 5, 6)
        for turn in range(3):
            one = request(f"turn{turn}", context, session="long", temperature=0.0, max_new_tokens=5)
            found = sample(policy, [one])[one.id]
            alone = drive(policy.own.engine(), [replace(one, session=f"alone{turn}")])[one.id]
            assert found.ids == alone.ids
            context = (*context, *found.ids, 3)

    def test_a_request_beyond_the_context_is_refused(self, policy: ServedPolicy) -> None:
        long = request("long", [1] * (policy.info.context + 1))
        with pytest.raises(BackendError):
            sample(policy, [long])
        assert len(sample(policy, [request("after", [1, 2])])["after"].ids) == 8

    def test_a_cancelled_request_ends(self, policy: ServedPolicy) -> None:
        async def run() -> Completion:
            sampler = policy.sampler()
            sampler.open("s")
            long = request("x", [1, 2, 3], session="s", max_new_tokens=policy.info.context - 8)
            waiting = asyncio.ensure_future(sampler.sample(long))
            await asyncio.sleep(0.05)
            sampler.cancel("x")
            sampler.cancel("unknown")
            completion = await asyncio.wait_for(waiting, 120)
            sampler.close("s")
            sampler.close("s")
            return completion

        done = asyncio.run(run())
        assert len(done.ids) == len(done.log_probs)
        if self.cancels:
            # one that was done before the cancel came is whole
            assert done.finish == "cancelled" or len(done.ids) == policy.info.context - 8

    # weights

    def test_new_weights_are_sampled_with_after_an_update(self, policy: ServedPolicy) -> None:
        requests = [request(f"w{n}", [5, 6, 7, n], temperature=0.0, max_new_tokens=10) for n in range(4)]
        before = sample(policy, requests)
        assert {one.version for one in before.values()} == {0}
        old = policy.log_probs(_groups(requests, before))
        for version in (1, 2):
            policy.forward_backward(ragged_groups(policy.info.vocabulary, seed=version), make_objective(preset="rloo"))
            assert policy.optimizer_step(_BIG_STEP).version == version
            done = sample(policy, requests)
            assert {one.version for one in done.values()} == {version}
            assert mismatch(policy, requests, done) < TOLERANCE
        # else nothing is shown by this
        assert np.abs(flat(policy.log_probs(_groups(requests, before))) - flat(old)).max() > 20 * TOLERANCE

    def test_restored_weights_are_sampled_with(self, policy: ServedPolicy, tmp_path: Path) -> None:
        one = [request("w", [5, 6, 7], temperature=0.0, max_new_tokens=10)]
        first = sample(policy, one)["w"]
        policy.save(tmp_path / "checkpoint")
        policy.forward_backward(ragged_groups(policy.info.vocabulary, seed=1), make_objective(preset="rloo"))
        policy.optimizer_step(_BIG_STEP)
        assert sample(policy, one)["w"].version == 1
        policy.restore(tmp_path / "checkpoint")
        again = sample(policy, one)["w"]
        assert (again.ids, again.version) == (first.ids, 0)
        np.testing.assert_allclose(again.log_probs, first.log_probs, atol=TOLERANCE)


def sample(policy: Policy, requests: Sequence[SampleRequest]) -> dict[str, Completion]:
    """Sample requests together by the policy's sampler; the completions by id."""

    async def run() -> list[Completion]:
        sampler = policy.sampler(deterministic=False)
        sessions = dict.fromkeys(one.session for one in requests)
        for session in sessions:
            sampler.open(session)
        try:
            return await asyncio.gather(*(sampler.sample(one) for one in requests))
        finally:
            for session in sessions:
                sampler.close(session)

    return {completion.id: completion for completion in asyncio.run(run())}


def mismatch(policy: Policy, requests: Sequence[SampleRequest], done: dict[str, Completion]) -> float:
    """The largest difference of completions' log-probabilities from those that the policy computes, in nats."""
    computed = flat(policy.log_probs(_groups(requests, done)))
    return float(np.abs(computed - np.concatenate([done[one.id].log_probs for one in requests])).max())


def _groups(requests: Sequence[SampleRequest], done: dict[str, Completion]) -> list[TokenGroup]:
    return [group_of(one.context, [done[one.id]], [1.0], one.temperature or 1.0) for one in requests]


def _next_log_probs(policy: Policy, context: Sequence[int], temperature: float) -> NDArray[Any]:
    """The policy's log-probabilities of every token behind a context, shape (V,)."""
    every = [Completion(str(token), (token,), (0.0,), "length", 0) for token in range(policy.info.vocabulary)]
    return flat(policy.log_probs([group_of(context, every, [0.0] * len(every), temperature)]))
