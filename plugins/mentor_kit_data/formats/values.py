"""Values of rows: JSON in strings, and the None that tables put where a row has nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mentor_kit.core.data_format import DataFormatError
from mentor_kit.core.frozen_model import Json

_SHOWN = 80


def present(value: Any) -> Any:
    """A value without the keys whose value is None, at every depth: tables have all rows' keys in each row."""
    if isinstance(value, Mapping):
        return {str(key): present(item) for key, item in value.items() if item is not None}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [present(item) for item in value]
    return value


def decoded(value: Any, column: str) -> Json:
    """A value, or the one that a string holds as JSON.

    Raises:
        DataFormatError: the string is no JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise DataFormatError(column, f"this is no JSON: {error}: {shown(value)}") from None


def holds_json(value: Any, kind: type[list[Any]] | type[dict[str, Any]]) -> bool:
    """Whether a value is of a kind, such as list, or a string that looks like one in JSON."""
    begins = "[" if kind is list else "{"
    return isinstance(value, kind) or (isinstance(value, str) and value.lstrip().startswith(begins))


def record(value: Any, column: str) -> Mapping[str, Any]:
    """A value that has to be a record.

    Raises:
        DataFormatError: it is none.
    """
    if not isinstance(value, Mapping):
        raise DataFormatError(column, f"expected a record, found {shown(value)}")
    return value


def entries(value: Any, column: str) -> list[Any]:
    """A value that has to be a list, also one in JSON.

    Raises:
        DataFormatError: it is none.
    """
    if value is None:
        raise DataFormatError(column, "there is no such column, or nothing in it")
    value = decoded(value, column)
    if not isinstance(value, list):
        raise DataFormatError(column, f"expected a list, found {shown(value)}")
    return value


def string(value: Any, column: str) -> str:
    """A value that has to be a string.

    Raises:
        DataFormatError: it is none.
    """
    if not isinstance(value, str):
        raise DataFormatError(column, f"expected a string, found {shown(value)}")
    return value


def text(value: Any, column: str) -> str:
    """The text of a message: a string, nothing, or OpenAI's list of parts, all of which have to be text.

    Raises:
        DataFormatError: it is something else, such as a part with an image.
    """
    if value is None:
        return ""
    if not isinstance(value, list):
        return string(value, column)
    parts = [part if isinstance(part, Mapping) else {"text": part} for part in value]
    for index, part in enumerate(parts):
        if not isinstance(part.get("text"), str):
            raise DataFormatError(f"{column}.{index}", f"expected a part with text, found {shown(value[index])}")
    return "".join(part["text"] for part in parts)


def written(value: Any, column: str) -> str:
    """A tool's result as the string that a model reads: strings as they are, parts of text joined, the rest as JSON."""
    if isinstance(value, list) and value and all(isinstance(part, Mapping) and "text" in part for part in value):
        return text(value, column)
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    written = repr(value)
    return written if len(written) <= _SHOWN else written[: _SHOWN - 3] + "..."
