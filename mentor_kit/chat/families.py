"""Families of models by their call syntax, and how a template's family is found.

No family is looked up by a model's name. A template writes a call, and the first family whose parser reads it back is
the one; so fine-tuned and later models get their parser, too.

Families are components of plugins (`register_families`). Those of other plugins are tried first, then ours, in the
order of `BUILT_IN`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mentor_kit.chat.forms import FORMS, Form
from mentor_kit.chat.harmony import HarmonyParser
from mentor_kit.chat.markup import MarkupParser, Syntax
from mentor_kit.chat.parsing import BareJsonParser, HermesParser, Parser
from mentor_kit.chat.pythonic_values import GEMMA, PYTHONIC
from mentor_kit.chat.syntaxes import DEEPSEEK, FUNCTION_XML, KEY_VALUE_XML, MISTRAL, PHI
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import BuildContext, Registry


@dataclass(frozen=True)
class ServerParsers:
    """The names that servers have for the parser of a family's calls; empty where a server has none."""

    vllm: str = ""
    """vLLM's `--tool-call-parser`."""
    sglang: str = ""
    """SGLang's `--tool-call-parser`."""
    mlx_lm: str = ""
    """mlx-lm's `tool_parser_type` in tokenizer_config.json, for templates that it does not know."""
    transformers: Mapping[str, Json] | None = None
    """The `tool_calls` field of a response template, which transformers reads calls by; None where it has no form for
    them, or knows the models."""
    note: str = ""
    """A caveat, in one line."""


#: Calls as JSON between two marks, as transformers' response templates describe them.
_JSON_CALLS: Mapping[str, Json] = {
    # the line break before a call is no content
    "open_pattern": r"\s*<tool_call>",
    "close": "</tool_call>",
    "repeats": True,
    "content": "json",
    "transform": {"type": "function", "function": "{content}"},
}


@dataclass(frozen=True)
class Family:
    """Models that write calls alike."""

    name: str
    models: str
    """Which ones are known to."""
    parser: Callable[[bool], Parser]
    """Makes the parser; its argument is whether the prompt ends with the opening mark of reasoning."""
    form: Form | None = None
    """Their syntax, for audits of rewards (`mentorkit audit`) and the term `format`; the built-in ones have theirs in
    `mentor_kit.chat.forms`."""

    served: ServerParsers = ServerParsers()
    """The servers' names of the parser, for the commands that `mentorkit export` prints."""

    @property
    def written(self) -> Form | None:
        """Their syntax; None where the family has none."""
        return self.form or FORMS.get(self.name)


def _of(syntax: Syntax, think: tuple[str, str] | None = None) -> Callable[[bool], Parser]:
    def make(in_reasoning: bool) -> Parser:
        if think is None:
            return MarkupParser(syntax, in_reasoning=in_reasoning)
        return MarkupParser(syntax, think, in_reasoning)

    return make


#: The built-in families, in the order in which they are tried.
BUILT_IN: tuple[Family, ...] = (
    Family(
        "hermes",
        "Qwen2.5, Qwen3, SmolLM2, SmolLM3, Hermes",
        lambda thinking: HermesParser(in_reasoning=thinking),
        served=ServerParsers("hermes", "qwen25", "json_tools", _JSON_CALLS),
    ),
    Family(
        "llama-3",
        "Llama 3.1, 3.2, 3.3",
        lambda thinking: BareJsonParser(in_reasoning=thinking),
        served=ServerParsers("llama3_json", "llama3"),
    ),
    Family(
        "function-xml",
        "Qwen3.5, 3.6, 3.8, Nemotron 3",
        _of(FUNCTION_XML),
        served=ServerParsers("qwen3_coder", "qwen3_coder", "qwen3_coder"),
    ),
    Family("key-value-xml", "GLM-4.5, 4.6", _of(KEY_VALUE_XML), served=ServerParsers("glm45", "glm45", "glm47")),
    Family(
        "mistral",
        "Mistral, Ministral, Magistral",
        _of(MISTRAL, ("[THINK]", "[/THINK]")),
        served=ServerParsers("mistral", "mistral", "mistral"),
    ),
    Family(
        "deepseek",
        "DeepSeek V3, V3.1, R1",
        _of(DEEPSEEK),
        served=ServerParsers(
            "deepseek_v31", "deepseekv31", note="for DeepSeek V3 and R1: deepseek_v3 (vLLM), deepseekv3 (SGLang)"
        ),
    ),
    Family(
        "gemma-4",
        "Gemma 4",
        _of(GEMMA, ("<|channel>thought", "<channel|>")),
        served=ServerParsers("gemma4", "gemma4", "gemma4"),
    ),
    Family("lfm-2", "LFM2.5", _of(PYTHONIC), served=ServerParsers("lfm2", "lfm2", "pythonic")),
    Family("phi-4", "Phi-4-mini", _of(PHI), served=ServerParsers("phi4_mini_json")),
    Family("harmony", "gpt-oss", lambda thinking: HarmonyParser(), served=ServerParsers("openai", "gpt-oss")),
)


def families(registry: Registry | None = None) -> tuple[Family, ...]:
    """All families, in the order in which they are tried.

    Args:
        registry: the plugins to ask; those of this environment if left out.

    Raises:
        PluginError: a plugin builds something else than a `Family`, or two plugins have one of the same name.
    """
    registry = registry or default_registry()
    ordered = sorted(registry.in_order("families"), key=lambda component: registry.is_built_in(component.owner))
    specs = (ComponentSpec(use=component.name) for component in ordered)
    return tuple(registry.build("families", spec, BuildContext(registry), base=Family) for spec in specs)


def all_marks(registry: Registry | None = None) -> tuple[str, ...]:
    """The marks of all families, those of plugins among them; `registry` as for `families`."""
    known = [*FORMS.values(), *(family.form for family in families(registry) if family.form is not None)]
    # a mark within another mark is not searched twice
    return tuple(sorted({mark for form in known for mark in form.all_marks if len(mark) > 2}))
