"""The peers' work on the same weights and tokens: transformers' samplers, and an update that shares nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from ours import kept_gradients
from shape import Shape

Rows = list[list[int]]


@cache
def load(folder: Path, threads: int | None, dtype: str = "float32", device: str = "cpu") -> Any:
    """The model as transformers loads it, once in a process."""
    from transformers import AutoModelForCausalLM

    if threads is not None:
        torch.set_num_threads(threads)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device).eval()


class Generate:
    """Greedy tokens by `generate`, all rows at once; `implementation` is that of its cache, such as "static"."""

    def __init__(
        self, folder: Path, shape: Shape, threads: int | None, implementation: str | None = None, **placed: str
    ) -> None:
        self._model = load(folder, threads, **placed)
        self._ids = torch.tensor(shape.prompts_apart(self._model.config.vocab_size), device=self._model.device)
        self._shape, self._cache = shape, implementation

    def __call__(self) -> dict[str, Any]:
        with torch.inference_mode():
            found = self._model.generate(
                self._ids, attention_mask=torch.ones_like(self._ids), max_new_tokens=self._shape.completion,
                do_sample=False, eos_token_id=None, pad_token_id=0, cache_implementation=self._cache,
            )  # fmt: skip
        output: Rows = found[:, self._ids.shape[1] :].tolist()
        return {"tokens": sum(map(len, output)), "output": output}


class ContinuousBatching:
    """Greedy tokens by transformers' continuous batching, its prefixes shared, its cache as large as is needed."""

    def __init__(self, folder: Path, shape: Shape, threads: int | None, **placed: str) -> None:
        self._model = load(folder, threads, **placed)
        self._prompts, self._shape = shape.prompts_apart(self._model.config.vocab_size), shape

    def __call__(self) -> dict[str, Any]:
        from transformers import ContinuousBatchingConfig, GenerationConfig

        page, new_tokens = 32, self._shape.completion
        blocks = len(self._prompts) * (-(-(len(self._prompts[0]) + new_tokens) // page) + 1)
        found = self._model.generate_batch(
            inputs=self._prompts,
            generation_config=GenerationConfig(
                max_new_tokens=new_tokens, do_sample=False, eos_token_id=-1, pad_token_id=0, use_cache=True
            ),
            continuous_batching_config=ContinuousBatchingConfig(page_size=page, num_blocks=blocks),
            progress_bar=False,
        )
        # results come by request, named in the order in which they were added
        ordered = sorted(found.values(), key=lambda done: int("".join(c for c in done.request_id if c.isdigit())))
        output = [list(done.generated_tokens) for done in ordered]
        return {"tokens": sum(map(len, output)), "output": output}


class UnsharedUpdate:
    """Gradients of the mean of advantage times log-probability, whole sequences at a time, a group at once.

    The output projection is kept to the completions' positions, as a careful trainer does it.
    """

    def __init__(
        self, folder: Path, shape: Shape, threads: int | None, keep: Path | None = None, **placed: str
    ) -> None:
        self._model = load(folder, threads, **placed)
        vocabulary = self._model.config.vocab_size
        self._prompts, self._shape, self._keep = shape.prompts(vocabulary), shape, keep
        self._tokens, self._advantages = shape.completions(vocabulary)

    def __call__(self) -> dict[str, Any]:
        self._model.zero_grad()
        size = self._shape.group
        for start in range(0, len(self._prompts), size):
            part = slice(start, start + size)
            self._backward(self._prompts[part], self._tokens[part], self._advantages[part])
        tokens = len(self._prompts) * self._shape.completion
        return {"tokens": tokens, **kept_gradients(self._model, self._keep)}

    def _backward(self, prompts: Rows, rows: Rows, advantages: Sequence[float]) -> None:
        count = self._shape.completion
        device = self._model.device
        ids = torch.tensor([[*prompt, *row] for prompt, row in zip(prompts, rows, strict=True)], device=device)
        logits = self._model(input_ids=ids[:, :-1], use_cache=False, logits_to_keep=count).logits
        targets = ids[:, -count:].unsqueeze(-1)
        log_probs = torch.log_softmax(logits.float(), dim=-1).gather(-1, targets).squeeze(-1)
        loss = -(log_probs * torch.tensor(advantages, device=device).unsqueeze(1)).sum()
        (loss / (len(self._prompts) * count)).backward()
