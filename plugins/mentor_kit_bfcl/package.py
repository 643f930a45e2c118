"""Access to the package bfcl-eval: its files, and its checkers without their unneeded requirements.

Its own requirements come to gigabytes (every server's package, sentence-transformers, faiss, an old NumPy). The
checkers need none of them: what they import of them is one table of models, `bfcl_eval.constants.model_config`, of
which they use one field, whether a model's functions have underscores for dots. A table with the two possible
values replaces it while they are imported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from mentor_kit.core.errors import DataError
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.references import missing_package

INSTALL = "pip install --no-deps bfcl-eval==2026.3.23 && pip install 'mentor-kit[bfcl]'"

#: Names in that table.
DOTS, UNDERSCORES = "dots", "underscores"

_TABLE = "bfcl_eval.constants.model_config"


def missing() -> str:
    """Return why BFCL cannot be used here, with the command that installs it; empty if it can."""
    if find_spec("bfcl_eval") is None:
        return f"the package bfcl-eval is not installed\n{INSTALL}  (without its own requirements, which are 6 GB)"
    return missing_package("mpmath", "bfcl")


def rows(name: str) -> list[dict[str, Json]]:
    """The rows of a file below the package's data, such as `BFCL_v4_multiple.json`.

    Raises:
        DataError: this version of the package has no such file, or another format.
    """
    spec = find_spec("bfcl_eval")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("bfcl_eval is not a package with data", hint=INSTALL)
    file = Path(spec.submodule_search_locations[0]) / "data" / name
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}", hint=f"this needs another version: {INSTALL}") from None


@lru_cache(1)
def ast_checker() -> Any:
    """The package's module that compares calls with gold ones: a copy of our own, with the small table.

    Raises:
        DataError: this version of the package has no such module.
    """
    spec = find_spec("bfcl_eval.eval_checker.ast_eval.ast_checker")
    if spec is None or spec.loader is None:
        raise DataError("bfcl-eval has no ast_checker", hint=f"this needs another version: {INSTALL}")
    module = module_from_spec(spec)
    with _table():
        spec.loader.exec_module(module)
    return module


@lru_cache(1)
def multi_turn_checker() -> Any:
    """Return the package's module that compares the effects of calls."""
    return import_module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker")


@lru_cache(1)
def multi_turn_utils() -> Any:
    """The package's module that executes gold calls."""
    return import_module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils")


@contextmanager
def _table() -> Iterator[None]:
    """Replace the large table by the small one, for this import alone."""
    table = ModuleType(_TABLE)
    models = {DOTS: False, UNDERSCORES: True}
    vars(table)["MODEL_CONFIG_MAPPING"] = {
        name: SimpleNamespace(underscore_to_dot=underscores) for name, underscores in models.items()
    }
    former = sys.modules.get(_TABLE)
    sys.modules[_TABLE] = table
    try:
        yield
    finally:
        if former is None:
            del sys.modules[_TABLE]
        else:
            sys.modules[_TABLE] = former
