"""What others do with the same weights and tokens: transformers' samplers, and an update that shares nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

Rows = list[list[int]]


def load(folder: Path) -> Any:
    """The model as transformers loads it, in float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def generate(model: Any, prompts: Sequence[Sequence[int]], new_tokens: int) -> Rows:
    """Greedy tokens by `generate`, all rows at once."""
    ids = torch.tensor([list(prompt) for prompt in prompts])
    with torch.inference_mode():
        found = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, do_sample=False, eos_token_id=None,
            pad_token_id=0,
        )  # fmt: skip
    rows: Rows = found[:, ids.shape[1] :].tolist()
    return rows


def continuous_batching(model: Any, prompts: Sequence[Sequence[int]], new_tokens: int) -> Rows:
    """Greedy tokens by transformers' continuous batching, its prefixes shared, its cache as large as is needed."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    page = 32
    blocks = len(prompts) * (-(-(len(prompts[0]) + new_tokens) // page) + 1)
    found = model.generate_batch(
        inputs=[list(prompt) for prompt in prompts],
        generation_config=GenerationConfig(
            max_new_tokens=new_tokens, do_sample=False, eos_token_id=-1, pad_token_id=0, use_cache=True
        ),
        continuous_batching_config=ContinuousBatchingConfig(page_size=page, num_blocks=blocks),
        progress_bar=False,
    )
    # results come by request, named in the order in which they were added
    ordered = sorted(found.values(), key=lambda output: int("".join(c for c in output.request_id if c.isdigit())))
    return [list(output.generated_tokens) for output in ordered]


def unshared_update(
    model: Any, prompts: Sequence[Sequence[int]], completions: Rows, advantages: Sequence[float]
) -> int:
    """Gradients of the mean of advantage times log-probability, whole sequences at a time; the trained tokens.

    The output projection is kept to the completions' positions, as a careful trainer does it.
    """
    model.zero_grad()
    ids = torch.tensor([[*prompt, *row] for prompt, row in zip(prompts, completions, strict=True)])
    start, count = len(prompts[0]), len(completions[0])
    logits = model(input_ids=ids[:, :-1], use_cache=False, logits_to_keep=count).logits
    log_probs = torch.log_softmax(logits.float(), dim=-1).gather(-1, ids[:, start:].unsqueeze(-1)).squeeze(-1)
    (-(log_probs * torch.tensor(advantages).unsqueeze(1)).sum() / log_probs.numel()).backward()
    return log_probs.numel()


def in_groups(
    update: Callable[..., int], model: Any, size: int, prompts: Any, completions: Rows, advantages: Any
) -> int:
    """An unshared update, `size` sequences at a time, so that memory suffices; gradients add up."""
    kept: dict[str, torch.Tensor] = {}
    total = sum(map(len, completions))
    for start in range(0, len(prompts), size):
        part = slice(start, start + size)
        count = update(model, prompts[part], completions[part], advantages[part])
        for name, parameter in model.named_parameters():
            share = parameter.grad * (count / total)
            kept[name] = kept[name] + share if name in kept else share
    for name, parameter in model.named_parameters():
        parameter.grad = kept[name]
    return total
