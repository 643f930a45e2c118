"""From a file, or the name of a shipped recipe, to a recipe: `extends`, settings, secrets, validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from mentor_kit.errors import RecipeError
from mentor_kit.recipe.model import Recipe
from mentor_kit.recipe.source import (
    Path_,
    Place,
    Secret,
    Source,
    closest,
    merge,
    override,
    read_source,
    resolve_environment,
)
from mentor_kit.record import Json

#: Keys of slots that are not options.
SLOT_KEYS = frozenset({"use", "with", "name", "otherwise", "threshold", "weight", "when_wrong"})


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe with where it came from."""

    recipe: Recipe
    folder: Path
    """What relative paths in it are relative to."""
    source: Source
    """Its data, with the place of every value."""

    def fault(self, path: Path_, message: str, *, key: bool = False) -> str:
        """A message with the place of a value in front, such as `recipe.yaml:9:12: reward.use: …`."""
        return fault(self.source, path, message, key=key)


def fault(source: Source, path: Path_, message: str, *, key: bool = False) -> str:
    """As `LoadedRecipe.fault`, for data that is no recipe yet."""
    place = source.place(path, key=key) or Place("recipe")
    return f"{place}: {'.'.join(map(str, path))}: {message}" if path else f"{place}: {message}"


def load_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """The recipe in a file, or of that name, with settings applied. Plugins' options are not checked yet.

    Args:
        recipe: a path, or the name of a shipped or registered recipe such as `quickstart` or `miniature/causes/sft`.
        overrides: settings such as `train.0.steps=9`, in order.

    Raises:
        RecipeError: there is no such recipe, or something in it is wrong; every fault is named with its place.
    """
    file = find_recipe(recipe)
    source = _extended(file, ())
    for setting in overrides:
        override(source, setting, SLOT_KEYS)
    resolve_environment(source)
    try:
        loaded = Recipe.model_validate(source.data)
    except ValidationError as error:
        raise RecipeError("\n".join(_faults(source, error))) from None
    folder = Path(loaded.folder) if loaded.folder else file.resolve().parent
    return LoadedRecipe(loaded, folder, source)


def find_recipe(recipe: str | Path) -> Path:
    """The file of a recipe that a user names.

    Raises:
        RecipeError: there is none.
    """
    path = Path(recipe).expanduser()
    if path.is_file():
        return path
    known = shipped_recipes()
    if str(recipe) in known:
        return known[str(recipe)]
    if path.is_dir():
        raise RecipeError(f"{recipe}: is a folder, not a recipe", hint="give one of the files in it")
    raise RecipeError(
        f"there is no recipe {str(recipe)!r}{closest(str(recipe), list(known))}",
        hint=f"give a file, or one of: {', '.join(known)}",
    )


def shipped_recipes() -> dict[str, Path]:
    """Recipes by name: those that come with mentor-kit, and those of plugins."""
    found: dict[str, Path] = {}
    installed, source_tree = Path(__file__).parent / "shipped", Path(__file__).parents[2] / "recipes"
    root = installed if installed.is_dir() else source_tree
    for file in sorted(root.rglob("*.yaml")):
        found[file.relative_to(root).with_suffix("").as_posix()] = file
    return found | _registered()


def dump_recipe(loaded: LoadedRecipe) -> str:
    """The whole recipe as YAML, every default written out, secrets as references again."""
    import io

    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    stream = io.StringIO()
    yaml.dump(recipe_as_data(loaded), stream)
    return stream.getvalue()


def recipe_as_data(loaded: LoadedRecipe) -> dict[str, Json]:
    """The whole recipe as plain data, secrets as references."""
    data: dict[str, Json] = _as_data(loaded.recipe)
    return data | {"folder": str(loaded.folder)}


def _extended(file: Path, chain: tuple[Path, ...]) -> Source:
    """A file's data on top of that of the file it extends."""
    resolved = file.resolve()
    if resolved in chain:
        circle = " -> ".join(str(step) for step in (*chain[chain.index(resolved) :], resolved))
        raise RecipeError(f"{file}: `extends` goes round in a circle: {circle}")
    source = read_source(file)
    base = source.data.pop("extends", None)
    if base is None:
        return source
    if not isinstance(base, str):
        raise RecipeError(fault(source, ("extends",), f"expected a file or a recipe's name, not {base!r}"))
    beside = file.parent / base
    try:
        below = beside if beside.is_file() else find_recipe(base)
    except RecipeError as error:
        raise RecipeError(fault(source, ("extends",), error.message), hint=error.hint) from None
    return merge(_extended(below, (*chain, resolved)), source)


def _faults(source: Source, error: ValidationError) -> list[str]:
    from mentor_kit.hooks.registry import explain

    found = []
    for place, message in _of_best_members(explain(error, Recipe)):
        path = _real_path(source.data, place)
        found.append(fault(source, path, message, key=message.startswith("unknown key")))
    return list(dict.fromkeys(found))


def _of_best_members(faults: list[tuple[Path_, str]]) -> list[tuple[Path_, str]]:
    """Where a value may be one of several models, the faults of the model it comes closest to."""

    def member(place: Path_) -> tuple[Path_, str] | None:
        found = next((index for index, step in enumerate(place) if isinstance(step, str) and step[:1].isupper()), None)
        return None if found is None else (place[:found], str(place[found]))

    counts: dict[tuple[Path_, str], int] = {}
    for place, _ in faults:
        if (key := member(place)) is not None:
            counts[key] = counts.get(key, 0) + 1

    def is_best(place: Path_) -> bool:
        key = member(place)
        return key is None or key == min((k for k in counts if k[0] == key[0]), key=lambda k: counts[k])

    return [(place, message) for place, message in faults if is_best(place)]


def _real_path(data: Any, place: Path_) -> Path_:
    """The path without the steps that pydantic adds for unions: names of models rather than keys."""
    path: list[str | int] = []
    node: Any = data
    for index, step in enumerate(place):
        last = index == len(place) - 1
        inside = (isinstance(node, dict) and step in node) or (isinstance(node, list) and isinstance(step, int))
        if inside:
            node = node[step]
            path.append(step)
        elif last and isinstance(step, str) and not step[:1].isupper() and "[" not in step:
            path.append(step)
    return tuple(path)


def _registered() -> dict[str, Path]:
    from mentor_kit.hooks.registry import BuildContext, default_registry

    registry = default_registry()
    context = BuildContext(registry=registry)
    return {name: Path(part.build(part.options(), context)) for name, part in registry.parts("recipes").items()}


def _as_data(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reference
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {field.alias or name: _as_data(getattr(value, name)) for name, field in fields.items()}
    if isinstance(value, dict):
        return {str(key): _as_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_data(item) for item in value]
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)
