"""Base class for immutable, JSON-serialisable records."""

from __future__ import annotations

from typing import Any, Self, TypeAlias

from pydantic import BaseModel, ConfigDict

#: A JSON value: None, bool, int, float, str, list of Json, or dict from str to Json.
Json: TypeAlias = Any


class FrozenModel(BaseModel):
    """Base class for immutable records; `from_json` is the inverse of `to_json`.

    Unknown fields are refused, so that a file written by a newer version is noticed instead of half read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    def to_json(self) -> str:
        """Return one line of JSON, without the fields that have their default values."""
        return self.model_dump_json(exclude_defaults=True)

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """Return the record that `to_json` wrote; raises `pydantic.ValidationError` on invalid input."""
        return cls.model_validate_json(line)
