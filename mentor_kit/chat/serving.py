"""The commands that serve a student to other programs, with the parser of its tool calls."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from mentor_kit.chat.format import ChatFormat


@dataclass(frozen=True)
class ServingCommand:
    """A command of another program that serves a folder in transformers' format, by the API of OpenAI."""

    program: str
    command: str
    note: str = ""
    """A caveat, in one line."""


def serving_commands(folder: Path, format: ChatFormat) -> tuple[ServingCommand, ...]:
    """The commands that serve a student so that its calls arrive as calls; servers without its parser are left out.

    Names of parsers are those of vLLM 0.22, SGLang 0.5 and mlx-lm 0.32. llama.cpp finds the parser from the template.
    """
    place = shlex.quote(str(folder))
    weights = shlex.quote(f"{folder}.gguf")
    found = []
    family = format.family
    if family is not None and family.served.vllm:
        command = f"vllm serve {place} --enable-auto-tool-choice --tool-call-parser {family.served.vllm}"
        found.append(ServingCommand("vLLM", command, family.served.note))
    if family is not None and family.served.sglang:
        command = f"python -m sglang.launch_server --model-path {place} --tool-call-parser {family.served.sglang}"
        found.append(ServingCommand("SGLang", command))
    if family is not None and family.served.mlx_lm:
        note = f'where calls stay text: "tool_parser_type": "{family.served.mlx_lm}" in tokenizer_config.json'
        found.append(ServingCommand("mlx-lm", f"mlx_lm.server --model {place}", note))
    if format.tokenizer.has_response_template or (family is not None and family.name in _TRANSFORMERS):
        note = "" if format.tokenizer.has_response_template else "it reads calls of Qwen and Gemma models"
        found.append(ServingCommand("transformers", f"transformers serve {place}", note))
    command = f"python convert_hf_to_gguf.py {place} --outfile {weights} && llama-server -m {weights} --jinja"
    found.append(ServingCommand("llama.cpp", command, "convert_hf_to_gguf.py is in its repository"))
    return tuple(found)


#: Families of which transformers' server reads the calls of some models.
_TRANSFORMERS = frozenset({"hermes", "function-xml", "gemma-4"})
