"""Servers that die, come back, serve something else or are used by others: what the run does, and what it says."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from mentor_kit_vllm.client import VLLMServer
from mentor_kit_vllm.service import VLLMService
from stand_in import StandIn

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.sampling import SampleRequest
from mentor_kit.backend.served_policy import ServedPolicy, serve
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.errors import BackendError
from mentor_kit.core.secret import remember
from mentor_kit.testing.material import GENTLE, TOLERANCE, ragged_groups, request
from mentor_kit.testing.objectives import make_objective
from mentor_kit.testing.samplers import mismatch, sample

Make = Callable[..., VLLMService]

BOTH = pytest.mark.parametrize("student", ["full", pytest.param("lora", marks=pytest.mark.slow)], indirect=True)
WHOLE = pytest.mark.parametrize("student", ["full"], indirect=True)


@pytest.fixture
def served(
    policy_factory: Callable[[int | None], Policy], service_factory: Make, student: StudentSpec
) -> Iterator[Callable[..., ServedPolicy]]:
    """Serves a policy whose weights differ from the model's own by a step."""
    services = []

    def make(**options: Any) -> ServedPolicy:
        services.append(service_factory(**options))
        policy = serve(policy_factory(None), services[-1], student, "vllm")
        policy.prepare(GENTLE)
        step(policy)
        return policy

    yield make
    for service in services:
        service.close()


def step(policy: Policy) -> None:
    policy.forward_backward(ragged_groups(policy.info.vocabulary, seed=1), make_objective(preset="rloo"))
    policy.optimizer_step(0.5)


def requests(count: int) -> list[SampleRequest]:
    return [request(f"r{n}", [5, 6, 7, n + 1]) for n in range(count)]


def check(policy: ServedPolicy, asked: Sequence[SampleRequest]) -> None:
    """Sampled by the policy's own weights, as they are now, and by no others."""
    done = sample(policy, asked)
    assert {one.version for one in done.values()} == {1}
    assert mismatch(policy, asked, done) < TOLERANCE


@contextmanager
def back_in(server: StandIn, seconds: float) -> Iterator[None]:
    """Starts a stopped server again after a while."""
    timer = threading.Timer(seconds, server.start)
    timer.start()
    yield
    timer.join()


@BOTH
def test_the_others_sample_while_one_is_gone_and_it_gets_the_weights_when_it_is_back(
    served: Callable[..., ServedPolicy], servers: list[StandIn]
) -> None:
    policy = served()
    check(policy, requests(4))
    servers[0].stop()
    before = len(servers[1].asked)
    check(policy, requests(4))
    assert len(servers[1].asked) - before == 4
    servers[0].start()
    deadline = time.monotonic() + 120
    # it is taken back by a task of its own, which looks at it every half second
    before = len(servers[0].asked)
    while len(servers[0].asked) == before:
        check(policy, requests(4))
        assert time.monotonic() < deadline
    assert len(servers[0].pushes) == 2


@BOTH
def test_a_request_waits_for_the_only_server_which_gets_the_weights_again(
    served: Callable[..., ServedPolicy], servers: list[StandIn]
) -> None:
    policy = served(servers=(servers[0].url,))
    check(policy, requests(2))
    servers[0].stop()
    with back_in(servers[0], 0.3):
        check(policy, requests(3))
    assert len(servers[0].pushes) == 2


@BOTH
def test_a_server_that_was_started_anew_unseen_is_known_by_its_answers(
    served: Callable[..., ServedPolicy], servers: list[StandIn]
) -> None:
    policy = served(servers=(servers[0].url,))
    check(policy, requests(2))
    servers[0].stop()
    servers[0].start()
    check(policy, requests(3))
    assert len(servers[0].pushes) == 2


@pytest.mark.slow
@WHOLE
def test_a_server_that_stays_away_ends_the_run(served: Callable[..., ServedPolicy], servers: list[StandIn]) -> None:
    policy = served(servers=(servers[0].url,), patience=0.6)
    check(policy, requests(1))
    servers[0].stop()
    with pytest.raises(BackendError, match=servers[0].url) as caught:
        sample(policy, requests(2))
    assert "--resume" in str(caught.value.hint)


