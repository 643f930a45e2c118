"""Formats of tool-use data: what public data sets look like, read as dialogues and written from them.

`BUILT_IN` lists them in the order in which a file's format is looked for: special ones come before those that
read their rows, too.
"""

from __future__ import annotations

from mentor_kit.core.data_format import DataFormat
from mentor_kit_data.formats.demonstrations import MentorFormat
from mentor_kit_data.formats.openai_messages import OpenAIFormat, TRLFormat
from mentor_kit_data.formats.published import HermesFormat, ToolACEFormat
from mentor_kit_data.formats.sessions import SessionTraceFormat
from mentor_kit_data.formats.sharegpt import ShareGPTFormat
from mentor_kit_data.formats.toucan import ToucanFormat
from mentor_kit_data.formats.when2call import When2CallFormat
from mentor_kit_data.formats.xlam import XLAMFormat

#: The formats with their names, and a line about each.
BUILT_IN: tuple[tuple[str, type[DataFormat], str], ...] = (
    ("xlam", XLAMFormat, "query, tools and answers of xLAM and APIGen"),
    ("toolace", ToolACEFormat, "conversations of ToolACE, with the tools in the system message"),
    ("hermes", HermesFormat, "conversations of Hermes function-calling, with calls in tags"),
    ("toucan", ToucanFormat, "messages and available_tools of Toucan-1.5M, as JSON in strings"),
    ("when2call", When2CallFormat, "messages or questions of When2Call, whose answer may be to call nothing"),
    ("trl", TRLFormat, "messages and tools as TRL, transformers and mlx-lm have them; arguments are records"),
    ("openai", OpenAIFormat, "messages and tools as OpenAI's API has them; arguments are JSON strings"),
    ("sharegpt", ShareGPTFormat, "conversations of human, gpt, function_call and observation (LLaMA-Factory)"),
    ("sts", SessionTraceFormat, "sessions of the Hugging Face hub's trace viewer (Session Trace Simple Format)"),
    ("mentor", MentorFormat, "demonstrations, rollouts and evaluated episodes of mentor-kit"),
)
