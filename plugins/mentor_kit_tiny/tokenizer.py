"""The tiny student's tokenizer and chat template, built from the arithmetic task.

A byte-level BPE in which every digit stands alone, and the chunks of JSON around a tool's name and arguments, the
tags and the answer's box are one token each; so a transcript has some eighty tokens, and choosing a tool is choosing
one token. Any text can be encoded, and decodes to itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mentor_kit_math.arithmetic import WORDING, ArithmeticTask
from mentor_kit_math.operations import OPERATIONS, math_tools

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


def build_tokenizer(vocabulary: int = 640) -> Any:
    """The tokenizer, as transformers' `PreTrainedTokenizerFast`; the same in every build.

    Args:
        vocabulary: the number of tokens of the byte-level BPE, beside the chunks and special tokens.
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
        names = list(tool.parameters["properties"])
        found.append(f'<tool_call>\n{{"name": "{tool.name}", "arguments": {{"{names[0]}": ')
        found += [f', "{name}": ' for name in names[1:]]
    found += ["}}\n</tool_call>", "[", "]}}\n</tool_call>", "\\boxed{", "}", ", "]
    return list(dict.fromkeys(found))


def _texts() -> Iterator[str]:
    """Questions of all wordings, and the names of the tools."""
    task = ArithmeticTask()
    for split in ("train", WORDING):
        for problem in task.problems(split, 0, 1000):
            yield problem.question
    yield from ["Tools: " + " ".join(OPERATIONS)] * 100
