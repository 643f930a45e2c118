"""Recipe files as plain data that remembers, for every value, the place it came from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mentor_kit.errors import RecipeError, did_you_mean
from mentor_kit.record import Json

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """Where a value stands: a file with line and column from 1, or a setting of the command line."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Secret(str):
    """A value from the environment; written out, it is the reference again."""

    __slots__ = ("reference",)
    reference: str

    def __new__(cls, value: str, reference: str) -> Secret:
        """The value, with the text (`${env:NAME}`) it came from."""
        made = super().__new__(cls, value)
        made.reference = reference
        return made

    def __repr__(self) -> str:
        return repr(self.reference)


@dataclass
class Source:
    """A recipe's data, with the place of every key and every value by path."""

    data: dict[str, Json]
    keys: dict[Path_, Place] = field(default_factory=dict)
    values: dict[Path_, Place] = field(default_factory=dict)

    def place(self, path: Path_, *, key: bool = False) -> Place | None:
        """Where the value (or the key) at a path stands, or the nearest thing around it."""
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path)


def read_source(file: Path, name: str | None = None) -> Source:
    """The data of one YAML 1.2 file.

    Raises:
        RecipeError: the file cannot be read, is not YAML, has a key twice, or is not a mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    shown = name or _shown(file)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecipeError(f"{shown}: cannot be read: {reason}") from None
    try:
        loaded = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(shown, mark.line + 1, mark.column + 1) if mark is not None else Place(shown)
        raise RecipeError(f"{place}: not valid YAML: {_first_line(error.problem or error.context)}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{shown}: not valid YAML: {_first_line(str(error))}") from None
    if not isinstance(loaded, dict):
        raise RecipeError(f"{shown}: a recipe is a mapping of keys to values", hint="start it with `mentorkit: 1`")
    source = Source({})
    source.data = _plain(loaded, (), shown, source)
    return source


def merge(base: Source, over: Source) -> Source:
    """`over` on top of `base`: mappings are merged key by key, everything else is replaced."""
    merged = Source({}, dict(base.keys), dict(base.values))
    merged.data = _merged(base.data, over.data, (), merged)
    merged.keys |= over.keys
    merged.values |= over.values
    return merged


def override(source: Source, setting: str, slot_keys: frozenset[str]) -> None:
    """Apply a setting such as `train.0.steps=9`; an option of a slot may leave out its `with`.

    Raises:
        RecipeError: the setting has no `=`, or leads through something that is not there.
    """
    path_text, equals, text = setting.partition("=")
    if not equals or not path_text:
        raise RecipeError(f"--set {setting}: expected key=value", hint="for example --set train.0.steps=9")
    steps = path_text.split(".")
    node: Any = source.data
    path: Path_ = ()
    for step in steps[:-1]:
        node, path = _descend(node, path, step, setting, slot_keys)
    node, path, last = _target(node, path, steps[-1], setting, slot_keys)
    value = parse_value(text, setting)
    node[last] = value
    path = (*path, last)
    for table in (source.keys, source.values):
        for known in [known for known in table if known[: len(path)] == path]:
            del table[known]
        table[path] = Place(f"--set {setting}")


def resolve_environment(source: Source) -> None:
    """Replace `${env:NAME}` in options by the environment's values, as secrets.

    Raises:
        RecipeError: a variable is not set, or a reference stands outside a part's options.
    """
    source.data = _resolved(source.data, (), source)


def parse_value(text: str, setting: str) -> Json:
    """A value as YAML reads it.

    Raises:
        RecipeError: it is not YAML.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError):
        raise RecipeError(f"--set {setting}: the value is not valid YAML") from None


_REFERENCE = re.compile(r"\$\{env:([^}]*)\}")


