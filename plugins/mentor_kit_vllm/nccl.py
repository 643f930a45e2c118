"""Whole models from this process's GPU to a server's, by vLLM's NCCL weight transfer.

Each server and this process are a group of their own, of which this process is rank 0. They meet by an id that NCCL
makes here and the server is given; each member then sums one number, as vLLM does. After that, tensors are broadcast in
the order of the names that `/update_weights` has (`vllm/distributed/weight_transfer/nccl_common.py`, vLLM 0.32).
Written from that interface, and not tried: it takes a GPU.

A server that was started anew has left its group, and meets this process again.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentor_kit.core.errors import MissingError
from mentor_kit_vllm.client import VLLMServer
from mentor_kit_vllm.transfer import WeightTransfer, confirm
from mentor_kit_vllm.weights import PublishedWeights

if TYPE_CHECKING:
    from torch import Tensor


class NcclBroadcast(WeightTransfer):
    """Sends the tensors of an exported model to one server after another.

    Raises:
        MissingError: this process has no GPU that NCCL can use.
    """

    def __init__(self) -> None:
        import torch

        if not torch.cuda.is_available() or torch.version.cuda is None:
            raise MissingError(
                "`weights: nccl` needs PyTorch with CUDA, and a GPU", hint="leave it out: weights then go by files"
            )
        self._groups: dict[str, tuple[Any, str]] = {}
        """The communicator with each server, and the label that it had last, by address."""
        self._lock = asyncio.Lock()

    async def give(self, server: VLLMServer, weights: PublishedWeights) -> None:
        async with self._lock:  # communicators of one GPU are used one after another
            communicator = await self._group(server)
            await server.pause()
            try:
                await self._send(server, weights, communicator)
                await server.drop_cache()
            finally:
                await server.resume()
            await confirm(server, weights)
            self._groups[server.url] = communicator, weights.label

    async def _group(self, server: VLLMServer) -> Any:
        """The communicator with a server; a new one if the server is not what it was after the last transfer."""
        nccl = _nccl()

        known = self._groups.pop(server.url, None)
        if known is not None and await server.label() == known[1]:
            return known[0]
        members = 1 + await server.world_size()
        meeting: bytes = nccl.unique_id()
        info = {
            "nccl_unique_id_b64": base64.b64encode(meeting).decode(),
            "rank_offset": 1,
            "world_size": members,
            "packed": False,
        }
        # all members have to meet at once
        communicator, _ = await asyncio.gather(asyncio.to_thread(_meet, members, meeting), server.join_transfer(info))
        return communicator

    async def _send(self, server: VLLMServer, weights: PublishedWeights, communicator: Any) -> None:
        described = [(name, str(tensor.dtype), list(tensor.shape)) for name, tensor in _tensors(weights.folder, "meta")]
        info = {
            "names": [name for name, _, _ in described],
            "dtype_names": [dtype.removeprefix("torch.") for _, dtype, _ in described],
            "shapes": [shape for _, _, shape in described],
        }
        await server.begin_transfer()
        await asyncio.gather(asyncio.to_thread(_broadcast, weights.folder, communicator), server.receive(info))
        await server.end_transfer(weights.label)


def _nccl() -> Any:
    """PyTorch's calls of NCCL, which have no types."""
    import torch.cuda.nccl

    return torch.cuda.nccl


def _meet(members: int, meeting: bytes) -> Any:
    """Join a group as its first member."""
    import torch

    nccl = _nccl()

    communicator = nccl.init_rank(members, meeting, 0)
    one = torch.zeros(1, device="cuda")
    nccl.all_reduce([one], comms=[communicator])
    torch.cuda.synchronize()
    return communicator


def _broadcast(folder: Path, communicator: Any) -> None:
    """Send all tensors of a folder, in the order of `_tensors`."""
    import torch

    nccl = _nccl()

    for _, tensor in _tensors(folder, "cuda"):
        nccl.broadcast([tensor.contiguous()], root=0, comms=[communicator])
        torch.cuda.synchronize()  # before the tensor is freed


def _tensors(folder: Path, device: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of an exported model, file by file, each of them by name; on `meta`, without their values."""
    import torch
    from safetensors import safe_open

    with ExitStack() as files:
        for path in sorted(folder.glob("*.safetensors")):
            opened = files.enter_context(safe_open(path, framework="pt", device="cpu" if device == "meta" else device))
            for name in sorted(opened.keys()):
                tensor: Tensor = opened.get_tensor(name)
                yield name, torch.empty_like(tensor, device="meta") if device == "meta" else tensor
