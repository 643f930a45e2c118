"""The metadata of a student's card, in the hub's form: what the hub lists, filters and links by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mentor_kit.chat.serving import WHOLE_MLX
from mentor_kit.report.model_card.results import AccuracyResult
from mentor_kit.report.model_card.student_card import StudentCard

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

#: The library that the hub names for a folder of each format; others have none.
LIBRARIES: Mapping[str, str] = {
    "transformers": "transformers",
    "adapter": "peft",
    **dict.fromkeys(WHOLE_MLX, "mlx"),
    "mlx-adapter": "mlx",
    "gguf": "gguf",
}

#: What the hub does not take in the name of a data set.
_UNFIT = re.compile(r"[^\w.-]+")


def card_data(card: StudentCard, *, license: str | None = None) -> ModelCardData:
    """The metadata of a card.

    Args:
        card: the facts.
        license: the hub's identifier of a licence; none is named if left out.
    """
    from huggingface_hub import ModelCardData

    methods = dict.fromkeys(stage.use for stage in card.stages)
    tags = ["mentor-kit", "tool-use", "function-calling", *map(_slug, methods)]
    if card.adapter is not None:
        tags.append("lora")
    relation = "adapter" if card.is_adapter else "finetune"
    return ModelCardData(
        base_model=None if card.base is None else card.base.id,
        library_name=LIBRARIES.get(card.format),
        license=license,
        pipeline_tag="text-generation",
        tags=tags,
        model_name=card.title,
        eval_results=[_eval_result(card.task, result) for result in card.results] or None,
        # a key that is None is left out
        base_model_relation=None if card.base is None else relation,
    )


def _eval_result(task: str, result: AccuracyResult) -> EvalResult:
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type="text-generation",
        task_name="tool use",
        dataset_type=_slug(task),
        dataset_name=f"{task}, {result.plan}",
        dataset_split=result.plan,
        metric_type="accuracy",
        metric_name=f"accuracy ({result.kind})",
        metric_value=round(result.after.accuracy, 4),
        metric_args={"low_95": round(result.after.low, 4), "high_95": round(result.after.high, 4)},
    )


def _slug(name: str) -> str:
    return _UNFIT.sub("-", name)
