"""Short forms in recipes: a text where a mapping with one telling key would stand."""

from __future__ import annotations

from typing import Any

from pydantic import GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from mentor_kit.core.option_model import OptionModel


class FromName(OptionModel):
    """Options that a text alone can stand for: it is the value of the first field, the others keep their defaults."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: Any) -> Any:
        return {next(iter(cls.model_fields)): data} if isinstance(data, str) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The options' schema, or a text."""
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}


def one_or_several(value: Any) -> Any:
    """A text in a mapping's values as a list of one; for a field's `before` validator."""
    if not isinstance(value, dict):
        return value
    return {key: (item,) if isinstance(item, str) else item for key, item in value.items()}
