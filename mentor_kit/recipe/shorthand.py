"""Shorthand in recipes: a string in place of a mapping with one key."""

from __future__ import annotations

from typing import Any

from pydantic import GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from mentor_kit.core.option_model import OptionModel


class FromName(OptionModel):
    """Base class of options that a string can replace: the first field's value; others have their defaults."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: Any) -> Any:
        return {next(iter(cls.model_fields)): data} if isinstance(data, str) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the options' schema, or that of a string."""
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}


def one_or_several(value: Any) -> Any:
    """Return a mapping with its strings as lists of one; for a field's `before` validator."""
    if not isinstance(value, dict):
        return value
    return {key: (item,) if isinstance(item, str) else item for key, item in value.items()}
