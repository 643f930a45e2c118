"""The recipe as types: what every key means, and what it is when it is left out. docs/recipes.md explains the whole."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mentor_kit.core.component import (
    BackendSpec,
    ComponentSpec,
    Fills,
    SamplerSpec,
    StageSpec,
    TaskSpec,
    TeacherSpec,
    ToolsSpec,
    TrackerSpec,
)
from mentor_kit.core.explanation import explain
from mentor_kit.core.option_model import OptionModel, OptionsType
from mentor_kit.recipe.faults import RecipeFaults, faults_at
from mentor_kit.recipe.shorthand import FromName
from mentor_kit.recipe.source import Source
from mentor_kit.rl.reward import RewardSpec
from mentor_kit.stages.evaluation_plan import EvaluationPlan


class _SectionType(OptionsType):
    """Metaclass of the recipe's sections: invalid fields raise `RecipeFaults`, as in a file."""

    def invalid(cls, fields: dict[str, Any], error: ValidationError) -> RecipeFaults:
        """Return the error with every fault of the fields and its place."""
        return RecipeFaults(faults_at(Source(fields), explain(error, cast(type[BaseModel], cls), fields)))


class RecipeSection(OptionModel, metaclass=_SectionType):
    """Base of the recipe's own sections: unknown keys are faults, and building a wrong one raises `RecipeFaults`."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        serialize_by_alias=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class LoraOptions(RecipeSection):
    """A low-rank adapter."""

    rank: int = Field(default=16, gt=0)
    """The rank of each pair of matrices."""
    alpha: float = Field(default=32.0, gt=0)
    """The adapter's scale is alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input while training."""
    targets: tuple[str, ...] = ()
    """Names of the layers to adapt; all linear ones but the output projection if left out."""
    path: str | None = None
    """A folder with an adapter to train further."""


class StudentAdapter(FromName, RecipeSection):
    """How a student is adapted."""

    use: Literal["lora"] = "lora"
    """The kind of adapter."""
    options: LoraOptions = Field(default=LoraOptions(), alias="with")
    """The adapter's options."""


class Student(FromName, RecipeSection):
    """The model that is trained. A bare name stands for `{model: name}`."""

    model: str
    """A registered name, a folder in transformers' format, or a hub id (owner/name)."""
    revision: str | None = None
    """A revision on the hub."""
    chat_template: str | None = None
    """A chat template in place of the tokenizer's own: a name, a file, or the template itself."""
    template_variables: dict[str, Any] = {}
    """Variables of the chat template, such as `enable_thinking: false`."""
    adapter: StudentAdapter | None = None
    """Train an adapter rather than the whole model."""
    checkpoint: str | None = None
    """A folder below a run's `checkpoints`: the student starts with the weights it had there."""


class Rollout(RecipeSection):
    """Limits and sampling of episodes."""

    max_turns: int = Field(default=5, gt=0)
    """Assistant turns."""
    max_turn_tokens: int = Field(default=512, gt=0)
    """Sampled tokens of one turn."""
    max_response_tokens: int = Field(default=2048, gt=0)
    """Tokens of an episode after its first prompt, tool results included."""
    max_result_tokens: int = Field(default=256, gt=0)
    """Tokens of one tool result; longer ones are cut with a visible mark."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the rollouts that are trained on, and of sampled evaluation."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Keep the most likely tokens up to this probability. Below 1, training is biased: 1 is right for RL."""
    top_k: int = Field(default=0, ge=0)
    """Keep this number of the most likely tokens; 0 keeps all."""
    deterministic: bool | Literal["auto"] = "auto"
    """Equal bits in every run, and exact resuming; auto: on a CPU."""
    staleness: int = Field(default=0, ge=0)
    """How many steps old the weights may be that began an episode when it is trained on. 0: a step waits for all its
    episodes; above 0, they go on during updates and evaluations, and no step waits for the longest
    (docs/scale.md)."""
    system: str | None = None
    """A system message for problems that bring none."""

    @model_validator(mode="after")
    def _overlaps(self) -> Self:
        if self.staleness and self.deterministic is True:
            raise ValueError(
                "deterministic rollouts wait for one another at every turn, so that nothing could overlap: "
                "set `deterministic` to auto, or `staleness` to 0"
            )
        return self


