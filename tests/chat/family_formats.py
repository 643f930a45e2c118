"""Chat formats with the families' real templates, read from the installed package `trl`.

No installed package carries Mistral's, DeepSeek V3.1's and Phi-4-mini's: those below are written to the published
formats, for the dialogues that tests lead. Where only a template is at hand, a tokenizer of bytes gets its marks as
special tokens.

Slow checks take the families' own tokenizers, and Mistral's own templates, where a package has them (`own_tokenizers`).
"""

from __future__ import annotations

import re
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import own_tokenizers
from chat_tokenizers import HERMES, make_tokenizer

from mentor_kit.chat import ChatFormat, TransformersTokenizer

MISTRAL_V3 = """{{- bos_token }}
{%- set system = messages[0].content if messages[0].role == 'system' else '' %}
{%- set said = messages[1:] if messages[0].role == 'system' else messages %}
{%- set ns = namespace(last=0) %}
{%- for message in said %}{%- if message.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}
{%- for message in said %}
    {%- if message.role == 'user' %}
        {%- if tools and loop.index0 == ns.last %}
            {{- '[AVAILABLE_TOOLS] ' + tools | tojson + '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {{- '[INST] ' + (system + '\\n\\n' if system and loop.last else '') + message.content + '[/INST]' }}
    {%- elif message.role == 'tool' %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content | tojson + ', "call_id": "' + message.tool_call_id }}
        {{- '"}[/TOOL_RESULTS]' }}
    {%- elif message.tool_calls %}
        {{- '[TOOL_CALLS] [' }}
        {%- for call in message.tool_calls %}
            {{- '{"name": "' + call.function.name + '", "arguments": ' + call.function.arguments | tojson }}
            {{- ', "id": "' + call.id + '"}' }}
            {{- '' if loop.last else ', ' }}
        {%- endfor %}
        {{- ']' + eos_token }}
    {%- else %}
        {{- ' ' + message.content + eos_token }}
    {%- endif %}
{%- endfor %}"""

MISTRAL_V11 = """{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'system' %}{{- '[SYSTEM_PROMPT]' + message.content + '[/SYSTEM_PROMPT]' }}{%- endif %}
    {%- if tools and loop.index0 == (1 if messages[0].role == 'system' else 0) %}
        {{- '[AVAILABLE_TOOLS]' + tools | tojson + '[/AVAILABLE_TOOLS]' }}
    {%- endif %}
    {%- if message.role == 'user' %}{{- '[INST]' + message.content + '[/INST]' }}{%- endif %}
    {%- if message.role == 'tool' %}{{- '[TOOL_RESULTS]' + message.content + '[/TOOL_RESULTS]' }}{%- endif %}
    {%- if message.role == 'assistant' %}
        {{- message.content }}
        {%- for call in message.tool_calls or [] %}
            {{- '[TOOL_CALLS]' + call.function.name + '[ARGS]' + call.function.arguments | tojson }}
        {%- endfor %}
        {{- eos_token }}
    {%- endif %}
{%- endfor %}"""

DEEPSEEK_V3_1 = """{{- bos_token }}
{%- if messages[0].role == 'system' %}{{- messages[0].content }}{%- endif %}
{%- if tools %}{{- '\\n\\n## Tools\\n' }}
    {%- for tool in tools %}{{- '\\n### ' + tool.function.name + '\\n' + tool.function | tojson + '\\n' }}{%- endfor %}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{{- '<｜User｜>' + message.content }}{%- endif %}
    {%- if message.role == 'assistant' %}
        {%- if messages[loop.index0 - 1].role == 'user' %}{{- '<｜Assistant｜></think>' }}{%- endif %}
        {{- message.content }}
        {%- if message.tool_calls %}{{- '<｜tool▁calls▁begin｜>' }}
            {%- for call in message.tool_calls %}
                {{- '<｜tool▁call▁begin｜>' + call.function.name + '<｜tool▁sep｜>' }}
                {{- call.function.arguments | tojson + '<｜tool▁call▁end｜>' }}
            {%- endfor %}
            {{- '<｜tool▁calls▁end｜>' }}
        {%- endif %}
        {{- '<｜end▁of▁sentence｜>' }}
    {%- endif %}
    {%- if message.role == 'tool' %}
        {{- '<｜tool▁output▁begin｜>' + message.content + '<｜tool▁output▁end｜>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt and messages[-1].role == 'user' %}{{- '<｜Assistant｜></think>' }}{%- endif %}"""

