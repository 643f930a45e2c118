"""A policy's connection to its servers: what they need is written here, and sent from a loop in the background.

publish ── weights written ── given to every server ── probed ──> sampled with
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx2

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.backend.student import StudentSpec
from mentor_kit.backend.validation import check_request
from mentor_kit.rollout import BackgroundLoop
from mentor_kit.utils.paths import expanded_path
from mentor_kit_vllm.client import VLLMServer
from mentor_kit_vllm.fleet import Fleet, Member
from mentor_kit_vllm.launch import server_processes
from mentor_kit_vllm.options import VLLMOptions
from mentor_kit_vllm.probe import check_answers, probe_request
from mentor_kit_vllm.process import ServerProcess
from mentor_kit_vllm.transfer import AdapterFiles, WeightTransfer, WholeFiles
from mentor_kit_vllm.weights import PublishedWeights, WeightFiles

logger = logging.getLogger("mentor_kit")

#: Seconds after which an idle connection is not used again: servers close theirs after five.
_IDLE_SECONDS = 2.0
#: Seconds that a server which is given may take to answer for the first time.
_FIRST_SECONDS = 30.0


class Connection:
    """A policy's servers.

    Args:
        options: of the sampler.
        folder: where relative paths in them start.
        policy: whose weights they sample with.
        student: what it was loaded from.
    """

    def __init__(self, options: VLLMOptions, folder: Path, policy: Policy, student: StudentSpec) -> None:
        self._options, self._policy = options, policy
        parent = None if options.folder is None else folder / expanded_path(options.folder)
        key = {"Authorization": f"Bearer {options.api_key}"} if options.api_key else {}
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_IDLE_SECONDS)
        timeout = httpx2.Timeout(options.timeout, connect=10)
        self._client = httpx2.AsyncClient(timeout=timeout, limits=limits, headers=key)
        with ExitStack() as opened:
            self._files = WeightFiles(policy, student, parent, untied=options.untie)
            opened.callback(self._files.close)
            processes: list[ServerProcess] = []
            if options.start is not None:
                logs = Path(tempfile.mkdtemp(prefix="mentorkit-vllm-logs-"))
                opened.callback(_remove_logs, logs, processes)
                processes += server_processes(options.start, options, policy.info, student, self._files, logs)
            for process in processes:
                opened.callback(process.stop)
            members = [self._member(url) for url in options.servers]
            members += [self._member(process.url, process) for process in processes]
            self._fleet = Fleet(members, _transfer(options, student), patience=options.patience, start=options.start)
            self._background = opened.enter_context(BackgroundLoop())
            self._opened = opened.pop_all()
        self.context: int | None = None
        """The longest context of all servers, in tokens; known when they are connected."""

    def _member(self, url: str, process: ServerProcess | None = None) -> Member:
        return Member(VLLMServer(url, self._client), process, slots=asyncio.Semaphore(self._options.at_once))

    def connect(self) -> None:
        """Wait until all servers are there, those that the run starts as well.

        Raises:
            MentorKitError: one is not there, or does not start.
        """
        contexts = self._background.submit(self._connected()).result()
        self.context = min((one for one in contexts if one is not None), default=None)

    async def _connected(self) -> list[int | None]:
        members, seconds = self._fleet.members, min(_FIRST_SECONDS, self._options.patience)
        await asyncio.gather(*(self._fleet.well(member, seconds=seconds) for member in members))
        return [one.context for one in await asyncio.gather(*(member.server.served() for member in members))]

    def publish(self, version: int) -> None:
        """As `SamplingService.publish`."""
        weights = self._files.write(version)
        answers = self._background.submit(self._published(weights)).result()
        difference = check_answers(self._policy, probe_request(self._policy), answers, self._options.tolerance)
        logger.debug(f"sampler vllm: weights {weights.label}, largest difference {difference:.2g} nats")

    async def _published(self, weights: PublishedWeights) -> dict[str, Completion]:
        """Give the servers weights, and have each sample a little."""
        await self._fleet.publish(weights)
        for old in self._files.forget_old():
            await self._fleet.forget(old)
        return await self._fleet.ask_each(probe_request(self._policy))

    async def sample(self, request: SampleRequest) -> Completion:
        """Sample a turn by the session's server.

        Raises:
            BackendError: the request cannot be sampled, or no server answers.
        """
        info = self._policy.info
        context = info.context if self.context is None else min(info.context, self.context)
        check_request(request, vocabulary=info.vocabulary, context=context)
        return await asyncio.wrap_future(self._background.submit(self._fleet.ask(request)))

    def release(self, session: str) -> None:
        """Forget which server a session has."""
        self._background.submit(self._fleet.release(session))

    def cancel(self, request_id: str) -> None:
        """End a request early."""
        self._background.submit(self._fleet.cancel(request_id))

    def close(self) -> None:
        """End the servers that were started, and remove what was written."""
        with self._opened:
            self._background.submit(self._client.aclose()).result()


def _remove_logs(folder: Path, processes: Sequence[ServerProcess]) -> None:
    """Remove the servers' logs, unless an error names one."""
    if not any(process.has_died for process in processes):
        shutil.rmtree(folder, ignore_errors=True)


def _transfer(options: VLLMOptions, student: StudentSpec) -> WeightTransfer:
    if student.adapter is not None:
        return AdapterFiles()
    if options.weights == "nccl":
        from mentor_kit_vllm.nccl import NcclBroadcast  # needs a GPU

        return NcclBroadcast()
    return WholeFiles()
