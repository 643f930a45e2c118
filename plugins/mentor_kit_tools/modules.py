"""Finds Python modules as files, and the names they define, without importing them."""

from __future__ import annotations

import ast
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from pathlib import Path

from mentor_kit.core.errors import did_you_mean
from mentor_kit.hooks.references import file_fault


def find_module(name: str, folder: Path) -> tuple[Path | None, str]:
    """A module's source file, and what is wrong with its name.

    Args:
        name: a module's dotted name, or a file `tools.py` relative to the folder.
        folder: where modules are looked for first, as by the worker that imports them.

    Returns:
        The file, None where there is none to read (a module that is built in, or compiled); and the fault, empty where
        the module was found.
    """
    if name.endswith(".py"):
        fault = file_fault(name, folder)
        return (None if fault else folder / name), fault
    places: list[str] | None = [str(folder), *sys.path]
    first, *rest = name.split(".")
    is_built_in = BuiltinImporter.find_spec(first) or FrozenImporter.find_spec(first)
    if name in sys.modules or (is_built_in and not rest):
        return None, ""  # such as os.path, which no finder finds
    file = None
    for step in (first, *rest):
        spec = PathFinder.find_spec(step, places)
        if spec is None:
            beside = [file.stem for file in folder.glob("*.py")]
            return None, f"there is no module {name!r}{did_you_mean(name, beside)} in {folder}, and none is installed"
        file = Path(spec.origin) if spec.origin is not None and spec.origin.endswith(".py") else None
        places = None if spec.submodule_search_locations is None else list(spec.submodule_search_locations)
    return file, ""


def top_level_names(file: Path) -> set[str] | None:
    """The names that a module's source defines at its top; None where that cannot be known without running it.

    Raises:
        SyntaxError: it is no Python.
        ValueError: it cannot be decoded.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes(), filename=str(file))):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            return None
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("globals", "exec"):
            return None
    return None if "__getattr__" in names else names
