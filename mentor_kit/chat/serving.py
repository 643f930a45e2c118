"""The commands that serve a student to other programs, with the parser of its tool calls."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mentor_kit.backend.adapters import ADAPTER_CONFIG
from mentor_kit.backend.base_model import BASE_KEY, is_hub_id
from mentor_kit.chat.families import ServerParsers
from mentor_kit.chat.format import ChatFormat
from mentor_kit.core.frozen_model import Json

#: Families of which transformers' server reads the calls of some models.
_TRANSFORMERS = frozenset({"function-xml", "gemma-4"})

#: Where mlx-lm looks for the name of a parser.
_TOKENIZER, _PARSER = "tokenizer_config.json", "tool_parser_type"

#: The ranks of adapters that vLLM makes room for, beyond its default of 16.
_RANKS = (16, 32, 64, 128, 256, 320, 512)


#: What commands call an adapter's base model that has no hub id.
UNNAMED = "BASE"


@dataclass(frozen=True)
class ServingCommand:
    """A command of another program that serves an exported student, by the API of OpenAI."""

    program: str
    command: str
    note: str = ""
    """A caveat, in one line."""


@dataclass(frozen=True)
class ServedExport:
    """An exported student, as commands name it."""

    place: str | Path
    """Its folder as a `Path`; or its hub id, or another name for it."""
    kind: str = "transformers"
    """The format of the export, as `Policy.export` takes it, or `gguf`; other formats have no commands."""
    base: str = UNNAMED
    """The folder or hub id of an adapter's base model."""
    rank: int = 16
    """An adapter's largest rank."""
    model_type: str = ""
    """The type of a whole model, by its configuration."""


#: Types of models that mlx-lm alone does not load in transformers' form; the format `mlx` has them in its own.
_NOT_OF_MLX_LM = (
    "falcon_h1",
    "gemma3n_text",
    "gpt_oss",
    "granitemoehybrid",
    "llama4_text",
    "qwen3_5_moe_text",
    "qwen3_5_text",
)
#: Formats of a whole model for mlx-lm.
WHOLE_MLX = ("mlx", "mlx-4bit", "mlx-8bit")


def served_export(folder: Path, kind: str, *, place: str | Path | None = None, base: str | None = None) -> ServedExport:
    """An exported folder, as commands name it; an adapter's rank is read from its configuration.

    Args:
        folder: the export.
        kind: its format.
        place: what commands call it; the folder if left out.
        base: an adapter's base model; the one that its configuration names if left out.
    """
    found = place or (next(folder.glob("*.gguf"), folder) if kind == "gguf" else folder)
    file = folder / ADAPTER_CONFIG
    if not file.is_file():
        return ServedExport(found, kind, model_type=_model_type(folder))
    config = json.loads(file.read_text(encoding="utf-8"))
    rank = max([int(config.get("r") or 0), *map(int, (config.get("rank_pattern") or {}).values())])
    return ServedExport(found, kind, base or str(config.get(BASE_KEY) or UNNAMED), rank)


def _model_type(folder: Path) -> str:
    """The type of model in a folder; empty where it has no configuration, as one file of GGUF."""
    file = folder / "config.json"
    return str(json.loads(file.read_text(encoding="utf-8")).get("model_type", "")) if file.is_file() else ""


def name_parsers(folder: Path, format: ChatFormat) -> None:
    """Write into a tokenizer's configuration how its student's calls are read, for servers that look there.

    mlx-lm and transformers know few templates by themselves. What the tokenizer says of its own stays.

    Args:
        folder: an export with its tokenizer.
        format: its chat format.
    """
    file, family = folder / _TOKENIZER, format.family
    if family is None or not file.is_file():
        return
    config = json.loads(file.read_text(encoding="utf-8"))
    if family.served.mlx_lm:
        config.setdefault(_PARSER, family.served.mlx_lm)
    if family.served.transformers is not None:
        config.setdefault("response_template", response_template(format, family.served.transformers))
    file.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def response_template(format: ChatFormat, calls: Mapping[str, Json]) -> dict[str, Json]:
    """The template by which transformers reads a student's turns.

    Args:
        format: the student's.
        calls: its field `tool_calls`.
    """
    think, end_think = format.reasoning_marks
    ends = "|".join(map(re.escape, sorted(format.stops)))
    return {
        "defaults": {"role": "assistant"},
        # a mark of reasoning at a prompt's end is read as the turn's beginning
        "start_anchor": [opening.partition(think)[0] or opening for opening in format.turn_openings],
        "fields": {
            "reasoning_content": {"open": think, "close": end_think, "content": "text"},
            "tool_calls": dict(calls),
            "content": {"close_pattern": rf"\s*(?:{ends})", "content": "text"},
        },
    }


