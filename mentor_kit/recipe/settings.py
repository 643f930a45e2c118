"""Overrides of a recipe: `{"train.0.steps": 9}` from Python, `--set train.0.steps=9` on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from mentor_kit.core.errors import RecipeError, UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.recipe.source import NOWHERE, Path_, Place, Source, located, plain_value
from mentor_kit.rl.objective import PRESETS, ObjectiveSpec

#: The keys of a component that are no options of it; gates and terms of a reward have more.
SLOT_KEYS = frozenset({"use", "with"})
REWARD_KEYS = SLOT_KEYS | {"name", "otherwise", "threshold", "weight", "when_wrong"}

#: The recipe's keys where a bare name stands for `{use: name}`.
SPEC_KEYS = frozenset({"backend", "task", "teacher", "reward", "adapter", "agent", "loss", "advantage"})

#: The recipe's key where a bare name stands for `{model: name}`.
STUDENT = "student"

_EXAMPLES = {"--set": "train.0.steps=9", "--with": "model=NAME"}
_NUMBER = re.compile(r"-?[0-9]+")


class Settings(dict[str, Json]):
    """Overrides of the command line, with the place of each, such as `--set train.0.steps=9`."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str, Place] = {}


def parse_settings(strings: Iterable[str], flag: str = "--set") -> Settings:
    """The overrides that strings such as `train.0.steps=9` stand for; of two with one key the later counts.

    Args:
        strings: as a user writes them.
        flag: the option of the command line that they follow, for messages.

    Raises:
        RecipeError: a string has no `=`, or its value is not YAML.
    """
    settings = Settings()
    for string in strings:
        key, equals, value = string.partition("=")
        if not equals or not all(key.split(".")):
            raise RecipeError(f"{flag} {string}: expected key=value", hint=f"for example {flag} {_EXAMPLES[flag]}")
        settings.pop(key, None)
        settings[key] = _parse_value(value, f"{flag} {string}")
        settings.places[key] = Place(f"{flag} {string}")
    return settings


def parse_rewards(strings: Iterable[str], flag: str = "--reward") -> list[Json]:
    """Rewards as strings have them: a preset's name, or YAML such as `{use: mentor, with: {tools: 0.5}}`.

    Raises:
        RecipeError: a string is not YAML, or is empty.
    """
    found = [_parse_value(string, f"{flag} {string}") for string in strings]
    if any(not isinstance(value, str | dict) for value in found):
        raise RecipeError(f"{flag}: expected the name of a reward", hint=f"for example {flag} sparse")
    return found


def parse_steps(string: str, flag: str = "--steps") -> tuple[int, int]:
    """The first and the last step of a string such as `40-60`, or `40`.

    Raises:
        UsageError: it is something else.
    """
    found = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", string.strip())
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if last < first:
        raise UsageError(f"{flag} {string}: expected the first and the last step", hint=f"for example {flag} 40-60")
    return first, last


def combine(*overrides: Mapping[str, Json]) -> Settings:
    """Overrides one after another; of two with one key the later counts, and takes its place in the order."""
    combined = Settings()
    for mapping in overrides:
        for key, value in mapping.items():
            combined.pop(key, None)
            combined.places.pop(key, None)
            combined[key] = value
        if isinstance(mapping, Settings):
            combined.places |= mapping.places
    return combined


def apply_overrides(source: Source, overrides: Mapping[str, Json]) -> None:
    """Apply overrides in their order; as for `override`."""
    places = overrides.places if isinstance(overrides, Settings) else {}
    for key, value in overrides.items():
        override(source, key, value, places.get(key, NOWHERE))


def override(source: Source, key: str, value: Json, place: Place = NOWHERE) -> None:
    """Set the value at a dotted key; an option of a component may leave out its `with`.

    A new `use` drops the options of the former component.

    Args:
        source: the recipe's data, which is changed.
        key: such as `train.0.steps`.
        value: plain data.
        place: where the value was given; `NOWHERE` from Python.

    Raises:
        RecipeError: the key is empty, or leads through something that is not there.
    """
    steps = key.split(".")
    walk = _Walk(source, key, place)
    if not all(steps):
        raise RecipeError(located(place, f"override {key!r}: not a dotted key"), hint="for example train.0.steps")
    for step, after in pairwise(steps):
        walk.into(step, after)
    walk.put(steps[-1], value)


