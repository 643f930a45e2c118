"""Component specs: how a recipe names a plugin's component and gives its options, `{use: name, with: {options}}`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from mentor_kit.core.frozen_model import FrozenModel, Json
from mentor_kit.core.option_model import OptionModel

#: What can be registered; the plural is the hook's name, `register_<kind>`.
Kind = Literal[
    "backends",
    "samplers",
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
    "formats",
    "trackers",
    "engines",
    "recipes",
]


#: The JSON schema keyword that marks a component spec; its value is the kind of component.
FILLS = "x-fills"


class ComponentSpec(OptionModel, FrozenModel):
    """The name of a registered component, and its options. A bare name stands for a spec without options."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    use: str
    """A registered name; `mentorkit plugins` lists them."""
    options: dict[str, Json] = Field(default={}, alias="with")
    """The component's own options."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: Any) -> Any:
        return {"use": data} if isinstance(data, str) else data


@dataclass(frozen=True)
class Fills:
    """Annotation that states which kind of component a spec names; recipes and plugins' options are validated by it."""

    kind: Kind

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the spec's JSON schema with its kind, so that the schema of recipes can list the components."""
        return {**handler(core_schema), FILLS: self.kind}


TeacherSpec: TypeAlias = Annotated[ComponentSpec, Fills("teachers")]
ToolsSpec: TypeAlias = Annotated[ComponentSpec, Fills("tools")]
TaskSpec: TypeAlias = Annotated[ComponentSpec, Fills("tasks")]
BackendSpec: TypeAlias = Annotated[ComponentSpec, Fills("backends")]
SamplerSpec: TypeAlias = Annotated[ComponentSpec, Fills("samplers")]
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
