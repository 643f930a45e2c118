"""The servers of a run: which one samples a session, which weights each has, and what happens when one is gone.

    publish(weights) ──> every server that is up gets them, confirmed by their label
    ask(request)     ──> the session's server ──gone──> another one, or wait until one is back with the weights

A server that does not answer is down; a task of its own brings it back: starts it again where the run started it, waits
until it is well, and gives it the weights. Meanwhile its sessions move to the others. A server that came back by itself
is known by the label of its weights, which every completion carries.

Everything here runs in one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.core.errors import BackendError, MentorKitError
from mentor_kit.core.secret import hide
from mentor_kit_vllm.client import ServerAnswer, ServerUnreachable, UnknownModel, VLLMServer
from mentor_kit_vllm.options import StartOptions
from mentor_kit_vllm.process import ServerProcess
from mentor_kit_vllm.transfer import WeightTransfer
from mentor_kit_vllm.weights import PublishedWeights

logger = logging.getLogger("mentor_kit")

#: Seconds between two looks at whether a server is well.
_LOOK_SECONDS = 0.5
#: How often in a row a request may be answered by other weights than those that were published.
_FOREIGN = 3


@dataclass(eq=False)
class Member:
    """A server of the fleet."""

    server: VLLMServer
    process: ServerProcess | None = None
    """The server's process, where the run starts it."""
    label: str | None = None
    """The label of the weights that it has; None where that is not known."""
    down: bool = False
    starts: int = 0
    """How often the run has started it."""
    was_well: bool = False
    """Whether it has ever answered."""
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(256))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it gets weights."""


class Fleet:
    """The servers; see the module.

    Args:
        members: the servers.
        transfer: gives weights to servers.
        patience: seconds that a request waits while no server answers.
        start: how servers are started that the run starts.
    """

    def __init__(
        self, members: Sequence[Member], transfer: WeightTransfer, *, patience: float, start: StartOptions | None
    ) -> None:
        self.members = tuple(members)
        self._transfer = transfer
        self._patience, self._start_options = patience, start or StartOptions()
        self._weights: PublishedWeights | None = None
        self._sessions: dict[str, Member] = {}
        self._running: dict[str, tuple[Member, str]] = {}
        """The server of each request that is under way, and the request's id there."""
        self._revivals: dict[Member, asyncio.Task[None]] = {}
        self._name = uuid.uuid4().hex[:8]
        self._asked = 0

    # weights

    async def publish(self, weights: PublishedWeights) -> None:
        """Give weights to every server that is up; the others get them when they are back.

        Raises:
            BackendError: a server does not take them, or none is back for as long as requests wait.
        """
        self._weights = weights
        await asyncio.gather(*(self._give_or_lose(member) for member in self._up()))
        await self._some_up()

    async def forget(self, weights: PublishedWeights) -> None:
        """Have the servers drop weights that no request uses any more."""
        await asyncio.gather(*(self._transfer.forget(member.server, weights) for member in self._up()))

    def _up(self) -> list[Member]:
        return [member for member in self.members if not member.down]

    async def _give_or_lose(self, member: Member) -> None:
        try:
            await self._give(member)
        except ServerUnreachable as error:
            self._lose(member, error)

    async def _give(self, member: Member) -> None:
        """Give a server the published weights, unless it has them."""
        async with member.lock:
            weights = self._weights
            if weights is None or member.label == weights.label:
                return
            member.label = None
            await self._transfer.give(member.server, weights)
            member.label = weights.label

    # requests

    async def ask(self, request: SampleRequest) -> Completion:
        """Sample a turn with the published weights.

        Raises:
            BackendError: no server answers, or one refuses the request.
        """
        foreign = 0
        while True:
            await self._some_up()
            member = self._member_of(request.session)
            try:
                await self._give(member)
                weights = self._published_weights
                answer = await self._asked_of(member, request, weights)
            except ServerUnreachable as error:
                self._lose(member, error)
                continue
            if answer is not None:
                return self._completion(request, answer, weights.version)
            if weights is not self._weights:
                continue  # others were published in between
            # the server was started anew, or somebody else gave it weights
            member.label = None
            foreign += 1
            if foreign > _FOREIGN:
                raise BackendError(
                    f"{member.server.url} samples with other weights than this run gave it, again and again",
                    hint="does another run use the same server? each run needs servers of its own",
                )

    async def ask_each(self, request: SampleRequest) -> dict[str, Completion]:
        """Have every server that is up sample a turn; the completions by address, without servers that are lost now."""

        async def ask(member: Member) -> Completion | None:
            weights = self._published_weights
            try:
                answer = await self._asked_of(member, replace(request, id=f"{request.id} {member.server.url}"), weights)
            except ServerUnreachable as error:
                self._lose(member, error)
                return None
            return None if answer is None else self._completion(request, answer, weights.version)

        up = self._up()
        answers = await asyncio.gather(*map(ask, up))
        return {member.server.url: answer for member, answer in zip(up, answers, strict=True) if answer is not None}

    @property
    def _published_weights(self) -> PublishedWeights:
        if self._weights is None:
            raise RuntimeError("no weights were published")
        return self._weights

    async def _asked_of(self, member: Member, request: SampleRequest, weights: PublishedWeights) -> ServerAnswer | None:
        """A server's answer; None where it did not sample with the weights."""
        self._asked += 1
        own_id = f"{self._name}-{self._asked}"
        async with member.slots:
            self._running[request.id] = (member, own_id)
            try:
                answer = await member.server.generate(request, id=own_id, model=weights.model)
            except UnknownModel:
                return None
            finally:
                self._running.pop(request.id, None)
        # an adapter is named by the request itself
        return answer if weights.adapter or set(answer.labels) <= {weights.label} else None

    def _completion(self, request: SampleRequest, answer: ServerAnswer, version: int) -> Completion:
        if len(answer.ids) != len(answer.log_probs):
            raise BackendError(
                f"a server gave {len(answer.log_probs)} log-probabilities for {len(answer.ids)} tokens",
                hint="this is a version of vLLM that the sampler does not know",
            )
        if answer.aborted:
            return Completion(request.id, answer.ids, answer.log_probs, "cancelled", version)
        stopped = bool(answer.ids) and answer.ids[-1] in request.stop_ids
        return Completion(request.id, answer.ids, answer.log_probs, "stop" if stopped else "length", version)

    async def release(self, session: str) -> None:
        """Forget which server a session has."""
        self._sessions.pop(session, None)

    async def cancel(self, request_id: str) -> None:
        """End a request that is under way early; others are ignored."""
        if request_id in self._running:
            await self._abort(*self._running[request_id])

    async def _abort(self, member: Member, id: str) -> None:
        try:
            await member.server.abort(id)
        except BackendError as error:
            logger.debug(hide(f"a request was not ended early: {error}"))

    def _member_of(self, session: str) -> Member:
        """The session's server, which has its prefix cached; else the one with the fewest sessions."""
        member = self._sessions.get(session)
        if member is None or member.down:
            counts = Counter(self._sessions.values())
            member = min(self._up(), key=lambda one: counts[one])
            self._sessions[session] = member
        return member

    # servers that are gone

    def _lose(self, member: Member, error: BackendError) -> None:
        """Take note that a server does not answer, and have it brought back."""
        member.label, member.down = None, True
        if member not in self._revivals or self._revivals[member].done():
            logger.warning(f"sampler vllm: {hide(error.message)}; its requests go elsewhere until it is back")
            self._revivals[member] = asyncio.get_running_loop().create_task(self._revive(member))

    async def _revive(self, member: Member) -> None:
        """Bring a server back, and give it the weights."""
        while True:
            try:
                await self.well(member)
                await self._give(member)
                break
            except ServerUnreachable:
                await asyncio.sleep(_LOOK_SECONDS)
            except MentorKitError as error:
                logger.warning(hide(f"sampler vllm: {member.server.url} does not come back: {error.message}"))
                raise
        member.down = False
        logger.warning(hide(f"sampler vllm: {member.server.url} is back, with the current weights"))

    async def well(self, member: Member, seconds: float | None = None) -> None:
        """Wait until a server is well; one that the run starts is started where it does not run.

        Args:
            member: the server.
            seconds: how long; as long as the fleet is there if None.

        Raises:
            MentorKitError: it did not get well, or died at its start, or too often.
        """
        begun = time.monotonic()
        while True:
            if member.process is not None and not member.process.alive:
                self._start(member, member.process)
                begun = time.monotonic()
            if await member.server.healthy():
                member.was_well = True
                return
            limit = self._start_options.seconds if member.process is not None else seconds
            if limit is not None and time.monotonic() - begun > limit:
                log = f"; its log is {member.process.log}" if member.process is not None else ""
                raise ServerUnreachable(
                    f"{member.server.url} was not ready after {limit:g} s{log}", hint="is the server running?"
                )
            await asyncio.sleep(_LOOK_SECONDS)

    def _start(self, member: Member, process: ServerProcess) -> None:
        """Start a server, or start it again, unless that would not help."""
        if member.starts and not (member.was_well and member.starts <= self._start_options.restarts):
            raise process.died()
        member.starts += 1
        process.start()

    async def _some_up(self) -> None:
        """Wait until a server is up.

        Raises:
            BackendError: none is for as long as requests wait.
        """
        begun = time.monotonic()
        while all(member.down for member in self.members):
            ended = [task for task in self._revivals.values() if task.done()]
            if len(ended) == len(self.members):
                ended[0].result()  # raises
            if time.monotonic() - begun > self._patience:
                urls = ", ".join(member.server.url for member in self.members)
                raise ServerUnreachable(
                    f"no server has answered for {self._patience:g} s: {urls}",
                    hint="start them again and resume the run: mentorkit run RECIPE --resume",
                )
            await asyncio.wait(self._revivals.values(), timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
