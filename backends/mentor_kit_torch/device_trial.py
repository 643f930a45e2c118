"""A trial of a device: whether a small decoder samples and learns on it as on the CPU.

Apple's MPS runs other kernels than CUDA and the CPU. Some have been wrong without an error in one version of PyTorch or
macOS or another, so no student is put there untried.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM

from mentor_kit.backend.folders import first_line
from mentor_kit.backend.microbatching import micro_batches
from mentor_kit.backend.sampling import SampleRequest
from mentor_kit.backend.self_check import agree, trial_groups
from mentor_kit.backend.student import StudentSpec
from mentor_kit_torch.options import TorchOptions
from mentor_kit_torch.policy import TorchPolicy
from mentor_kit_torch.row_trial import row_abilities
from mentor_kit_torch.update import completion_log_probs, how_to_share

_VOCABULARY = 97
#: Prompts of several lengths, so that rows are padded and masked.
_PROMPTS = ((1, 2, 3), (1, 2, 3, 4, 5, 6, 7, 8, 9), (11,))
_NEW_TOKENS = 6


@cache
def device_fault(name: str) -> str:
    """Why a device is not to be trusted with a student; empty where its tokens and gradients are the CPU's.

    Args:
        name: PyTorch's name of it, such as `mps`.
    """
    expected = _outcome(torch.device("cpu"))
    try:
        found = _outcome(torch.device(name))
    except Exception as error:  # noqa: BLE001 (whatever the device raises, it cannot be used)
        return f"a small decoder fails: {type(error).__name__}: {first_line(error)}"
    wrong = [what for what, values in expected.items() if not agree(found[what], values, exact=True)]
    return f"a small decoder's {wrong[0]} differ from the CPU's" if wrong else ""


def _outcome(device: torch.device) -> dict[str, NDArray[Any]]:
    """What a small decoder gives on a device: greedy tokens and their log-probabilities, and an update's gradients."""
    policy = TorchPolicy(_decoder().to(device).eval(), StudentSpec("the device's trial"), TorchOptions())
    engine = policy.engine()
    for number, prompt in enumerate(_PROMPTS):
        engine.submit(_request(number, prompt))
    done = []
    while engine.busy:
        done += engine.step()
    done.sort(key=lambda completion: completion.id)
    (batch,) = micro_batches(trial_groups(_VOCABULARY), 1 << 20)
    log_probs = completion_log_probs(policy.lm, batch, how_to_share(policy.lm, row_abilities(policy.lm).keeps).sharing)
    torch.autograd.backward(log_probs.sum())
    gradients = [weight.grad.cpu().numpy().ravel() for weight in policy.model.parameters()]
    return {
        "tokens": np.array([completion.ids for completion in done]),
        "log-probabilities": np.concatenate(
            [*(completion.log_probs for completion in done), log_probs.detach().cpu().numpy().ravel()]
        ),
        "gradients": np.concatenate(gradients),
    }


def _decoder() -> LlamaForCausalLM:
    """A decoder of two layers with random weights, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=_VOCABULARY,
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=64,
                initializer_range=0.2,
            )
        )


def _request(number: int, prompt: tuple[int, ...]) -> SampleRequest:
    name = str(number)
    return SampleRequest(name, name, prompt, 0.0, _NEW_TOKENS, frozenset(), 0)
