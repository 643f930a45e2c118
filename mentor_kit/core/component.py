"""A slot: a place in a recipe that a plugin's part fills, `{use: name, with: {options}}`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from mentor_kit.core.frozen_model import FrozenModel, Json

#: What can be registered; the plural is the hook's name, `register_<kind>`.
Kind = Literal[
    "backends",
    "students",
    "tools",
    "tasks",
    "teachers",
    "reward_terms",
    "rewards",
    "losses",
    "advantages",
    "stages",
    "evaluations",
    "families",
    "trackers",
    "recipes",
]


#: The key that marks a slot in a JSON schema, with the kind of part that fills it.
FILLS = "x-fills"


class ComponentSpec(FrozenModel):
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


TeacherSpec: TypeAlias = Annotated[ComponentSpec, Fills("teachers")]
ToolsSpec: TypeAlias = Annotated[ComponentSpec, Fills("tools")]
TaskSpec: TypeAlias = Annotated[ComponentSpec, Fills("tasks")]
BackendSpec: TypeAlias = Annotated[ComponentSpec, Fills("backends")]
StageSpec: TypeAlias = Annotated[ComponentSpec, Fills("stages")]
TrackerSpec: TypeAlias = Annotated[ComponentSpec, Fills("trackers")]
EvaluationSpec: TypeAlias = Annotated[ComponentSpec, Fills("evaluations")]


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, found {str(value).lower()}")
    return value


#: A finite number: neither NaN nor infinity, nor `true`, which would be 1.
Number: TypeAlias = Annotated[float, BeforeValidator(_no_truth_value), Field(allow_inf_nan=False)]
#: A whole number, and not `true`.
Whole: TypeAlias = Annotated[int, BeforeValidator(_no_truth_value)]
