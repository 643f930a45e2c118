"""The base of every word that is written to a run folder: an immutable value with an exact JSON form."""

from __future__ import annotations

from typing import Any, Self, TypeAlias

from pydantic import BaseModel, ConfigDict

#: A JSON value: None, bool, int, float, str, list of Json, or dict from str to Json.
Json: TypeAlias = Any


class FrozenModel(BaseModel):
    """An immutable value; `to_json` and `from_json` are inverse to each other.

    Unknown fields are refused, so that a file written by a newer version is noticed instead of half read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    def to_json(self) -> str:
        """One line of JSON, without fields that have their default value."""
        return self.model_dump_json(exclude_defaults=True)

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """The value `to_json` wrote; raises `pydantic.ValidationError` on anything else."""
        return cls.model_validate_json(line)
