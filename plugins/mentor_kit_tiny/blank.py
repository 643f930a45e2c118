"""A fresh tiny student: random weights of the Llama architecture, with its tokenizer, in transformers' format."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from mentor_kit_tiny.tokenizer import CONTEXT, build_tokenizer


def write_blank(folder: Path, seed: int) -> Path:
    """Write the student with the weights that `seed` gives; about 0.8 million parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=320,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    # transformers draws a progress bar while it writes
    with contextlib.redirect_stderr(io.StringIO()):
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
