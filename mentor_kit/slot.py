"""A slot: a place in a recipe that a plugin's part fills, `{use: name, with: {options}}`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from mentor_kit.record import Json, Record

#: What can be registered; the plural is the hook's name, `register_<kind>`.
Kind = Literal[
    "backends",
    "students",
    "tools",
    "tasks",
    "teachers",
    "reward_terms",
    "rewards",
    "stages",
    "evaluations",
    "trackers",
    "recipes",
]


#: The key that marks a slot in a JSON schema, with the kind of part that fills it.
FILLS = "x-fills"


class Slot(Record):
    """The name of a registered part, and its options. A bare name is a slot without options."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    use: str
    """A registered name; `mentorkit plugins` lists them."""
    options: dict[str, Json] = Field(default={}, alias="with")
    """The part's own options."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: Any) -> Any:
        return {"use": data} if isinstance(data, str) else data


@dataclass(frozen=True)
class Fills:
    """Marks which kind of part fills a slot: recipes and plugins' own options are checked by it."""

    kind: Kind

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A slot's JSON schema, marked, so that the schema of recipes can list what fills it."""
        return {**handler(core_schema), FILLS: self.kind}


TeacherSlot: TypeAlias = Annotated[Slot, Fills("teachers")]
ToolsSlot: TypeAlias = Annotated[Slot, Fills("tools")]
TaskSlot: TypeAlias = Annotated[Slot, Fills("tasks")]
BackendSlot: TypeAlias = Annotated[Slot, Fills("backends")]
StageSlot: TypeAlias = Annotated[Slot, Fills("stages")]
TrackerSlot: TypeAlias = Annotated[Slot, Fills("trackers")]
EvaluationSlot: TypeAlias = Annotated[Slot, Fills("evaluations")]


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, found {str(value).lower()}")
    return value


#: A finite number: neither NaN nor infinity, nor `true`, which would be 1.
Number: TypeAlias = Annotated[float, BeforeValidator(_no_truth_value), Field(allow_inf_nan=False)]
#: A whole number, and not `true`.
Whole: TypeAlias = Annotated[int, BeforeValidator(_no_truth_value)]


class GateSpec(Slot):
    """A gate as a recipe writes it."""

    name: str = ""
    """How reports call it; the term's name if left out."""
    otherwise: Number
    """What a trajectory earns that does not pass."""
    threshold: Number = Field(default=1.0, gt=0, le=1)
    """The score that passes; scores lie between 0 and 1, and 0 would pass everything."""


class Schedule(Record):
    """How a term's weight changes over a stage: a factor on it that runs from `start` to `end`."""

    start: Number = Field(default=1.0, ge=0)
    """The factor until `over` begins."""
    end: Number = Field(default=1.0, ge=0)
    """The factor once `over` is past; evaluations use it, too."""
    over: tuple[float, float] = (0.0, 1.0)
    """Between which shares of the stage's steps the factor changes: 0 is the first step, 1 the last."""
    shape: Literal["linear", "cosine"] = "linear"
    """How it gets from one to the other."""

    @model_validator(mode="after")
    def _runs_forwards(self) -> Self:
        if not 0.0 <= self.over[0] <= self.over[1] <= 1.0:
            raise ValueError(f"`over` is two shares of a stage, 0 <= first <= second <= 1, not {list(self.over)}")
        return self

    def factor(self, progress: float) -> float:
        """The factor after this share of a stage, from 0 (its first step) to 1 (its last)."""
        first, last = self.over
        if progress >= last:
            return self.end
        if progress <= first:
            return self.start
        way = (progress - first) / (last - first)
        if self.shape == "cosine":
            way = (1 - math.cos(math.pi * way)) / 2
        return self.start + (self.end - self.start) * way

    @property
    def largest(self) -> float:
        """The largest factor there is."""
        return max(self.start, self.end)


#: The schedule of a weight that stays as it is.
CONSTANT = Schedule()


class TermSpec(Slot):
    """A weighted term as a recipe writes it."""

    name: str = ""
    """How reports call it; the term's name if left out."""
    weight: Number
    when_wrong: Number = 1.0
    """The factor on the term when the final answer is wrong."""
    schedule: Schedule | None = None
    """How the weight changes over a stage; it stays if left out."""


class RewardSpec(Record):
    """A reward as data: what a preset expands to, and what a recipe may write in its place."""

    gates: tuple[Annotated[GateSpec, Fills("reward_terms")], ...] = ()
    """In order; the first that is not passed decides."""
    terms: tuple[Annotated[TermSpec, Fills("reward_terms")], ...] = ()
