"""The sampler `vllm`: a student's turns are sampled by vLLM servers, by their HTTP interface for RL.

    ServedPolicy ──publish──> VLLMService ──files, adapters, NCCL──> Fleet ──HTTP──> vLLM, one server or several
        └───────sampler─────> VLLMSampler ──tokens in, tokens out────────┘

Nothing here imports vLLM: servers run in environments of their own, elsewhere or started by the run.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.hooks import BuildContext, Register
    from mentor_kit_vllm.options import VLLMOptions
    from mentor_kit_vllm.service import VLLMService


@hookimpl
def register_samplers(register: Register) -> None:
    """Register `vllm`."""
    from mentor_kit_vllm.options import VLLMOptions, look_at_vllm

    register(
        "vllm",
        options=VLLMOptions,
        build=_vllm,
        look=look_at_vllm,
        available=_available,
        summary="vLLM servers, given or started by the run",
    )


def _available() -> str:
    if find_spec("httpx2") is not None:
        return ""
    return "the package httpx2 is not installed\ninstall: pip install 'mentor-kit[vllm]'"


def _vllm(options: VLLMOptions, context: BuildContext) -> VLLMService:
    from mentor_kit_vllm.service import VLLMService

    return VLLMService(options, context.recipe_folder)
