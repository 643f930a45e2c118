"""A recipe as plain data, with a side table of the places in files that its keys and values came from."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mentor_kit.core.errors import RecipeError, did_you_mean
from mentor_kit.core.frozen_model import Json

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Place:
    """Where a value stands: a file with line and column from 1, a setting of the command line, or `NOWHERE`."""

    file: str
    """Empty for a value from Python."""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


#: The place of a value from Python: messages name its key alone.
NOWHERE = Place("")


def located(place: Place, message: str) -> str:
    """A message with the place in front, where there is one."""
    return f"{place}: {message}" if place.file else message


@dataclass
class Source:
    """A recipe's data, with the places of keys and values by path; those of a recipe from Python have none."""

    data: dict[str, Json]
    keys: dict[Path_, Place] = field(default_factory=dict)
    values: dict[Path_, Place] = field(default_factory=dict)

    def place(self, path: Path_, *, key: bool = False) -> Place:
        """Where the value (or the key) at a path stands, or the nearest thing around it."""
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, NOWHERE)

    def fault(self, path: Path_, message: str, *, key: bool = False) -> str:
        """A message with the place of a value in front, such as `recipe.yaml:9:12: reward.use: …`."""
        return located(self.place(path, key=key), f"{'.'.join(map(str, path))}: {message}" if path else message)


def python_source(data: dict[str, Json]) -> Source:
    """Data from Python: every value of it is `NOWHERE`, also on top of a file that it extends."""
    source = Source(data)

    def note(value: Json, path: Path_) -> None:
        source.keys[path] = source.values[path] = NOWHERE
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in items:
            note(item, (*path, key))

    note(data, ())
    return source


#: The path that stands for standard input.
STDIN = Path("-")


def read_source(file: Path) -> Source:
    """The data of one YAML 1.2 file, of a pipe, or of standard input.

    Raises:
        RecipeError: the file cannot be read, is not YAML, has a key twice, or is not a mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    shown = _shown(file)
    try:
        text = sys.stdin.read() if file == STDIN else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecipeError(f"{shown}: cannot be read: {reason}") from None
    try:
        loaded = YAML(typ="rt", pure=True).load(text)
        if not isinstance(loaded, dict):
            raise RecipeError(f"{shown}: a recipe is a mapping of keys to values", hint="start it with `mentorkit: 1`")
        source = Source({}, values={(): Place(shown, 1, 1)})
        source.data = _Reader(shown, source).value(loaded, ())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(shown, mark.line + 1, mark.column + 1) if mark is not None else Place(shown)
        raise RecipeError(f"{place}: not valid YAML: {_first_line(error.problem or error.context)}") from None
    except RecursionError:
        raise RecipeError(f"{shown}: nested too deeply, or a value contains itself") from None
    except (YAMLError, ValueError) as error:
        raise RecipeError(f"{shown}: not valid YAML: {_first_line(str(error))}") from None
    return source


def merge(base: Source, over: Source) -> Source:
    """`over` on top of `base`: mappings are merged key by key, everything else is replaced.

    Where `over` names another component, the options of the former one are dropped, as a reward with gates and terms of
    its own drops the preset.
    """
    merged = Source({}, dict(base.keys), dict(base.values))
    merged.data = _merged(base.data, over.data, (), merged)
    merged.keys |= over.keys
    merged.values |= over.values
    return merged


def plain_value(node: Any) -> Json:
    """A value as JSON has it: dates as strings, numbers and strings without ruamel's own types."""
    if isinstance(node, dict):
        return {str(key): plain_value(item) for key, item in node.items()}
    if isinstance(node, list):
        return [plain_value(item) for item in node]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return str(node)


class _Reader:
    """Turns ruamel's values into plain ones, and notes their places."""

    def __init__(self, file: str, source: Source) -> None:
        self.file, self.source = file, source

    def value(self, node: Any, path: Path_) -> Any:
        """The plain value of a node."""
        from ruamel.yaml.scalarbool import ScalarBoolean

        self._refuse_tag(node, path)
        if isinstance(node, dict):
            return self._mapping(node, path)
        if isinstance(node, list):
            for index in range(len(node)):
                self.source.values[(*path, index)] = self._place(*node.lc.data[index][:2])  # type: ignore[attr-defined]
            return [self.value(item, (*path, index)) for index, item in enumerate(node)]
        return bool(node) if isinstance(node, ScalarBoolean) else plain_value(node)

    def _mapping(self, node: Any, path: Path_) -> dict[str, Any]:
        around = self.source.place(path)
        for key in node:
            if not isinstance(key, str):
                raise RecipeError(f"{around}: the key {key!r} is not a string; put it in quotes")
            # a key that came through YAML's `<<` has no place of its own
            marks = node.lc.data.get(key)
            self.source.keys[(*path, key)] = self._place(*marks[:2]) if marks else around
            self.source.values[(*path, key)] = self._place(*marks[2:]) if marks else around
        return {str(key): self.value(item, (*path, key)) for key, item in node.items()}

    def _place(self, line: int, column: int) -> Place:
        return Place(self.file, line + 1, column + 1)

    def _refuse_tag(self, node: Any, path: Path_) -> None:
        tag = getattr(getattr(node, "tag", None), "value", None)
        if tag is not None:
            raise RecipeError(self.source.fault(path, f"YAML tags such as {tag} have no meaning in a recipe"))


def _merged(base: Any, over: Any, path: Path_, tables: Source) -> Any:
    if isinstance(base, str) and isinstance(over, dict) and "with" in over:
        base = {"use": base}
    elif isinstance(over, str) and isinstance(base, dict) and "use" in base:
        over = {"use": over}
    elif path == ("student",):
        # a bare name stands for the model alone, so that the rest of the student is kept
        base, over = ({"model": side} if isinstance(side, str) else side for side in (base, over))
    if isinstance(base, dict) and isinstance(over, dict):
        left = {key: value for key, value in base.items() if key not in _forgotten(base, over)}
        _forget(tables, [(*path, key) for key in base if key not in left])
        both = {key: _merged(left[key], over[key], (*path, key), tables) for key in left if key in over}
        return left | over | both
    _forget(tables, [known for known in tables.values if known[: len(path)] == path and known != path])
    return over


def _forgotten(base: dict[str, Any], over: dict[str, Any]) -> set[str]:
    """The keys that belong to the former component."""
    own_parts = {"gates", "terms"}
    if "use" in over:
        return {"with"} if base.get("use", over["use"]) != over["use"] else own_parts & base.keys()
    return {"use", "with"} if own_parts & over.keys() and "use" in base else set()


def _forget(tables: Source, paths: Iterable[Path_]) -> None:
    for path in paths:
        for table in (tables.keys, tables.values):
            for known in [known for known in table if known[: len(path)] == path]:
                del table[known]


def _shown(file: Path) -> str:
    if file == STDIN:
        return "<stdin>"
    try:
        return str(file.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(file)


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n")[0]


def closest(name: str, known: Iterable[str]) -> str:
    """A did-you-mean among names with folders, by their last part too."""
    names = list(known)
    return did_you_mean(name, names) or did_you_mean(name, [entry.rsplit("/", 1)[-1] for entry in names])
