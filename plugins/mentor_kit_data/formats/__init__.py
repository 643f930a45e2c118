"""Formats of tool-use data: what public data sets look like, read as dialogues and written from them.

`BUILT_IN` lists them in the order in which a file's format is looked for.
"""

from __future__ import annotations

from mentor_kit.core.data_format import DataFormat
from mentor_kit_data.formats.openai_messages import OpenAIFormat, TRLFormat
from mentor_kit_data.formats.sharegpt import ShareGPTFormat

#: The formats with their names, and a line about each.
BUILT_IN: tuple[tuple[str, type[DataFormat], str], ...] = (
    ("trl", TRLFormat, "messages and tools as TRL, transformers and mlx-lm have them; arguments are records"),
    ("openai", OpenAIFormat, "messages and tools as OpenAI's API has them; arguments are JSON strings"),
    ("sharegpt", ShareGPTFormat, "conversations of human, gpt, function_call and observation (LLaMA-Factory)"),
)