class CheckpointPlan(RecipeSection):
    """Which checkpoints of a run are saved."""

    every: int = Field(default=10, ge=0)
    """Steps between checkpoints; 0 for one after the last step alone."""
    keep_last: int = Field(default=2, gt=0)
    """How many of the newest are kept."""
    best: str | None = "out-of-domain/greedy"
    """A metric (`split/greedy`, `split/sampled`, `split/similarity`) whose best checkpoint is kept."""
    mode: Literal["max", "min"] = "max"
    """Whether more of that metric is better."""


class RecordPlan(RecipeSection):
    """How much of the student's episodes a run keeps."""

    rollouts: int = Field(default=1, ge=0)
    """Keep the rollouts of every n-th step; 0 keeps none."""
    tokens: bool = True
    """Whether rollouts and evaluated episodes are kept with their tokens and log-probabilities, most of their size."""
    compress: Literal["none", "gzip", "zstd"] = "none"
    """How their files are compressed; zstd needs Python 3.14 or `pip install 'mentor-kit[zstd]'`."""


class Recipe(RecipeSection):
    """An experiment as data. A component is a name, a mapping with `use` and `with`, or a `ComponentSpec`.

    Example:
        >>> from mentor_kit import ComponentSpec, Recipe
        >>> recipe = Recipe(
        ...     mentorkit=1,
        ...     name="mine",
        ...     student="tiny-student",
        ...     task="arithmetic",
        ...     tools=["math"],
        ...     teacher="scripted",
        ...     reward="mentor",
        ...     train=[ComponentSpec(use="grpo", options={"steps": 2, "problems": 4, "group": 4})],
        ... )
        >>> run = mentor_kit.run(recipe, overrides={"train.0.steps": 1})  # doctest: +SKIP

    Raises:
        RecipeError: a field is wrong; the message has every fault with its key.
    """

    mentorkit: Literal[1]
    """The version of this format."""
    name: str = Field(min_length=1, max_length=200)
    """The run's name; its folder is runs/<name>/<id>."""
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    """The seed of all random numbers."""
    folder: str | None = None
    """The folder that relative paths start at; the recipe's own if left out."""
    student: Student
    """The model that is trained."""
    backend: BackendSpec = ComponentSpec(use="torch")
    """The backend that runs the model."""
    sampler: SamplerSpec | None = None
    """Samples the student's turns, such as by servers; the backend's own engine if left out."""
    task: TaskSpec
    """The source of problems, which checks their answers."""
    tools: tuple[ToolsSpec, ...] = ()
    """The tools that student and teacher can call."""
    teacher: TeacherSpec | None = None
    """The teacher that demonstrates."""
    reward: RewardSpec | Annotated[ComponentSpec, Fills("rewards")] | None = None
    """A preset, or gates and terms of one's own."""
    rollout: Rollout = Rollout()
    """Limits and sampling of episodes."""
    train: tuple[StageSpec, ...] = ()
    """The stages, in order."""
    evaluate: EvaluationPlan = EvaluationPlan()
    """When and on what to evaluate."""
    checkpoints: CheckpointPlan = CheckpointPlan()
    """Which checkpoints are saved."""
    record: RecordPlan = RecordPlan()
    """How much of the student's episodes is kept."""
    report: bool = False
    """Whether the run ends by writing the page that shows it, `report.html` in its folder."""
    trackers: tuple[TrackerSpec, ...] = ()
    """Further receivers of events."""

    @field_validator("name")
    @classmethod
    def _is_folder_name(cls, name: str) -> str:
        if not re.fullmatch(r"\w[\w .+@=-]*", name):
            raise ValueError(
                f"must start with a letter or digit and have no slashes, since it names a folder: {name!r}"
            )
        return name
