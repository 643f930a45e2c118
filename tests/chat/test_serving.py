"""The commands that serve a student elsewhere name the parser of the family that its template writes."""

from __future__ import annotations

import json
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from chat_tokenizers import HERMES, LLAMA3, make_format
from family_formats import SAMPLES, format_of
from transformers.utils.chat_parsing import parse_response

from mentor_kit.chat import load_chat_format
from mentor_kit.chat.families import BUILT_IN
from mentor_kit.chat.serving import ServedExport, name_parsers, response_template, served_export, serving_commands
from mentor_kit.core.conversation import Message, ToolResult, assistant, call, tool_result, user
from mentor_kit.core.tool import Tool

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


@pytest.mark.parametrize(
    "turn",
    [
        assistant("Words.", calls=[call("note", text="a </b> {c}", on=True)]),
        assistant(calls=[call("note", text="a"), call("note", text="b", n=[1, {"x": None}])]),
        assistant("Only words,\nof two lines."),
        assistant("So it is.", reasoning="Let me see.", calls=[call("note", text="a")]),
    ],
    ids=["both", "two calls", "words", "reasoning"],
)
def test_transformers_reads_an_export_as_it_was_written(tmp_path: Path, turn: Message) -> None:
    """`transformers serve` reads turns by the tokenizer's response template, of whatever architecture the model is."""
    from transformers import AutoTokenizer

    chat = make_format(HERMES)
    chat.tokenizer.save(tmp_path)
    name_parsers(tmp_path, chat)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    if turn.reasoning:
        written = f"<think>\n{turn.reasoning}\n</think>\n" + chat.tokenizer.decode(
            chat.render_turn(turn.model_copy(update={"reasoning": ""}))
        )
    else:
        written = chat.tokenizer.decode(chat.render_turn(turn))
    found = loaded.parse_response(written, prefix=chat.tokenizer.decode(chat.open([user("Q")], {})))
    assert found.get("content", "").strip() == turn.content
    assert found.get("reasoning_content", "").strip() == turn.reasoning
    assert [(made["function"]["name"], made["function"]["arguments"]) for made in found.get("tool_calls", [])] == [
        (made.name, dict(made.arguments)) for made in turn.tool_calls
    ]
    # and mentor-kit reads it by the family, as before
    again = load_chat_format(tmp_path)
    assert again.family is not None
    assert again.family.name == "hermes"


@pytest.mark.parametrize("name", [sample.name for sample in SAMPLES if sample.family == "hermes"])
def test_transformers_reads_a_later_turn_without_the_dialogue_before_it(name: str) -> None:
    """The server parses prompt and answer together: what stands before the answer must not be read again."""
    chat = format_of(name)
    assert chat.family is not None
    assert chat.family.served.transformers is not None
    template = response_template(chat, chat.family.served.transformers)
    tools = {"note": Tool.declared("note", "", {"type": "object", "properties": {"text": {"type": "string"}}})}
    noted, more = [assistant(calls=[call("note", text=text)]) for text in ("first", "second")]
    result = [tool_result(ToolResult(name="note", content="done"))]
    prompt = chat.open([user("Another question")], tools)
    for turn, call_texts, words in [(noted, ["first"], ""), (more, ["second"], ""), (assistant("So."), [], "So.")]:
        said = chat.render_turn(turn, tools)
        found = parse_response(chat.tokenizer.decode(said), template, prefix=chat.tokenizer.decode(prompt))
        assert [made["function"]["arguments"]["text"] for made in found.get("tool_calls", [])] == call_texts
        assert found.get("content", "").strip() == words
        prompt = [*prompt, *said, *chat.bridge(result, tools=tools)]


def test_the_parser_of_mlx_lm_is_one_that_it_has(tmp_path: Path) -> None:
    pytest.importorskip("mlx_lm")
    chat = make_format(HERMES)
    chat.tokenizer.save(tmp_path)
    name_parsers(tmp_path, chat)
    named = json.loads((tmp_path / "tokenizer_config.json").read_text())["tool_parser_type"]
    parse = import_module(f"mlx_lm.tool_parsers.{named}").parse_tool_call
    assert parse('\n{"name": "note", "arguments": {"text": "a"}}\n') == {"name": "note", "arguments": {"text": "a"}}


def test_what_a_tokenizer_says_itself_stays(tmp_path: Path) -> None:
    chat = make_format(HERMES)
    own = {"tool_parser_type": "mine", "response_template": {"fields": {}}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(own))
    name_parsers(tmp_path, chat)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == own


@pytest.mark.parametrize(("kind", "is_read"), [("qwen3_5_text", False), ("qwen3", True)])
def test_mlx_lm_serves_the_types_that_it_loads(kind: str, is_read: bool, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    assert ("mlx-lm" in commands(served_export(tmp_path, "transformers"), HERMES)) == is_read
    assert "mlx-lm" in commands(served_export(tmp_path, "mlx"), HERMES)
