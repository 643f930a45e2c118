"""How weights get to a server: each way ends with the server's own word for which weights it has."""

from __future__ import annotations

from abc import ABC, abstractmethod

from mentor_kit.core.errors import BackendError
from mentor_kit_vllm.client import VLLMServer
from mentor_kit_vllm.weights import PublishedWeights


class WeightTransfer(ABC):
    """Gives weights to servers."""

    @abstractmethod
    async def give(self, server: VLLMServer, weights: PublishedWeights) -> None:
        """Give a server weights; it samples with them when this returns.

        Raises:
            BackendError: it does not have them then.
        """

    async def forget(self, server: VLLMServer, weights: PublishedWeights) -> None:
        """Have a server drop weights that no request uses any more."""
        return


class WholeFiles(WeightTransfer):
    """Whole models by files that servers read, while they are paused."""

    async def give(self, server: VLLMServer, weights: PublishedWeights) -> None:
        await server.pause()
        try:
            await server.read_weights(str(weights.folder))
            await server.drop_cache()
            await server.set_label(weights.label)
        finally:
            await server.resume()
        await confirm(server, weights)


class AdapterFiles(WeightTransfer):
    """Adapters by files, under a new name each time; requests that run keep theirs, so that nothing is paused."""

    async def give(self, server: VLLMServer, weights: PublishedWeights) -> None:
        # after an answer that was lost, it may be there already
        if weights.label not in await server.adapters():
            await server.load_adapter(weights.label, str(weights.folder))
        found = (await server.adapters()).get(weights.label)
        if found != str(weights.folder):
            raise BackendError(f"{server.url} has the adapter {weights.label} from {found}, not {weights.folder}")

    async def forget(self, server: VLLMServer, weights: PublishedWeights) -> None:
        await server.unload_adapter(weights.label)


async def confirm(server: VLLMServer, weights: PublishedWeights) -> None:
    """Check that a server has weights.

    Raises:
        BackendError: it says that it has others.
    """
    found = await server.label()
    if found != weights.label:
        raise BackendError(f"{server.url} has the weights {found!r} after it was given {weights.label!r}")
