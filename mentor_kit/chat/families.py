"""Families of models: who writes calls in which form. The one table to look at, and to add to.

Nothing is looked up by a model's name. A template is asked to write a call, and the first family whose parser reads it
back is the one; so models that were tuned by others, and those that come later, find their parser too.

A plugin adds a family of its own in its module:

    from mentor_kit.chat.families import Family, add

    add(Family("mine", "Mine 1 and 2", lambda in_reasoning: MyParser(in_reasoning)))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mentor_kit.chat.forms import FORMS, Form
from mentor_kit.chat.harmony import HarmonyParser
from mentor_kit.chat.markup import MarkupParser, Syntax
from mentor_kit.chat.parsing import BareJsonParser, HermesParser, Parser
from mentor_kit.chat.pythonic_values import GEMMA, PYTHONIC
from mentor_kit.chat.syntaxes import DEEPSEEK, FUNCTION_XML, KEY_VALUE_XML, MISTRAL, PHI
from mentor_kit.core.errors import PluginError


@dataclass(frozen=True)
class Family:
    """Models that write calls alike."""

    name: str
    models: str
    """Which ones are known to."""
    parser: Callable[[bool], Parser]
    """Makes the parser; told whether the prompt ends with the opening mark of reasoning."""
    form: Form | None = None
    """How they write, for audits of rewards (`mentorkit audit`) and the term `format`; those here have theirs in
    `mentor_kit.chat.forms`."""

    @property
    def written(self) -> Form | None:
        """How they write; None where nobody said."""
        return self.form or FORMS.get(self.name)


def _of(syntax: Syntax, think: tuple[str, str] | None = None) -> Callable[[bool], Parser]:
    def make(in_reasoning: bool) -> Parser:
        if think is None:
            return MarkupParser(syntax, in_reasoning=in_reasoning)
        return MarkupParser(syntax, think, in_reasoning)

    return make


_FAMILIES: list[Family] = [
    Family("hermes", "Qwen2.5, Qwen3, SmolLM2, SmolLM3, Hermes", lambda thinking: HermesParser(in_reasoning=thinking)),
    Family("llama-3", "Llama 3.1, 3.2, 3.3", lambda thinking: BareJsonParser(in_reasoning=thinking)),
    Family("function-xml", "Qwen3.5, 3.6, 3.8, Nemotron 3", _of(FUNCTION_XML)),
    Family("key-value-xml", "GLM-4.5, 4.6", _of(KEY_VALUE_XML)),
    Family("mistral", "Mistral, Ministral, Magistral", _of(MISTRAL, ("[THINK]", "[/THINK]"))),
    Family("deepseek", "DeepSeek V3, V3.1, R1", _of(DEEPSEEK)),
    Family("gemma-4", "Gemma 4", _of(GEMMA, ("<|channel>thought", "<channel|>"))),
    Family("lfm-2", "LFM2.5", _of(PYTHONIC)),
    Family("phi-4", "Phi-4-mini", _of(PHI)),
    Family("harmony", "gpt-oss", lambda thinking: HarmonyParser()),
]


def families() -> tuple[Family, ...]:
    """All of them, in the order in which they are tried."""
    return tuple(_FAMILIES)


def add(family: Family) -> None:
    """Add one; it is tried before those that are there. The same one may be added again.

    Raises:
        PluginError: another one has that name.
    """
    if family in _FAMILIES:
        return
    if any(known.name == family.name for known in _FAMILIES):
        raise PluginError(f"there is a family of models {family.name!r} already", hint="give yours another name")
    _FAMILIES.insert(0, family)


def all_marks() -> tuple[str, ...]:
    """The marks of all families, those added by plugins among them."""
    known = [*FORMS.values(), *(family.form for family in families() if family.form is not None)]
    # what stands in a mark of its own need not be looked for twice
    return tuple(sorted({mark for form in known for mark in form.all_marks if len(mark) > 2}))