def serving_commands(export: ServedExport, format: ChatFormat | None) -> tuple[ServingCommand, ...]:
    """The commands that serve a student so that its calls arrive as calls; servers without its parser are left out.

    Args:
        export: the student.
        format: its chat format; None for `gguf` alone.

    Names of parsers are those of vLLM 0.22, SGLang 0.5 and mlx-lm 0.32. llama.cpp finds the parser from the template.
    """
    if export.kind == "gguf":
        where = "-hf" if isinstance(export.place, str) and is_hub_id(export.place) else "-m"
        return (ServingCommand("llama.cpp", f"llama-server {where} {shlex.quote(str(export.place))} --jinja"),)
    family = None if format is None else format.family
    parsers = ServerParsers() if family is None else family.served
    place, base = shlex.quote(str(export.place)), shlex.quote(export.base)
    if export.kind == "transformers":
        own = format is not None and format.tokenizer.has_response_template
        reads_all = own or parsers.transformers is not None
        some = family is not None and family.name in _TRANSFORMERS
        weights = shlex.quote(f"{export.place}.gguf") if isinstance(export.place, Path) else None
        found = _whole(place, parsers, "" if reads_all else _SOME if some else None, weights)
        is_read = export.model_type not in _NOT_OF_MLX_LM
        return tuple(command for command in found if command.program != "mlx-lm" or is_read)
    if export.kind == "adapter":
        return tuple(_adapter(place, base, export.rank, parsers))
    if export.kind in WHOLE_MLX:
        return tuple(_mlx(f"--model {place}", parsers))
    if export.kind == "mlx-adapter":
        # the base model's tokenizer is served, which may not name the parser
        note = f'where calls stay text: "{_PARSER}": "{parsers.mlx_lm}" in the {_TOKENIZER} of the base model'
        return tuple(_mlx(f"--model {base} --adapter-path {place}", parsers, note))
    return ()


#: The caveat of transformers' server.
_SOME = "it reads calls of Qwen 3.5 and Gemma 4 models"


def _whole(
    place: str, parsers: ServerParsers, transformers: str | None, weights: str | None
) -> Iterator[ServingCommand]:
    """Servers of a whole model; `transformers` is the caveat of its own one, `weights` the file for llama.cpp."""
    if parsers.vllm:
        command = f"vllm serve {place} --enable-auto-tool-choice --tool-call-parser {parsers.vllm}"
        yield ServingCommand("vLLM", command, parsers.note)
    if parsers.sglang:
        command = f"python -m sglang.launch_server --model-path {place} --tool-call-parser {parsers.sglang}"
        yield ServingCommand("SGLang", command)
    yield from _mlx(f"--model {place}", parsers)
    if transformers is not None:
        yield ServingCommand("transformers", f"transformers serve {place}", transformers)
    if weights:
        command = f"python convert_hf_to_gguf.py {place} --outfile {weights} && llama-server -m {weights} --jinja"
        yield ServingCommand("llama.cpp", command, "convert_hf_to_gguf.py is in its repository")


def _adapter(place: str, base: str, rank: int, parsers: ServerParsers) -> Iterator[ServingCommand]:
    """Servers that load an adapter of peft beside its base model; the adapter's folder has tokenizer and template."""
    if parsers.vllm:
        room = next((found for found in _RANKS if found >= rank), rank)
        more = f" --max-lora-rank {room}" if room > _RANKS[0] else ""
        command = f"vllm serve {base} --tokenizer {place} --enable-lora --lora-modules student={place}{more}"
        parser = f"--enable-auto-tool-choice --tool-call-parser {parsers.vllm}"
        yield ServingCommand("vLLM", f"{command} {parser}", parsers.note or "the model's name is then `student`")
    if parsers.sglang:
        command = f"python -m sglang.launch_server --model-path {base} --tokenizer-path {place}"
        lora = f"--enable-lora --lora-paths student={place} --tool-call-parser {parsers.sglang}"
        yield ServingCommand("SGLang", f"{command} {lora}", "the model's name is then `student`")


def _mlx(where: str, parsers: ServerParsers, note: str = "") -> Iterator[ServingCommand]:
    if parsers.mlx_lm:
        yield ServingCommand("mlx-lm", f"mlx_lm.server {where}", note)
