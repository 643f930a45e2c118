"""The commands that serve a student elsewhere name the parser of the family that its template writes."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from chat_tokenizers import HERMES, LLAMA3, make_format

from mentor_kit.chat.families import BUILT_IN
from mentor_kit.chat.serving import ServedExport, serving_commands

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


def commands(export: ServedExport, template: str) -> dict[str, list[str]]:
    return {made.program: shlex.split(made.command) for made in serving_commands(export, make_format(template))}


@pytest.mark.parametrize(("template", "vllm", "sglang"), CASES)
def test_the_parser_is_the_familys(template: str, vllm: str, sglang: str) -> None:
    folder = Path("/tmp/my student")
    found = commands(ServedExport(folder), template)
    assert found["vLLM"] == [
        *["vllm", "serve", str(folder), "--enable-auto-tool-choice", "--tool-call-parser", vllm],
    ]
    assert found["SGLang"][-3:] == [str(folder), "--tool-call-parser", sglang]
    assert ("mlx-lm" in found) == (template == HERMES)
    assert found["llama.cpp"][-1] == "--jinja"


@pytest.mark.parametrize(("rank", "room"), [(8, None), (16, None), (17, "32"), (64, "64"), (500, "512")])
def test_an_adapter_is_served_beside_its_base_model(rank: int, room: str | None) -> None:
    """vLLM takes `--lora-modules NAME=PATH`, and has room for rank 16 unless `--max-lora-rank` says more."""
    found = commands(ServedExport(Path("an adapter"), "adapter", "owner/base", rank), HERMES)
    assert found.keys() == {"vLLM", "SGLang"}
    assert found["vLLM"][:3] == ["vllm", "serve", "owner/base"]
    options = dict(zip(found["vLLM"], found["vLLM"][1:], strict=False))
    assert (options["--lora-modules"], options["--tokenizer"]) == ("student=an adapter", "an adapter")
    assert options.get("--max-lora-rank") == room
    assert options["--tool-call-parser"] == "hermes"


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("mlx", "mlx_lm.server --model here"),
        ("mlx-adapter", "mlx_lm.server --model owner/base --adapter-path here"),
        ("gguf", "llama-server -m here --jinja"),
    ],
)
def test_other_formats_have_one_program(kind: str, command: str) -> None:
    (found,) = serving_commands(ServedExport("here", kind, "owner/base"), make_format(HERMES))
    assert found.command == command


def test_a_model_on_the_hub_is_no_folder_to_convert() -> None:
    assert "llama.cpp" not in commands(ServedExport("owner/name"), HERMES)


def test_every_family_names_parsers_that_servers_have() -> None:
    assert {family.name: family.served.vllm for family in BUILT_IN} == VLLM
    assert {family.name: family.served.sglang for family in BUILT_IN if family.served.sglang} == SGLANG
