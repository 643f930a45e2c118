"""The tiny student's tokenizer and chat template, built from the tasks `arithmetic` and `records`.

A byte-level BPE in which every digit stands alone, and the chunks of JSON around a tool's name and arguments, the
tags and the answer's box are one token each; so a transcript has some eighty tokens, and choosing a tool is choosing
one token. A name or word of the records is one token in a call, in a result and in a question. Any text can be encoded,
and decodes to itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mentor_kit_math.arithmetic import ArithmeticTask
from mentor_kit_math.operations import math_tools
from mentor_kit_records.operations import PARAMETERS
from mentor_kit_records.records_task import RecordsTask
from mentor_kit_records.tables import COLUMNS, MONTHS, NAMES, WORDS
from mentor_kit_records.tools import COUNTS

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|pad|>"
CONTEXT = 1024

#: Qwen's form, with a tool's name in place of its whole schema: prompts stay near fifty tokens.
TEMPLATE = """\
{%- if tools or messages[0].role == 'system' %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content + '\\n' }}{% endif %}
{%- if tools %}Tools:
{%- for tool in tools %} {{ tool.function.name }}{% endfor %}{% endif %}<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'user' %}<|im_start|>user
{{ message.content }}<|im_end|>
{% elif message.role == 'assistant' %}<|im_start|>assistant
{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
{{- '\\n' if message.content or not loop.first }}<tool_call>
{{- '\\n{"name": "' + call.function.name + '", "arguments": ' }}{{ call.function.arguments | tojson }}{{ '}\\n' -}}
</tool_call>
{%- endfor %}<|im_end|>
{% elif message.role == 'tool' %}
{%- if loop.first or loop.previtem.role != 'tool' %}<|im_start|>user
{%- endif %}
{{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
{%- if loop.last or loop.nextitem.role != 'tool' %}<|im_end|>
{% endif %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def build_tokenizer(vocabulary: int = 1100) -> Any:
    """The tokenizer, as transformers' `PreTrainedTokenizerFast`; the same in every build.

    Args:
        vocabulary: at most so many tokens of the byte-level BPE, beside the chunks; the default has room for every word
            of the two tasks.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    pieces = Regex(r"\d| ?\p{L}+|[^\s\p{L}\d]|\s")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pieces, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[PAD, START, END],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    tokenizer.add_tokens([AddedToken(chunk, normalized=False) for chunk in chunks()])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TEMPLATE
    return fast


def chunks() -> list[str]:
    """What is one token: the frame of every tool's call, tags, template text and the box."""
    found = ["system\nTools:", "user\n", "assistant\n", "<tool_response>\n", "\n</tool_response>", "</tool_call>"]
    for tool in math_tools(None):
        found += _frame(tool.name, list(tool.parameters["properties"]), quote="")
    found += ["}}\n</tool_call>", "[", "]}}\n</tool_call>", "\\boxed{", "}", ", "]
    for name, parameters in PARAMETERS.items():
        found += _frame(name, parameters, quote='"')
    found += ['"}}\n</tool_call>']
    return list(dict.fromkeys(found))


def _frame(tool: str, parameters: Sequence[str], *, quote: str) -> list[str]:
    """A call's opening up to its first value, and what stands between two values; in quotes if they are strings."""
    first, *others = parameters
    opening = f'<tool_call>\n{{"name": "{tool}", "arguments": {{"{first}": {quote}'
    return [opening, *(f'{quote}, "{name}": {quote}' for name in others)]


def _texts() -> Iterator[str]:
    """Questions of all wordings, names of the tools, and the words of the records as calls and results have them."""
    for split in ("train", "wordings"):
        yield from (problem.question for problem in ArithmeticTask().problems(split, 0, 1000))
    yield from (problem.question for problem in RecordsTask().problems("broad", 0, 1000))
    yield from ["Tools: " + " ".join(tool.name for tool in math_tools(None))] * 100
    yield from ["Tools: " + " ".join(PARAMETERS)] * 100
    words = [*COLUMNS, *MONTHS, *COUNTS, "nobody"]
    for found in (*COLUMNS.values(), *NAMES.values(), *WORDS.values()):
        words += found
    yield from words * 50
