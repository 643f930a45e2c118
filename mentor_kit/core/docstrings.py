"""Reads what docstrings and annotations say about a function's parameters, for the schemas of tools."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, get_args

#: What every style has where it describes parameters: most docstrings have none, and need not be parsed.
_SECTION = re.compile(
    r"^\s*(?:Args|Arguments|Params|Parameters|Other Parameters)\s*:?\s*$|^\s*:(?:param|parameter|arg)\b", re.M
)
#: A list of values at a description's end, as transformers reads it: `(choices: ["a", "b"])`.
_CHOICES = re.compile(r"\s*\(choices:\s*(\[.*?\])\s*\)\s*\.?$", re.DOTALL)


@dataclass(frozen=True)
class FunctionDoc:
    """A function's docstring."""

    summary: str
    """The first paragraph in one line."""
    parameters: Mapping[str, str]
    """Descriptions in one line, by the names of the parameters that have one."""


@lru_cache(maxsize=1024)
def read_docstring(docstring: str) -> FunctionDoc:
    """Read a docstring in Google, NumPy or Sphinx style.

    Args:
        docstring: as written in the source, indentation included.
    """
    cleaned = inspect.cleandoc(docstring)
    summary = " ".join(cleaned.split("\n\n", 1)[0].split())
    if not _SECTION.search(cleaned):
        return FunctionDoc(summary, MappingProxyType({}))
    # a tenth of a second, for those who have docstrings to read
    from griffe import Docstring, DocstringSectionKind, infer_docstring_style

    parsed = Docstring(cleaned)
    style, _ = infer_docstring_style(parsed)
    kinds = (DocstringSectionKind.parameters, DocstringSectionKind.other_parameters)
    sections = parsed.parse(style or "google", warnings=False)
    found = {
        parameter.name.lstrip("*"): " ".join(parameter.description.split())
        for section in sections
        if section.kind in kinds
        for parameter in section.value
        if parameter.description.strip()
    }
    return FunctionDoc(summary, MappingProxyType(found))


def annotated_description(annotation: Any) -> str:
    """The description in `Annotated[str, "the city's name"]` or with PEP 727's `Doc`; empty where there is none."""
    for extra in get_args(annotation)[1:] if hasattr(annotation, "__metadata__") else ():
        found = extra if isinstance(extra, str) else getattr(extra, "documentation", "")
        if isinstance(found, str) and found.strip():
            return " ".join(found.split())
    return ""


def split_choices(description: str) -> tuple[str, list[Any] | None]:
    """A description without the `(choices: […])` at its end, and those values; None where it has no such list.

    Example:
        >>> split_choices('The unit. (choices: ["celsius", "fahrenheit"])')
        ('The unit.', ['celsius', 'fahrenheit'])
    """
    match = _CHOICES.search(description)
    if match is None:
        return description, None
    try:
        values = json.loads(match.group(1))
    except ValueError:
        return description, None
    return description[: match.start()].rstrip(), values