def _parse_value(text: str, setting: str) -> Json:
    """A value as YAML reads it.

    Raises:
        RecipeError: it is not YAML.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return plain_value(YAML(typ="safe", pure=True).load(text))
    except (YAMLError, ValueError, RecursionError):
        raise RecipeError(f"{setting}: the value is not valid YAML") from None


class _Walk:
    """A way down into the data, step by step."""

    def __init__(self, source: Source, override: str, place: Place) -> None:
        self.source, self.override, self.place = source, override, place
        self.node: Any = source.data
        self.path: Path_ = ()

    def into(self, step: str, after: str) -> None:
        """Go down by one step, making what is missing; `after` is the step that follows."""
        key = self._key(step)
        child = self.node.get(key) if isinstance(self.node, dict) else self.node[key]
        if child is None and key == "loss" and self.path[-1:] == ("objective",):
            # an option of the preset's loss
            preset = ObjectiveSpec(preset=_known_preset(self.node.get("preset")))
            child = self._set(key, {"use": preset.loss.use})
        elif child is None:
            child = self._set(key, [] if _NUMBER.fullmatch(after) else {})
        elif isinstance(child, str) and (isinstance(key, int) or key in SPEC_KEYS or key == STUDENT):
            child = self.node[key] = {"model" if key == STUDENT else "use": child}
        elif not isinstance(child, dict | list):
            raise self._fault(f"{_dotted((*self.path, key))} is a plain value, and has no {after!r}")
        self.node, self.path = child, (*self.path, key)

    def put(self, step: str, value: Json) -> None:
        """Set the last step's value."""
        key = self._key(step)
        if key == "use" and isinstance(self.node, dict) and self.node.get("use") not in (None, value):
            self.node.pop("with", None)
        if key == "preset" and self.path[-1:] == ("objective",) and isinstance(self.node, dict):
            self._forget_preset(self.node.get("preset"))
        self._set(key, value)

    def _forget_preset(self, former: Json) -> None:
        """Drop the values of an objective that are the former preset's own, as in a recipe with all defaults."""
        own = ObjectiveSpec(preset=_known_preset(former)).model_dump(mode="json")
        for name in [name for name in self.node if name in own and _written_out(self.node[name], own[name])]:
            del self.node[name]

    def _key(self, step: str) -> str | int:
        """The step as a key of this node; where it is an option of a component, the node moves on to its options."""
        if isinstance(self.node, list):
            if not _NUMBER.fullmatch(step) or not -len(self.node) <= int(step) < len(self.node):
                raise self._fault(f"{_dotted(self.path)} is a list of {len(self.node)}, and has no {step!r}")
            return int(step) % len(self.node)
        if self._is_option(step):
            if self.node.get("with") is None:
                self.node["with"] = {}
            self.node, self.path = self.node["with"], (*self.path, "with")
            if not isinstance(self.node, dict):
                raise self._fault(f"{_dotted(self.path)} is not a mapping, and has no {step!r}")
        return step

    def _is_option(self, step: str) -> bool:
        slot_keys = REWARD_KEYS if self.path[-2:-1] in (("gates",), ("terms",)) else SLOT_KEYS
        is_spec = "use" in self.node or bool(SPEC_KEYS.intersection(self.path[-1:]))
        # options may have a `use` of their own beside other keys, as an optimizer has: that is no component
        return is_spec and step not in slot_keys and slot_keys.issuperset(self.node)

    def _set(self, key: str | int, value: Json) -> Json:
        self.node[key] = value
        path = (*self.path, key)
        for table in (self.source.keys, self.source.values):
            for known in [known for known in table if known[: len(path)] == path]:
                del table[known]
            table[path] = self.place
        return value

    def _fault(self, message: str) -> RecipeError:
        hint = "numbers in lists count from 0" if isinstance(self.node, list) else None
        label = str(self.place) or f"override {self.override!r}"
        return RecipeError(f"{label}: {message}", hint=hint)


def _known_preset(name: Json) -> str:
    """The name of an objective's preset; the default one's where it is left out, or is wrong, which is found later."""
    return name if isinstance(name, str) and name in PRESETS else "grpo"


def _written_out(value: Json, full: Json) -> bool:
    """Whether a value is the same as one with nothing left out: a bare name is a component without options."""
    if isinstance(full, dict) and "use" in full:
        value = {"use": value} if isinstance(value, str) else value
        return isinstance(value, dict) and {"with": {}, **value} == full
    return bool(value == full)


def _dotted(path: Path_) -> str:
    return ".".join(map(str, path))
