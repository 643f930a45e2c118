"""What every backend's sampling is held to; a part of `mentor_kit.testing.backend`, which says how to use it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from mentor_kit.backend.policy import Policy
from mentor_kit.testing.drawn import check_drawn, check_same
from mentor_kit.testing.events import Events
from mentor_kit.testing.material import GENTLE, Oracle, PolicyFactory, drive, log_softmax, request
from mentor_kit.testing.precision import Precision


class SamplingContract(Precision):
    """The tests of engines; see `mentor_kit.testing.backend` for the fixtures a subclass gives."""

    draws: ClassVar[int] = 4000
    """How many tokens are drawn to look at their distribution; fewer where few rows run at once."""

    @pytest.fixture
    def policy(self, policy_factory: PolicyFactory) -> Policy:
        """A fresh policy with an optimizer."""
        policy = policy_factory(None)
        policy.prepare(GENTLE)
        return policy

    def test_sampling_follows_the_distribution(self, policy: Policy, oracle: Oracle) -> None:
        context, count, temperature = [3, 1, 4, 1, 5], self.draws, 1.3
        probabilities = np.exp(log_softmax(oracle(context)[-1], temperature))
        requests = [
            request(str(i), context, max_new_tokens=1, temperature=temperature, seed=i * 7919) for i in range(count)
        ]
        done = drive(policy.engine(), requests)
        counts = np.bincount([done[str(i)].ids[0] for i in range(count)], minlength=len(probabilities))
        expected = probabilities * count
        degrees = len(expected) - 1
        statistic = float(((counts - expected) ** 2 / expected).sum())
        # chi-square: mean d, variance about 2d; the seeds are fixed, so this either always or never holds
        assert statistic < degrees + 4 * (2 * degrees) ** 0.5

    @pytest.mark.parametrize(("top_p", "top_k"), [(1.0, 0), (0.6, 0), (1.0, 5), (0.8, 10)])
    def test_tokens_are_the_inverse_cdf_at_the_counter(
        self, policy: Policy, oracle: Oracle, top_p: float, top_k: int
    ) -> None:
        requests = [
            request(str(i), [3, 1, 4, 1, 5], max_new_tokens=1, temperature=1.3, seed=i, top_p=top_p, top_k=top_k)
            for i in range(50)
        ]
        done = drive(policy.engine(), requests)
        for item in requests:
            check_drawn(item, done[item.id], oracle, self.rounding)

    def test_greedy_takes_the_most_likely_token(self, policy: Policy, oracle: Oracle) -> None:
        asked = request("a", [1, 2, 3], temperature=0.0)
        check_drawn(asked, drive(policy.engine(), [asked])["a"], oracle, self.rounding)

    def test_a_request_does_not_depend_on_its_company(
        self, policy: Policy, policy_factory: PolicyFactory, oracle: Oracle
    ) -> None:
        asked = request("me", [5, 6, 7], max_new_tokens=12)
        alone = drive(policy.engine(), [asked])["me"]
        others = [request(f"o{i}", range(1, 2 + i), max_new_tokens=1 + i % 9) for i in range(11)]
        together = drive(policy_factory(None).engine(), [*others[:5], asked, *others[5:]])
        check_same(asked, together["me"], alone, oracle, self.rounding)

    def test_turns_of_a_session_are_as_from_scratch(
        self, policy: Policy, policy_factory: PolicyFactory, oracle: Oracle
    ) -> None:
        engine, fresh = policy.engine(), policy_factory(None).engine()
        contexts = {f"s{i}": [2, 3, 4, 5, 6, 7, 8, 9, 10, *range(11, 12 + i)] for i in range(4)}
        for turn in range(3):
            requests = [
                request(f"{s}.{turn}", c, session=s, max_new_tokens=2 + turn + i, seed=i)
                for i, (s, c) in enumerate(contexts.items())
            ]
            done = drive(engine, requests)
            for item in requests:
                twin = drive(fresh, [item])[item.id]
                fresh.release(item.session)
                check_same(item, done[item.id], twin, oracle, self.rounding)
                contexts[item.session] += [*done[item.id].ids, 1, 2]

    def test_a_session_may_go_back(self, policy: Policy, policy_factory: PolicyFactory, oracle: Oracle) -> None:
        engine, asked = policy.engine(), request("b", [1, 2, 9, 8], session="s")
        drive(engine, [request("a", [1, 2, 3, 4, 5, 6], session="s")])
        again = drive(engine, [asked])["b"]
        check_same(asked, again, drive(policy_factory(None).engine(), [asked])["b"], oracle, self.rounding)

    def test_stop_and_length(self, policy: Policy) -> None:
        engine = policy.engine()
        free = drive(engine, [request("a", [1, 2], max_new_tokens=10)])["a"]
        assert (free.finish, len(free.ids), len(free.log_probs)) == ("length", 10, 10)
        stop = free.ids[4]
        held = drive(engine, [request("b", [1, 2], max_new_tokens=10, seed=ord("a"), stop_ids=frozenset({stop}))])["b"]
        assert held.finish == "stop"
        assert held.ids == free.ids[: free.ids.index(stop) + 1]

    def test_the_context_ends_a_turn(self, policy: Policy) -> None:
        limit = policy.info.context
        context = [i % 30 for i in range(limit - 3)]
        done = drive(policy.engine(), [request("a", context, max_new_tokens=50)])["a"]
        assert (done.finish, len(done.ids)) == ("length", 3)

    def test_cancelled_requests_come_back(self, policy: Policy) -> None:
        engine = policy.engine()
        engine.submit(request("kept", [1, 2, 3], max_new_tokens=4))
        engine.submit(request("running", [1, 2, 3], max_new_tokens=30))
        found = engine.step()
        engine.submit(request("queued", [4], max_new_tokens=4))
        for name in ("running", "queued", "unknown"):
            engine.cancel(name)
        while engine.busy:
            found += engine.step()
        assert {c.id: c.finish for c in found} == {"kept": "length", "running": "cancelled", "queued": "cancelled"}
        engine.release("running")
        engine.release("unknown")
        assert drive(engine, [request("next", [1, 2, 3], max_new_tokens=2)])["next"].finish == "length"

    def test_tokens_can_be_looked_at_while_they_are_drawn(self, policy: Policy) -> None:
        engine = policy.engine()
        assert engine.drawn("a") == ()
        engine.submit(request("a", [1, 2, 3], max_new_tokens=12))
        seen, found = [], engine.step()
        while engine.busy:
            seen.append(engine.drawn("a"))
            found += engine.step()
        (completion,) = found
        assert all(completion.ids[: len(ids)] == ids for ids in seen)
        assert engine.drawn("a") == ()

    def test_only_cancelled_requests(self, policy: Policy) -> None:
        engine = policy.engine()
        engine.submit(request("a", [1]))
        engine.cancel("a")
        assert engine.busy
        assert [c.finish for c in engine.step()] == ["cancelled"]
        assert not engine.busy

    def test_a_session_speaks_once_at_a_time(
        self, policy: Policy, policy_factory: PolicyFactory, oracle: Oracle
    ) -> None:
        requests = [request("a", [1, 2], session="s"), request("b", [1, 2, 3], session="s", seed=5)]
        done = drive(policy.engine(), requests)
        twin = drive(policy_factory(None).engine(), requests[1:])["b"]
        check_same(requests[1], done["b"], twin, oracle, self.rounding)

    @pytest.mark.parametrize("seed", range(4))
    def test_any_order_of_events_gives_what_each_request_gives_alone(
        self, policy: Policy, oracle: Oracle, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        events = Events(policy.engine(), lambda options: options[int(rng.integers(len(options)))])
        events.play(25)
        events.check(lambda asked, found, twin: check_same(asked, found, twin, oracle, self.rounding))

    def test_completions_come_in_the_order_of_submission(self, policy: Policy) -> None:
        engine = policy.engine()
        names = [f"r{i}" for i in range(6)]
        for name in names:
            engine.submit(request(name, [1, 2, len(name)], max_new_tokens=3))
        found: list[str] = []
        while engine.busy:
            found += [completion.id for completion in engine.step()]
        assert found == names
