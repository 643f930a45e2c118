"""The facts on the card of an exported student, gathered from its run: the same whenever the same run is repeated."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

from mentor_kit.backend.base_model import HubModel, hub_model, is_hub_id
from mentor_kit.backend.quantization_cost import QuantizationCost
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.secret import hide
from mentor_kit.recipe.yaml_writer import to_yaml
from mentor_kit.report.arms import training_steps
from mentor_kit.report.model_card.results import AccuracyResult, results_of
from mentor_kit.report.reward_text import reward_text
from mentor_kit.rl.reward import RewardSpec
from mentor_kit.runs import Run
from mentor_kit.runs.run import natural
from mentor_kit.utils.paths import without_home

if TYPE_CHECKING:
    from mentor_kit.chat.serving import ServingCommand

#: Packages whose versions are on a card, where the run had them.
_PACKAGES = ("mentor-kit", "torch", "transformers", "peft", "mlx", "mlx-lm")


#: The name of an export that is on no hub yet.
PLACEHOLDER = "MODEL"


@dataclass(frozen=True)
class TrainedStage:
    """A training stage up to the exported weights."""

    use: str
    """The name of its component, such as `grpo`."""
    steps: int
    """Steps that were done."""
    options: Mapping[str, Json]


@dataclass(frozen=True)
class StudentCard:
    """What a card says of an exported student."""

    title: str
    name: str
    """What the export is called in code and commands: its hub id, or `PLACEHOLDER`."""
    format: str
    """The format of the export, such as `transformers` or `mlx-adapter`."""
    base: HubModel | None
    """The model on the hub that was trained; None where it was a local one."""
    model: str
    """What the recipe calls that model, without a path."""
    adapter: Mapping[str, Json] | None
    """The options of the adapter that was trained; None where the whole model was."""
    stages: Sequence[TrainedStage]
    """Those that came before the exported weights, in order."""
    task: str
    tools: Sequence[str]
    teacher: str | None
    family: str | None
    """The family of its call syntax; None for a syntax that its tokenizer describes."""
    sampling: Mapping[str, Json]
    """`temperature`, `top_p` and `top_k` of training rollouts."""
    steps: int
    """Training steps of the exported weights, over all stages."""
    results: Sequence[AccuracyResult]
    chosen_by: str | None
    """The metric by which the exported checkpoint was chosen among others, such as `out-of-domain/greedy`."""
    reward: str | None
    """The reward's equation in lines; None where the recipe has none."""
    recipe: str
    """YAML without secrets and without the user's home."""
    versions: Mapping[str, str]
    serving: Sequence[ServingCommand]
    quantization: QuantizationCost | None = None
    """What rounding these weights changed, where that was measured."""
    takes_pictures: bool = False
    """Whether the export is a model that takes pictures too, which transformers has another class for."""

    @property
    def is_adapter(self) -> bool:
        """Whether the folder has an adapter alone, rather than a whole model."""
        return self.format.endswith("adapter")


def student_card(
    run: Run,
    student: StudentSpec,
    *,
    format: str,
    tools: Sequence[str],
    family: str | None,
    reward: RewardSpec | None,
    serving: Sequence[ServingCommand],
    name: str = PLACEHOLDER,
    at: tuple[str, int] | None = None,
    chosen_by: str | None = None,
    quantization: QuantizationCost | None = None,
) -> StudentCard:
    """The facts of a run's student.

    Args:
        run: the run that trained it.
        student: the model that was trained.
        format: of the export.
        tools: names of the tools that it could call.
        family: of its call syntax.
        reward: the run's.
        serving: commands that serve the export.
        name: its hub id, where it gets one.
        at: the stage, such as `0-grpo`, and the step of the exported weights; the last ones if left out.
        chosen_by: the metric by which they were chosen among others.
        quantization: what rounding them changed, where that was measured.

    Raises:
        DataError: a file of the run cannot be read.
    """
    recipe = run.recipe
    base, adapter = base_of(student), recipe["student"].get("adapter")
    steps = training_steps(run) if at is None else training_steps(run, *at)
    teacher = recipe.get("teacher")
    return StudentCard(
        title=run.name if name == PLACEHOLDER else name.rpartition("/")[2],
        name=name,
        format=format,
        base=base,
        model=base.id if base is not None else Path(recipe["student"]["model"]).name,
        adapter=None if adapter is None else adapter["with"],
        stages=_stages(run, at),
        task=recipe["task"]["use"],
        tools=tools,
        teacher=None if teacher is None else teacher["use"],
        family=family,
        sampling={key: recipe["rollout"][key] for key in ("temperature", "top_p", "top_k")},
        steps=steps,
        results=results_of(run, steps),
        chosen_by=chosen_by,
        reward=None if reward is None else _equation(reward),
        recipe=_shared_recipe(recipe),
        versions=_versions(run),
        serving=serving,
        quantization=quantization,
    )


def base_of(student: StudentSpec) -> HubModel | None:
    """The model on the hub that a student goes back to; None where that is not known.

    A local folder may be a student that was exported before: its own card names the model it was made from.
    """
    if (found := hub_model(student)) is not None:
        return found
    declared = _declared_base(Path(student.model))
    return None if declared is None else HubModel(declared)


def _declared_base(folder: Path) -> str | None:
    card = folder / "README.md"
    if not card.is_file():
        return None
    from huggingface_hub import ModelCard

    try:
        base = ModelCard.load(card, ignore_metadata_errors=True).data.base_model
    except Exception:  # noqa: BLE001 (another program's card may have any fault, and is not needed)
        return None
    return base if isinstance(base, str) and is_hub_id(base) else None


def _stages(run: Run, at: tuple[str, int] | None) -> list[TrainedStage]:
    done: dict[str, int] = {}
    for step in run.steps:
        key = str(step["stage"])
        done[key] = max(done.get(key, 0), int(step["step"]))
    if at is not None:
        done = {key: steps for key, steps in done.items() if natural(key) < natural(at[0])} | {at[0]: at[1]}
    specs = {f"{place}-{spec['use']}": spec for place, spec in enumerate(run.recipe.get("train") or ())}
    return [
        TrainedStage(specs[key]["use"], done[key], specs[key].get("with") or {})
        for key in sorted(done, key=natural)
        if key in specs
    ]


def _equation(reward: RewardSpec) -> str:
    """The reward's gates and terms, without the line that announces them."""
    return dedent("\n".join(reward_text(reward).splitlines()[1:]))


def _shared_recipe(recipe: Mapping[str, Json]) -> str:
    """The expanded recipe as YAML; its `folder`, which is this machine's, is left out."""
    return hide(without_home(to_yaml({key: value for key, value in recipe.items() if key != "folder"})))


def _versions(run: Run) -> dict[str, str]:
    try:
        found = json.loads(run.folder.environment.read_bytes())["packages"]
    except (OSError, ValueError, KeyError):
        return {}
    return {name: str(found[name]) for name in _PACKAGES if name in found}