@pytest.mark.slow
@WHOLE
def test_a_server_that_another_run_uses_too_is_refused(
    served: Callable[..., ServedPolicy], servers: list[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = served(servers=(servers[0].url,))
    check(policy, requests(1))
    real = servers[0].generate

    def generate(body: Any) -> Any:
        servers[0].label = "another run's"
        return real(body)

    monkeypatch.setattr(servers[0], "generate", generate)
    with pytest.raises(BackendError, match="other weights"):
        sample(policy, requests(1))


@WHOLE
def test_a_server_with_other_log_probabilities_is_refused(
    served: Callable[..., ServedPolicy], servers: list[StandIn]
) -> None:
    policy = served()
    servers[1].scale = 1.1
    with pytest.raises(BackendError, match=servers[1].url) as caught:
        sample(policy, requests(1))
    assert "processed_logprobs" in str(caught.value.hint)


@pytest.mark.slow
@WHOLE
def test_sessions_stay_with_their_servers_and_are_spread(
    served: Callable[..., ServedPolicy], servers: list[StandIn]
) -> None:
    policy = served()

    async def run() -> None:
        sampler = policy.sampler()
        for turn in range(3):
            await asyncio.gather(*(sampler.sample(request(f"{n}/{turn}", [n + 1], session=f"s{n}")) for n in range(6)))

    asyncio.run(run())
    for one in servers:
        # the first request is the probe
        asked = [body["token_ids"][0] for body in one.asked[1:]]
        assert len(set(asked)) == 3
        assert sorted(asked) == sorted(list(set(asked)) * 3)


@WHOLE
def test_requests_wait_while_weights_change(served: Callable[..., ServedPolicy], servers: list[StandIn]) -> None:
    policy = served()

    async def run() -> tuple[int, int]:
        sampler = policy.sampler()
        for one in servers:
            one.delay = 0.05
        first = asyncio.ensure_future(sampler.sample(request("old", [1, 2])))
        await asyncio.sleep(0.5)
        step(policy)
        second = await sampler.sample(request("new", [1, 2]))
        return (await first).version, second.version

    assert asyncio.run(run()) == (1, 2)


@WHOLE
def test_a_route_that_is_not_there_is_named_with_what_it_takes(
    served: Callable[..., ServedPolicy], servers: list[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = served(servers=(servers[0].url,))
    monkeypatch.setattr(StandIn, "on_pause", property(lambda self: None))
    with pytest.raises(BackendError, match="/pause") as caught:
        sample(policy, requests(1))
    assert "VLLM_SERVER_DEV_MODE=1" in str(caught.value.hint)


def test_a_key_is_in_no_message(servers: list[StandIn], monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-of-the-servers"
    remember(f"{key}\n", "${env:SERVERS_KEY}")
    monkeypatch.setattr(StandIn, "on_weight_info", lambda *_: (400, {"error": {"message": f"{key} is too old"}}))

    async def message(key: str) -> str:
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as client:
            with pytest.raises(BackendError) as caught:
                await VLLMServer(servers[0].url, client).label()
            return caught.value.message

    # the server repeats one, and the other is no header
    for sent, said in ((key, "is too old"), (f"{key}\n", "header")):
        shown = asyncio.run(message(sent))
        assert said in shown
        assert "${env:SERVERS_KEY}" in shown
        assert key not in shown


@pytest.mark.slow
@WHOLE
def test_what_was_written_is_removed(served: Callable[..., ServedPolicy], service_factory: Make, tmp_path: Any) -> None:
    policy = served(folder=str(tmp_path))
    for _ in range(4):
        check_any(policy)
        step(policy)
    (folder,) = tmp_path.glob("mentorkit-*")
    assert len(list(folder.iterdir())) == 2
    policy.service.close()
    assert not list(tmp_path.glob("mentorkit-*"))


def check_any(policy: ServedPolicy) -> None:
    asked = requests(1)
    assert mismatch(policy, asked, sample(policy, asked)) < TOLERANCE


@BOTH
def test_weights_whose_arrival_was_not_heard_of_are_there(
    served: Callable[..., ServedPolicy], servers: list[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = served(servers=(servers[0].url,))
    name = "on_v1_load_lora_adapter" if policy.own.info.trainable < policy.own.info.parameters else "on_collective_rpc"
    real, lost = getattr(StandIn, name), []

    def once(self: StandIn, query: str, body: Any) -> Any:
        found = real(self, query, body)
        if not lost:
            lost.append(body)
            raise ConnectionResetError
        return found

    monkeypatch.setattr(StandIn, name, once)
    check(policy, requests(2))
    assert lost