def _resolved(value: Json, path: Path_, source: Source) -> Json:
    if isinstance(value, dict):
        return {key: _resolved(item, (*path, key), source) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, (*path, index), source) for index, item in enumerate(value)]
    if not isinstance(value, str) or not _REFERENCE.search(value):
        return value
    shown = f"{source.place(path)}: {'.'.join(map(str, path))}"
    if "with" not in path:
        raise RecipeError(f"{shown}: a secret can only stand inside `with:`, where it is never written out")
    for name in _REFERENCE.findall(value):
        if name not in os.environ:
            raise RecipeError(
                f"{shown}: the environment variable {name!r} is not set", hint=f"set it: export {name or 'NAME'}=…"
            )
    return Secret(_REFERENCE.sub(lambda found: os.environ[found.group(1)], value), value)


def _descend(node: Any, path: Path_, step: str, setting: str, slot_keys: frozenset[str]) -> tuple[Any, Path_]:
    node, path, key = _target(node, path, step, setting, slot_keys)
    if isinstance(node, dict):
        if isinstance(node.get(key), str) and key in ("backend", "task", "teacher", "reward", "adapter"):
            node[key] = {"use": node[key]}
        if not isinstance(node.get(key), dict | list):
            node[key] = {}
    elif isinstance(node[int(key)], str):
        node[int(key)] = {"use": node[int(key)]}
    return node[key], (*path, key)


def _target(node: Any, path: Path_, step: str, setting: str, slot_keys: frozenset[str]) -> tuple[Any, Path_, str | int]:
    """Where a step leads: into a list by number, into a slot's options where it is none of the slot's own keys."""
    if isinstance(node, list):
        if not step.lstrip("-").isdigit() or not -len(node) <= int(step) < len(node):
            raise RecipeError(
                f"--set {setting}: {'.'.join(map(str, path))} is a list of {len(node)}, and has no {step!r}",
                hint="count from 0",
            )
        return node, path, int(step) % len(node)
    if not isinstance(node, dict):
        raise RecipeError(f"--set {setting}: {'.'.join(map(str, path))} is a plain value, and has no {step!r}")
    if "use" in node and step not in slot_keys:
        node.setdefault("with", {})
        return node["with"], (*path, "with"), step
    return node, path, step


def _plain(node: Any, path: Path_, file: str, source: Source) -> Any:
    """The value without ruamel's types; fills the tables of places."""
    if isinstance(node, dict):
        marks = node.lc.data  # type: ignore[attr-defined]
        for key in node:
            if not isinstance(key, str):
                raise RecipeError(f"{file}: the key {key!r} is not a text")
            key_line, key_column, line, column = marks[key]
            source.keys[(*path, key)] = Place(file, key_line + 1, key_column + 1)
            source.values[(*path, key)] = Place(file, line + 1, column + 1)
        return {str(key): _plain(item, (*path, key), file, source) for key, item in node.items()}
    if isinstance(node, list):
        for index in range(len(node)):
            line, column = node.lc.data[index][:2]  # type: ignore[attr-defined]
            source.values[(*path, index)] = Place(file, line + 1, column + 1)
        return [_plain(item, (*path, index), file, source) for index, item in enumerate(node)]
    return _scalar(node)


def _scalar(node: Any) -> Json:
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return str(node)


def _merged(base: Any, over: Any, path: Path_, tables: Source) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        keys = [*base, *(key for key in over if key not in base)]
        return {
            key: _merged(base[key], over[key], (*path, key), tables)
            if key in base and key in over
            else (over[key] if key in over else base[key])
            for key in keys
        }
    for table in (tables.keys, tables.values):
        for known in [known for known in table if known[: len(path)] == path and len(known) > len(path)]:
            del table[known]
    return over


def _shown(file: Path) -> str:
    try:
        return str(file.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(file)


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n")[0]


def closest(name: str, known: Iterator[str] | list[str]) -> str:
    """A did-you-mean among names with folders, by their last part too."""
    names = list(known)
    return did_you_mean(name, names) or did_you_mean(name, [entry.rsplit("/", 1)[-1] for entry in names])
