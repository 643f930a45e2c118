"""What judges adapters on any backend: peft and transformers, on one short text."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup

IDS = np.array([5, 9, 33, 71, 7, 30, 44, 2], dtype=np.int64)
LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head", "embed_tokens"]


def of_policy(policy: Any) -> np.ndarray:
    completion = TokenCompletion(IDS[1:], np.ones(7, np.float32), np.zeros(7, np.float32))
    ((found,),) = policy.log_probs([TokenGroup(prompt_ids=IDS[:1], completions=(completion,))])
    return found


@torch.no_grad()
def of_model(model: Any) -> np.ndarray:
    logits = model.eval()(torch.tensor(IDS[None])).logits[0, :-1].log_softmax(-1)
    return logits[torch.arange(7), torch.tensor(IDS[1:])].float().numpy()


def by_peft(base: Path, folder: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", ".*missing adapter keys.*")
        return of_model(PeftModel.from_pretrained(of_folder(base), str(folder)))


def of_folder(folder: Path) -> Any:
    """The model that transformers loads for language, or else for pictures too."""
    try:
        return AutoModelForCausalLM.from_pretrained(folder)
    except ValueError:
        return AutoModelForImageTextToText.from_pretrained(folder)


def random_targets(seed: int) -> tuple[str, ...]:
    """Some of the layers."""
    generator = random.Random(seed)
    return tuple(generator.sample(LAYERS, generator.randint(1, 4)))
