"""The sampler `vllm`: a student's turns are sampled by vLLM servers, by their HTTP interface for RL.

    ServedPolicy ──publish──> VLLMService ──files, adapters, NCCL──> Fleet ──HTTP──> vLLM, one server or several
        └───────sampler─────> VLLMSampler ──tokens in, tokens out────────┘

Nothing here imports vLLM: servers run in environments of their own, elsewhere or started by the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl
from mentor_kit.hooks.references import missing_package

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
        available=lambda: missing_package("httpx2", "vllm"),
        summary="vLLM servers, given or started by the run",
    )


def _vllm(options: VLLMOptions, context: BuildContext) -> VLLMService:
    from mentor_kit_vllm.service import VLLMService

    return VLLMService(options, context.recipe_folder)
