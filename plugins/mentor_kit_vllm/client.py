"""A vLLM server's HTTP interface for RL, one method a route.

Routes, as of vLLM 0.32 (`vllm/entrypoints/rl`, `scale_out/token_in_token_out`, `serve/lora`, `serve/dev`). Those of
development mode have no authentication: servers belong on the loopback interface or in a private network.

    tokens    POST /inference/v1/generate, /abort_requests                               --enable-scale-out
    weights   POST /pause, /resume, /collective_rpc, /reset_prefix_cache,                VLLM_SERVER_DEV_MODE=1
              /update_weight_version; GET /weight_info
    NCCL      POST /init_weight_transfer_engine, /start_weight_update, /update_weights, /finish_weight_update
    adapters  POST /v1/load_lora_adapter, /v1/unload_lora_adapter          VLLM_ALLOW_RUNTIME_LORA_UPDATING=1
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx2
from mentor_kit_teachers.faults import one_line, words

from mentor_kit.backend.sampling import SampleRequest
from mentor_kit.core.errors import BackendError
from mentor_kit.utils.randomness import derive_seed

#: Status codes of a server that is there and cannot answer now.
_BUSY = frozenset({408, 425, 429, 502, 503, 504})
#: What a server needs for a route that it does not have.
_NEEDED = {
    "/inference/": "--enable-scale-out",
    "/v1/load_lora_adapter": "--enable-lora, and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment",
}


class ServerUnreachable(BackendError):
    """A server does not answer, or cannot now."""


class UnknownModel(BackendError):
    """A server does not have the adapter that a request names."""


@dataclass(frozen=True)
class ServerAnswer:
    """What a server sampled for a request."""

    ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    aborted: bool
    labels: tuple[str, ...]
    """The labels of the weights that sampled it, in order; empty where the server does not say."""


@dataclass(frozen=True)
class ServedModel:
    """What a server serves."""

    name: str
    context: int | None
    """The longest context in tokens."""


class VLLMServer:
    """A server.

    Args:
        url: its address.
        client: sends the requests.
    """

    def __init__(self, url: str, client: httpx2.AsyncClient) -> None:
        self.url, self._client = url.rstrip("/"), client

    # tokens

    async def generate(self, request: SampleRequest, *, id: str, model: str | None) -> ServerAnswer:
        """Sample a turn.

        Args:
            request: the turn.
            id: of the request at this server.
            model: an adapter's name, or None for the model itself.

        Raises:
            UnknownModel: the server has no such adapter.
            ServerUnreachable: it does not answer.
            BackendError: it refuses the request.
        """
        sampling = {
            "temperature": request.temperature,
            "top_p": request.top_p,
            "top_k": request.top_k,
            "max_tokens": request.max_new_tokens,
            "stop_token_ids": sorted(request.stop_ids),
            # the end of a sequence is no other token than the request's own stop ids
            "ignore_eos": True,
            "logprobs": 0,
            "detokenize": False,
            # a server's noise begins anew with each request, so that every turn needs a seed of its own
            "seed": derive_seed(request.seed, len(request.context)) % 2**63,
        }
        body: dict[str, Any] = {"request_id": id, "token_ids": list(request.context), "sampling_params": sampling}
        if model is not None:
            body["model"] = model
        found = await self._post("/inference/v1/generate", body)
        choice = found["choices"][0]
        content = (choice.get("logprobs") or {}).get("content") or []
        spans = choice.get("weight_versions") or []
        return ServerAnswer(
            ids=tuple(choice["token_ids"] or ()),
            log_probs=tuple(float(item["logprob"]) for item in content),
            aborted=choice.get("finish_reason") == "abort",
            labels=tuple(str(span["version"]) for span in spans),
        )

    async def abort(self, id: str) -> None:
        """End a request early; unknown ids are ignored."""
        # a server's own ids have a prefix
        await self._post("/inference/v1/abort_requests", {"request_ids": [f"generate-tokens-{id}"]})

    # the server

    async def healthy(self) -> bool:
        """Whether it is there and well."""
        try:
            return bool((await self._client.get(self.url + "/health", timeout=10)).is_success)
        except httpx2.HTTPError:
            return False

    async def served(self) -> ServedModel:
        """The model that it serves."""
        first = (await self._get("/v1/models"))["data"][0]
        return ServedModel(str(first["id"]), first.get("max_model_len"))

    # weights

    async def pause(self) -> None:
        """Let requests that run end, and hold back new ones."""
        await self._post("/pause", {}, params={"mode": "wait"})

    async def resume(self) -> None:
        """Take requests again."""
        await self._post("/resume", {})

    async def read_weights(self, folder: str) -> None:
        """Read the whole model's weights from a folder in transformers' format."""
        await self._post("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": folder}})

    async def drop_cache(self) -> None:
        """Drop the keys and values of prefixes, which earlier weights computed.

        Raises:
            BackendError: requests that run hold some.
        """
        found = await self._post("/reset_prefix_cache", {})
        if isinstance(found, dict) and found.get("success") is False:
            raise BackendError(f"{self.url} still uses cached prefixes of earlier weights")

    async def set_label(self, label: str) -> None:
        """Name the weights that it has now."""
        await self._post("/update_weight_version", {"new_version": label})

    async def label(self) -> str:
        """The name of the weights that it has."""
        return str((await self._get("/weight_info"))["weight_version"])

    # adapters

    async def load_adapter(self, name: str, folder: str) -> None:
        """Read an adapter in peft's format; requests use it by its name."""
        await self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": folder})

    async def unload_adapter(self, name: str) -> None:
        """Drop an adapter; unknown ones are ignored."""
        with suppress(BackendError):
            await self._post("/v1/unload_lora_adapter", {"lora_name": name})

    async def adapters(self) -> Mapping[str, str]:
        """The folders of the adapters that it has, by name."""
        found = (await self._get("/v1/models"))["data"]
        return {one["id"]: str(one.get("root")) for one in found if one.get("parent")}

    # from GPU to GPU

    async def world_size(self) -> int:
        """How many GPUs it has."""
        return int((await self._get("/get_world_size"))["world_size"])

    async def join_transfer(self, info: Mapping[str, Any]) -> None:
        """Join a group that sends weights; returns when all members have."""
        await self._post("/init_weight_transfer_engine", {"init_info": dict(info)})

    async def leave_transfer(self) -> None:
        """Leave the group."""
        await self._post("/shutdown_weight_transfer_engine", {})

    async def begin_transfer(self) -> None:
        """Get ready for weights."""
        await self._post("/start_weight_update", {})

    async def receive(self, info: Mapping[str, Any]) -> None:
        """Receive weights that are being sent; returns when all are there."""
        await self._post("/update_weights", {"update_info": dict(info)})

    async def end_transfer(self, label: str) -> None:
        """Use the weights that came, under a name."""
        await self._post("/finish_weight_update", {"weight_version": label})

    async def _get(self, path: str) -> Any:
        return await self._ask("GET", path)

    async def _post(self, path: str, body: Mapping[str, Any], params: Mapping[str, str] | None = None) -> Any:
        return await self._ask("POST", path, json=body, params=params)

    async def _ask(self, method: str, path: str, **request: Any) -> Any:
        try:
            response = await self._client.request(method, self.url + path, **request)
        except httpx2.HTTPError as error:
            raise ServerUnreachable(
                one_line(f"{self.url} does not answer: {type(error).__name__} {error}"),
                hint="is the server running? look at its log",
            ) from error
        if response.status_code < 300:
            return response.json() if response.content.strip().startswith((b"{", b"[")) else None
        raise self._refusal(path, response)

    def _refusal(self, path: str, response: httpx2.Response) -> BackendError:
        status, message = response.status_code, words(response.text)
        if status in _BUSY:
            return ServerUnreachable(f"{self.url}{path} cannot answer now: {status} {message}")
        if path == "/inference/v1/generate" and "does not exist" in message:
            return UnknownModel(f"{self.url}: {message}")
        if status == httpx2.codes.NOT_FOUND and (not message or message == "Not Found"):
            needed = next((needed for start, needed in _NEEDED.items() if path.startswith(start)), None)
            return BackendError(
                f"{self.url} has no {path}",
                hint=f"start it with {needed or 'VLLM_SERVER_DEV_MODE=1 in its environment'}",
            )
        if status == httpx2.codes.UNAUTHORIZED:
            return BackendError(f"{self.url} wants a key", hint="give `sampler.api_key`, as ${env:NAME}")
        return BackendError(f"{self.url}{path}: {status} {message}", hint="look at the server's log")
