"""The commands that serve a student elsewhere name the parser of the family that its template writes."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from chat_tokenizers import HERMES, LLAMA3, make_format

from mentor_kit.chat.families import BUILT_IN
from mentor_kit.chat.serving import serving_commands

#: The values of vLLM's and SGLang's `--tool-call-parser` (vllm/tool_parsers/__init__.py, function_call_parser.py).
VLLM = {
    **{"hermes": "hermes", "llama-3": "llama3_json", "function-xml": "qwen3_coder", "key-value-xml": "glm45"},
    **{"mistral": "mistral", "deepseek": "deepseek_v31", "gemma-4": "gemma4", "lfm-2": "lfm2"},
    **{"phi-4": "phi4_mini_json", "harmony": "openai"},
}
SGLANG = {
    **{"hermes": "qwen25", "llama-3": "llama3", "function-xml": "qwen3_coder", "key-value-xml": "glm45"},
    **{"mistral": "mistral", "deepseek": "deepseekv31", "gemma-4": "gemma4", "lfm-2": "lfm2", "harmony": "gpt-oss"},
}


CASES = [(HERMES, "hermes", "qwen25"), (LLAMA3, "llama3_json", "llama3")]


@pytest.mark.parametrize(("template", "vllm", "sglang"), CASES)
def test_the_parser_is_the_familys(template: str, vllm: str, sglang: str) -> None:
    folder = Path("/tmp/my student")
    found = {made.program: shlex.split(made.command) for made in serving_commands(folder, make_format(template))}
    assert found["vLLM"] == [
        *["vllm", "serve", str(folder), "--enable-auto-tool-choice", "--tool-call-parser", vllm],
    ]
    assert found["SGLang"][-3:] == [str(folder), "--tool-call-parser", sglang]
    assert ("mlx-lm" in found) == (template == HERMES)
    assert found["llama.cpp"][-1] == "--jinja"


def test_every_family_names_parsers_that_servers_have() -> None:
    assert {family.name: family.served.vllm for family in BUILT_IN} == VLLM
    assert {family.name: family.served.sglang for family in BUILT_IN if family.served.sglang} == SGLANG
