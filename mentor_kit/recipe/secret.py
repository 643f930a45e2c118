"""Secrets: values of the environment that a recipe names, and that are never written out."""

from __future__ import annotations

import os
import re

from mentor_kit.errors import RecipeError
from mentor_kit.recipe.source import Path_, Source
from mentor_kit.record import Json

_REFERENCE = re.compile(r"\$\{env:([^}]*)\}")

#: What was read from the environment in this process, with the references that stand for it.
_read: dict[str, str] = {}

#: Shorter values are no secrets: hiding `1` would make messages unreadable.
SHORTEST = 4


class Secret(str):
    """A value from the environment; written out, it is the reference again."""

    __slots__ = ("reference",)
    reference: str

    def __new__(cls, value: str, reference: str) -> Secret:
        """The value, with the text (`${env:NAME}`) it came from."""
        made = super().__new__(cls, value)
        made.reference = reference
        return made

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return str(self), self.reference

    def __repr__(self) -> str:
        return repr(self.reference)


def hide(text: str) -> str:
    """The text with every secret this process has read replaced by its reference, for messages."""
    for value in sorted(_read, key=len, reverse=True):
        text = text.replace(value, _read[value])
    return text


def resolve_secrets(source: Source) -> None:
    """Replace `${env:NAME}` in options by the environment's values, as secrets.

    Raises:
        RecipeError: a variable is not set, or a reference stands outside a part's options.
    """
    source.data = _resolved(source.data, (), source)


def _resolved(value: Json, path: Path_, source: Source) -> Json:
    if isinstance(value, dict):
        return {key: _resolved(item, (*path, key), source) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, (*path, index), source) for index, item in enumerate(value)]
    if not isinstance(value, str) or not _REFERENCE.search(value):
        return value
    if "with" not in path:
        raise RecipeError(source.fault(path, "a secret can only stand inside `with:`, where it is never written out"))
    for name in _REFERENCE.findall(value):
        if name not in os.environ:
            raise RecipeError(
                source.fault(path, f"the environment variable {name!r} is not set"),
                hint=f"set it: export {name or 'NAME'}=…",
            )
        if len(os.environ[name]) >= SHORTEST:
            _read[os.environ[name]] = f"${{env:{name}}}"
    return Secret(_REFERENCE.sub(lambda found: os.environ[found.group(1)], value), value)
