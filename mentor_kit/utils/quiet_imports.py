"""Imports without what a package prints meanwhile."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType

#: Set to anything, it turns off advice of transformers.
_NO_ADVICE = "TRANSFORMERS_NO_ADVISORY_WARNINGS"


def import_transformers() -> ModuleType:
    """Return transformers, imported without its line that PyTorch was not found: MLX needs none."""
    own = os.environ.get(_NO_ADVICE)
    os.environ[_NO_ADVICE] = "1"
    try:
        return import_module("transformers")
    finally:
        if own is None:
            del os.environ[_NO_ADVICE]
        else:
            os.environ[_NO_ADVICE] = own