PHI_4_MINI = """{%- for message in messages %}
    {%- if message.role == 'assistant' and message.tool_calls %}
        {{- '<|assistant|>' + message.content + '<|tool_call|>[' }}
        {%- for call in message.tool_calls %}
            {{- '{"name": "' + call.function.name + '", "arguments": ' + call.function.arguments | tojson + '}' }}
            {{- '' if loop.last else ', ' }}
        {%- endfor %}
        {{- ']<|/tool_call|><|end|>' }}
    {%- elif message.role == 'tool' %}{{- '<|tool_response|>' + message.content + '<|end|>' }}
    {%- else %}
        {{- '<|' + message.role + '|>' + message.content }}
        {%- if tools and loop.first %}{{- '<|tool|>' + tools | tojson + '<|/tool|>' }}{%- endif %}
        {{- '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"""

WRITTEN = {
    "mistral_v3": MISTRAL_V3,
    "mistral_v11": MISTRAL_V11,
    "deepseek_v3_1": DEEPSEEK_V3_1,
    "phi_4_mini": PHI_4_MINI,
    "smollm": HERMES,
}

#: What a model may write, by the formats' own documents, and the calls in it.
PUBLISHED = {
    "hermes": '<tool_call>\n{"name": "divide", "arguments": {"a": 1, "b": 2}}\n</tool_call>',
    "llama-3": '{"name": "divide", "parameters": {"a": 1, "b": 2}}',
    "function-xml": (
        "<tool_call>\n<function=divide>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n2\n</parameter>\n"
        "</function>\n</tool_call>"
    ),
    "key-value-xml": (
        "<tool_call>divide\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n"
        "<arg_key>b</arg_key>\n<arg_value>2</arg_value>\n</tool_call>"
    ),
    "mistral": '[TOOL_CALLS] [{"name": "divide", "arguments": {"a": 1, "b": 2}, "id": "abcdefghi"}]',
    "deepseek": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>divide\n```json\n"
        '{"a": 1, "b": 2}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
    ),
    "gemma-4": "<|tool_call>call:divide{a:1,b:2}<tool_call|>",
    "lfm-2": "<|tool_call_start|>[divide(a=1, b=2)]<|tool_call_end|>",
    "phi-4": '<|tool_call|>[{"name": "divide", "arguments": {"a": 1, "b": 2}}]<|/tool_call|>',
    "harmony": (
        "<|channel|>analysis<|message|>Need to divide.<|end|><|start|>assistant<|channel|>commentary "
        'to=functions.divide <|constrain|>json<|message|>{"a": 1, "b": 2}'
    ),
}

_MARK = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|<\|[a-z_]+>|<[a-z_]+\|>|<｜[^<>]{1,30}｜>|</?(?:start|end)_of_turn>|\[/?[A-Z_]{3,}\]"
)


@dataclass(frozen=True)
class Sample:
    """A template and what is expected of it."""

    template: str
    family: str
    """The family's name in `mentor_kit.chat.families`; empty where the template shows no tools."""
    variables: dict[str, Any] = field(default_factory=dict)
    several: bool = True
    """Whether a turn may have several calls."""
    words: bool = True
    """Whether a turn may have words beside its calls."""
    tokenizer: str = ""
    """The family's own one, of `own_tokenizers.NAMES`; empty for a tokenizer of bytes."""

    @property
    def kind(self) -> str:
        """The template and its variables."""
        return "-".join([self.template, *(f"{key}={value}" for key, value in self.variables.items())])

    @property
    def name(self) -> str:
        return f"{self.kind}@{self.tokenizer}" if self.tokenizer else self.kind


SAMPLES = [
    Sample("smollm", "hermes"),
    Sample("qwen2_5", "hermes"),
    Sample("qwen3", "hermes"),
    Sample("qwen3", "hermes", {"enable_thinking": False}),
    Sample("qwen3_instruct_2507", "hermes"),
    Sample("qwen3_vl", "hermes"),
    Sample("qwen3_5_think", "function-xml"),
    Sample("qwen3_5_nothink", "function-xml"),
    Sample("qwen3_6", "function-xml"),
    Sample("qwen3_6", "function-xml", {"enable_thinking": False}),
    Sample("qwen3_8", "function-xml"),
    Sample("qwen3_8", "function-xml", {"enable_thinking": False}),
    Sample("nemotron_3_nano", "function-xml"),
    Sample("nemotron_3_super", "function-xml"),
    Sample("nemotron_3_ultra", "function-xml"),
    Sample("nemotron_3_5_lightning", "function-xml"),
    Sample("llama3_1", "llama-3", several=False, words=False),
    Sample("llama3_2", "llama-3", several=False, words=False),
    Sample("glm4moe", "key-value-xml"),
    Sample("mistral_v3", "mistral", words=False),
    Sample("mistral_v11", "mistral"),
    Sample("deepseek_v3_1", "deepseek"),
    *(Sample(f"gemma4{version}", "gemma-4") for version in ("", "_v2", "_v3", "_v4", "_v5")),
    Sample("lfm2_2_5", "lfm-2"),
    Sample("lfm2_2_5_v2", "lfm-2"),
    Sample("phi_4_mini", "phi-4"),
    Sample("gptoss", "harmony", several=False, words=False),
]
#: Which templates each of the families' own tokenizers goes with.
OWN_TOKENIZERS = {
    "qwen3": ("qwen2_5", "qwen3", "qwen3_instruct_2507", "qwen3_vl"),
    "qwen3_6": ("qwen3_5_think", "qwen3_5_nothink", "qwen3_6"),
    "llama3_1": ("llama3_1", "llama3_2"),
    "gptoss": ("gptoss",),
    "deepseek_v3": ("deepseek_v3_1",),
}
#: Slow, since packages have to be downloaded: own tokenizers, and Mistral's own templates.
OWN = [
    *(
        replace(sample, tokenizer=tokenizer)
        for tokenizer, templates in OWN_TOKENIZERS.items()
        for sample in SAMPLES
        if sample.template in templates
    ),
    *(Sample(name, "mistral", words=False, tokenizer=name) for name in own_tokenizers.MISTRAL),
    *(Sample(name, "mistral", words=False) for name in own_tokenizers.TEMPLATES if name not in own_tokenizers.MISTRAL),
]


def template_text(name: str) -> str:
    if name in WRITTEN:
        return WRITTEN[name]
    if name in own_tokenizers.TEMPLATES:
        return own_tokenizers.template(name)
    spec = find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


@cache
def format_of(sample_name: str) -> ChatFormat:
    sample = next(found for found in [*SAMPLES, *OWN] if found.name == sample_name)
    if sample.tokenizer:
        tokenizer = copy(
            own_tokenizers.load(sample.tokenizer)
        )  # with a template of its own, and one vocabulary for all
        tokenizer.chat_template = template_text(sample.template)
        return ChatFormat(TransformersTokenizer(tokenizer, name=sample.name, variables=sample.variables))
    return make(sample.template, sample.variables)


def make(
    template: str,
    variables: dict[str, Any] | None = None,
    *,
    changed: tuple[str, str] = ("", ""),
    response_template: dict[str, Any] | None = None,
) -> ChatFormat:
    """A tokenizer of bytes with that template, of which one part may be changed."""
    text = template_text(template).replace(*changed)
    options = {} if response_template is None else {"response_template": response_template}
    tokenizer = make_tokenizer(text, **options)
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(set(_MARK.findall(text)))})
    return ChatFormat(TransformersTokenizer(tokenizer, name=template, variables=variables))


def make_response_format(name: str) -> ChatFormat:
    """A family's chat template, with the response template that `trl` has for it."""
    from trl import chat_template_utils

    chat = {"qwen3_5": "qwen3_5_think", "nemotron_3": "nemotron_3_nano", "llama3": "llama3_1"}.get(name, name)
    return make(chat, response_template=getattr(chat_template_utils, f"{name}_template"))
