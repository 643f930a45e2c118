"""The service behind the sampler `vllm`: it connects when it is started, and samples by the connection."""

from __future__ import annotations

from pathlib import Path

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.sampling import Completion, Sampler, SampleRequest
from mentor_kit.backend.sampling_service import SamplingService
from mentor_kit.backend.student import StudentSpec
from mentor_kit_vllm.connection import Connection
from mentor_kit_vllm.options import VLLMOptions


class VLLMService(SamplingService):
    """Samples by vLLM servers.

    Args:
        options: of the sampler.
        folder: where relative paths in them start.
    """

    caveats = (
        "draws are the servers' own, so that a run is not the same to the bit each time; what was recorded is kept",
    )

    def __init__(self, options: VLLMOptions, folder: Path) -> None:
        self._options, self._folder = options, folder
        self._open: Connection | None = None

    @property
    def _connection(self) -> Connection:
        if self._open is None:
            raise RuntimeError("the service is not started, or it is closed")
        return self._open

    @property
    def context(self) -> int | None:
        return None if self._open is None else self._open.context

    def start(self, policy: Policy, student: StudentSpec) -> None:
        self._open = Connection(self._options, self._folder, policy, student)
        self._open.connect()

    def publish(self, version: int) -> None:
        self._connection.publish(version)

    def sampler(self) -> Sampler:
        return VLLMSampler(self._connection)

    def close(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            opened.close()


class VLLMSampler(Sampler):
    """A sampler for the episodes of one rollout; sessions stay with their servers, for the prefixes cached there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def open(self, session: str) -> None:
        return

    def close(self, session: str) -> None:
        self._connection.release(session)

    async def sample(self, request: SampleRequest) -> Completion:
        return await self._connection.sample(request)

    def cancel(self, request_id: str) -> None:
        self._connection.cancel(request_id)
