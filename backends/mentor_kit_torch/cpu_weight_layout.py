"""The memory layout of weights and buffers on a CPU: no result depends on it, and much of the time does.

Linear layers multiply by the transpose of their weights (out, in). For the few rows of a sampling pass the product is
faster where the weights lie in memory as that transpose does, row by row of (in, out), and as fast for the many rows of
an update. So they are kept that way, and still seen as (out, in), in place of the others.

Buffers of many megabytes come from the operating system page by page, at each use anew. With Linux' large pages there
are hundreds of times fewer, which PyTorch asks for where its environment says so.

The table of tokens, by which the last product multiplies, stays as it is; for a few rows of hidden states that product
is faster block by block (`few_rows`).
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

#: The environment variable that PyTorch reads before its first allocation.
LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
#: The most rows of hidden states for which the layout is made.
FEW_ROWS = 12
#: Rows of an output projection in one block.
BLOCK = 256


def ask_for_large_pages() -> None:
    """From now on, unless the user said otherwise or PyTorch has allocated memory already; on Linux alone."""
    os.environ.setdefault(LARGE_PAGES, "1")


@torch.no_grad()
def lay_out(model: Any) -> None:
    """Lay out the weights of linear layers so that a CPU multiplies few rows by them fastest.

    Those that are embeddings too stay, as their rows are looked up; so do those of other types than float32 and of
    other devices, which have products of their own.
    """
    looked_up = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for module in model.modules():
        if type(module) is nn.Linear and id(module.weight) not in looked_up:
            weight = module.weight
            if weight.device.type == "cpu" and weight.dtype == torch.float32:
                weight.data = weight.data.t().contiguous().t()


def few_rows(hidden: Tensor, table: Tensor) -> Tensor | None:
    """Products (…, V) of few hidden states (…, width) with weights (V, width); None where another way is as fast."""
    count, blocks = hidden.shape[:-1].numel(), len(table) // BLOCK
    plain = hidden.device.type == "cpu" and hidden.dtype == table.dtype == torch.float32 and table.is_contiguous()
    if torch.is_grad_enabled() or not plain or not blocks or not 1 < count <= FEW_ROWS:
        return None
    flat, cut = hidden.reshape(count, -1), blocks * BLOCK
    whole = flat.expand(blocks, -1, -1) @ table[:cut].view(blocks, BLOCK, -1).transpose(1, 2)
    parts = [whole.transpose(0, 1).reshape(count, cut)]
    if cut < len(table):
        parts.append(flat @ table[cut:].t())
    return torch.cat(parts, dim=1).view(*hidden.shape[:-1], -1)
