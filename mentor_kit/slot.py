"""A slot: a place in a recipe that a plugin's part fills, `{use: name, with: {options}}`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, model_validator
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


class GateSpec(Slot):
    """A gate as a recipe writes it."""

    name: str = ""
    """How reports call it; the term's name if left out."""
    otherwise: float
    """What a trajectory earns that does not pass."""
    threshold: float = 1.0
    """The score that passes."""


class TermSpec(Slot):
    """A weighted term as a recipe writes it."""

    name: str = ""
    """How reports call it; the term's name if left out."""
    weight: float
    when_wrong: float = 1.0
    """The factor on the term when the final answer is wrong."""


class RewardSpec(Record):
    """A reward as data: what a preset expands to, and what a recipe may write in its place."""

    gates: tuple[Annotated[GateSpec, Fills("reward_terms")], ...] = ()
    """In order; the first that is not passed decides."""
    terms: tuple[Annotated[TermSpec, Fills("reward_terms")], ...] = ()
