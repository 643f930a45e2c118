"""The text of a student's card, in Markdown: a section a function."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from mentor_kit.chat.serving import UNNAMED, WHOLE_MLX
from mentor_kit.core.frozen_model import Json
from mentor_kit.report.model_card.results import AccuracyResult, MeasuredAccuracy
from mentor_kit.report.model_card.student_card import PLACEHOLDER, StudentCard, TrainedStage

#: Options of a stage that are named on a card where it has them, with the words for them.
_NAMED = {"problems": "problems a step", "group": "attempts at each", "batch": "demonstrations a step"}

#: What an exported folder holds, by format.
_CONTENTS = {
    "transformers": "a whole model for transformers, vLLM and SGLang",
    "mlx": "a whole model for mlx-lm",
    "mlx-4bit": "a whole model for mlx-lm, quantized to 4 bits",
    "mlx-8bit": "a whole model for mlx-lm, quantized to 8 bits",
    "adapter": "a LoRA adapter for peft and vLLM, without its base model",
    "mlx-adapter": "a LoRA adapter for mlx-lm, without its base model",
    "gguf": "a whole model for llama.cpp",
}


def card_text(card: StudentCard) -> str:
    """The whole text below the metadata."""
    sections = [
        f"# {card.title}\n\n{_summary(card)}",
        _results(card),
        _quantization(card),
        _use(card),
        _reward(card),
        _recipe(card),
        f"## Versions\n\n{', '.join(f'{name} {version}' for name, version in card.versions.items())}",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _summary(card: StudentCard) -> str:
    rows = {
        "base model": _base(card),
        "contents": _CONTENTS.get(card.format, f"an export in the format `{card.format}`"),
        "trained by": ", then ".join(map(_stage, card.stages)) or "no step so far",
        "adapter": _adapter(card),
        "task": f"`{card.task}`",
        "tools": ", ".join(f"`{tool}`" for tool in card.tools) or "each problem's own",
        "teacher": "" if card.teacher is None else f"`{card.teacher}`",
        "call syntax": "" if card.family is None else f"`{card.family}`",
        "sampling": _sampling(card),
    }
    table = ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items() if value)]
    first = "A language model that answers questions by calling tools, trained with mentor-kit."
    return "\n".join([first, "", *table])


def _base(card: StudentCard) -> str:
    if card.base is None:
        return f"`{card.model}`, a model that is not on the hub"
    at = "" if card.base.revision is None else f", revision `{card.base.revision}`"
    return f"[{card.base.id}](https://huggingface.co/{card.base.id}){at}"


def _stage(stage: TrainedStage) -> str:
    named = [
        f"{stage.options[key]} {words}" for key, words in _NAMED.items() if isinstance(stage.options.get(key), int)
    ]
    details = f" ({', '.join(named)})" if named else ""
    return f"{stage.use.upper()}, {_steps(stage.steps)}{details}"


def _steps(count: int) -> str:
    return f"{count:,} step{'' if count == 1 else 's'}"


def _adapter(card: StudentCard) -> str:
    if card.adapter is None:
        return ""
    if card.adapter.get("path"):
        return "LoRA, trained further" if card.is_adapter else "LoRA, trained further and merged into the model"
    described = f"LoRA of rank {card.adapter['rank']}, alpha {card.adapter['alpha']:g}"
    return described if card.is_adapter else f"{described}, merged into the model"


def _sampling(card: StudentCard) -> str:
    top_k: Json = card.sampling["top_k"]
    words = f"temperature {card.sampling['temperature']:g}, top-p {card.sampling['top_p']:g}"
    return f"{words}, top-k {top_k}" if top_k else words


def _results(card: StudentCard) -> str:
    if not card.results:
        return ""
    rows = [
        "| problems | decoding | before training | this student | change | n |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        *map(_row, card.results),
    ]
    notes = ["Accuracy in percent, with 95 % intervals; the change is in points, on the problems of both evaluations."]
    if late := sorted({result.after.step for result in card.results if result.after.step != card.steps}):
        at = " and ".join(map(str, late))
        notes.append(f"Evaluated after training step {at}; the weights here are those of step {card.steps}.")
    if card.chosen_by is not None:
        notes.append(f"The checkpoint is the best of the run by `{card.chosen_by}`: that result flatters it.")
    return "\n".join(["## Results", "", *rows, "", *notes])


def _quantization(card: StudentCard) -> str:
    """What the quantization of these weights changed."""
    if card.quantization is None:
        return ""
    facts = [f"- {line}" for line in card.quantization.lines()]
    about = "The weights were rounded after the training and its evaluations. Measured on contexts of the run:"
    return "\n".join(["## Quantization", "", about, "", *facts])


def _row(result: AccuracyResult) -> str:
    difference = result.difference
    change = "" if difference is None else _interval(difference.mean, difference.low, difference.high, "+")
    cells = [
        result.plan,
        result.kind,
        _accuracy(result.before),
        _accuracy(result.after),
        change,
        str(result.after.problems),
    ]
    return f"| {' | '.join(cells)} |"


def _accuracy(measured: MeasuredAccuracy | None) -> str:
    return "" if measured is None else _interval(measured.accuracy, measured.low, measured.high, "")


def _interval(value: float, low: float, high: float, sign: str) -> str:
    return f"{100 * value:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


def _use(card: StudentCard) -> str:
    blocks = [*_placeholders(card), *_load(card), *_serve(card)]
    return "\n\n".join(["## Use", *blocks]) if blocks else ""


def _placeholders(card: StudentCard) -> Iterator[str]:
    """What the commands leave open."""
    if card.name == PLACEHOLDER:
        yield f"{PLACEHOLDER} stands for this folder, or for this model's name on the hub."
    if card.is_adapter and card.base is None:
        model = f"the model that the adapter was trained on (`{card.model}` in the recipe)"
        yield f"{UNNAMED} stands for the folder of {model}."


def _load(card: StudentCard) -> Iterator[str]:
    base, name = json.dumps(UNNAMED if card.base is None else card.base.id), json.dumps(card.name)
    kind = "AutoModelForImageTextToText" if card.takes_pictures else "AutoModelForCausalLM"
    if card.format == "transformers":
        lines = [
            f"from transformers import {kind}, AutoTokenizer",
            "",
            f"model = {kind}.from_pretrained({name})",
            f"tokenizer = AutoTokenizer.from_pretrained({name})",
        ]
    elif card.format == "adapter":
        lines = [
            "from peft import PeftModel",
            f"from transformers import {kind}, AutoTokenizer",
            "",
            f"model = PeftModel.from_pretrained({kind}.from_pretrained({base}), {name})",
            f"tokenizer = AutoTokenizer.from_pretrained({name})",
        ]
    elif card.format in WHOLE_MLX:
        lines = ["from mlx_lm import load", "", f"model, tokenizer = load({name})"]
    elif card.format == "mlx-adapter":
        lines = ["from mlx_lm import load", "", f"model, tokenizer = load({base}, adapter_path={name})"]
    else:
        return
    yield _code("\n".join([*lines, "", *_PROMPT]), "python")


#: How a prompt with tools is made, by any tokenizer of transformers.
_PROMPT: Sequence[str] = (
    "# tools: functions with type hints and docstrings, or JSON schemas",
    "prompt = tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=True)",
)


def _serve(card: StudentCard) -> Iterator[str]:
    if not card.serving:
        return
    yield "Servers with the API of OpenAI, which return tool calls as calls:"
    lines = [f"# {found.program}{f': {found.note}' if found.note else ''}\n{found.command}" for found in card.serving]
    yield _code("\n\n".join(lines), "bash")


def _reward(card: StudentCard) -> str:
    return "" if card.reward is None else f"## Reward\n\nThe reward of a rollout:\n\n{_code(card.reward, 'text')}"


def _recipe(card: StudentCard) -> str:
    summary = "<details><summary>All settings of the run</summary>"
    return "\n\n".join(["## Recipe", summary, _code(card.recipe, "yaml"), "</details>"])


def _code(text: str, language: str) -> str:
    """A block of code, fenced so that no line of the text ends it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
