"""`${env:NAME}` in a recipe: a value of the environment, as a secret."""

from __future__ import annotations

import os
import re

from mentor_kit.core.errors import RecipeError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.secret import Secret, remember
from mentor_kit.recipe.source import Path_, Source

_REFERENCE = re.compile(r"\$\{env:([^}]*)\}")


def resolve_secrets(source: Source) -> None:
    """Replace `${env:NAME}` in options by the environment's values, as secrets.

    Raises:
        RecipeError: a variable is not set, or a reference stands outside a component's options.
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
        remember(os.environ[name], f"${{env:{name}}}")
    return Secret(_REFERENCE.sub(lambda found: os.environ[found.group(1)], value), value)
