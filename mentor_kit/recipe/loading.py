"""Loads a recipe from a file, a name, a mapping or a `Recipe`: `extends`, overrides, secrets, validation."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import RecipeError, UsageError
from mentor_kit.core.explanation import shown
from mentor_kit.core.frozen_model import Json
from mentor_kit.recipe.environment import resolve_secrets
from mentor_kit.recipe.faults import RecipeFaults, faults_at
from mentor_kit.recipe.model import Recipe
from mentor_kit.recipe.python_values import NO_OVERRIDES, as_data, checked_overrides, plain_mapping
from mentor_kit.recipe.settings import apply_overrides
from mentor_kit.recipe.source import STDIN, Source, closest, merge, python_source, read_source
from mentor_kit.recipe.yaml_writer import to_yaml
from mentor_kit.utils.paths import expanded_path

if TYPE_CHECKING:
    from mentor_kit.hooks.registry import Registry


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe with where it came from."""

    recipe: Recipe
    folder: Path
    """What relative paths in it are relative to."""
    source: Source
    """Its data, with the places of its values where it has a file."""


#: What a recipe can be given as: a file, a name, the data of a file, a recipe built in Python, or one that is loaded.
RecipeLike: TypeAlias = str | Path | Mapping[str, Any] | Recipe | LoadedRecipe


def load_recipe(recipe: RecipeLike, overrides: Mapping[str, Any] = NO_OVERRIDES) -> LoadedRecipe:
    """Load a recipe and apply overrides. The options of its components are not checked yet.

    Args:
        recipe: a path, the name of a shipped or registered recipe such as `quickstart` or `miniature/causes/sft`, the
            data of a recipe as a mapping, or a `Recipe`. Relative paths in a recipe from Python start from the working
            directory, those of a file from its folder.
        overrides: values by dotted key, such as `{"train.0.steps": 9}`, applied in order.

    Raises:
        RecipeError: there is no such recipe, or something in it is wrong; every fault is named with its place.
        UsageError: `recipe` or `overrides` are of another type.
    """
    if isinstance(recipe, LoadedRecipe) and not checked_overrides(overrides):
        return recipe
    return validated(*read_recipe(recipe, overrides))


def read_recipe(recipe: RecipeLike, overrides: Mapping[str, Any] = NO_OVERRIDES) -> tuple[Source, Path]:
    """A recipe's data, not validated yet, and the folder that its relative paths start from; as for `load_recipe`.

    Raises:
        RecipeError: there is no such recipe, it cannot be read, or an override or secret leads nowhere.
    """
    settings = checked_overrides(overrides)
    source, folder = _source_of(recipe)
    apply_overrides(source, settings)
    resolve_secrets(source)
    return source, folder


def _source_of(recipe: RecipeLike) -> tuple[Source, Path]:
    if isinstance(recipe, LoadedRecipe):
        return replace(deepcopy(recipe.source), data=recipe_as_data(recipe)), recipe.folder
    if isinstance(recipe, Recipe):
        return Source(as_data(recipe)), Path.cwd()
    if isinstance(recipe, Mapping):
        return _on_base(python_source(plain_mapping(recipe)), Path.cwd(), ()), Path.cwd()
    if isinstance(recipe, str | Path):
        file = find_recipe(recipe)
        return _extended(file, ()), _folder_of(file)
    raise UsageError(
        f"{type(recipe).__name__} is not a recipe: {shown(recipe)}",
        hint="give a path, a name such as 'quickstart', a mapping or a mentor_kit.Recipe",
    )


def validated(source: Source, folder: Path) -> LoadedRecipe:
    """The data as a recipe; the options of components are not checked.

    Raises:
        RecipeFaults: keys or values of the recipe itself are wrong.
    """
    from mentor_kit.hooks.options import validated as checked

    recipe, found = checked(Recipe, source.data)
    if recipe is None or found:
        raise RecipeFaults(faults_at(source, found))
    return LoadedRecipe(recipe, _base(folder, recipe), source)


def _base(folder: Path, recipe: Recipe) -> Path:
    """What a recipe's relative paths are relative to."""
    return folder if recipe.folder is None else (folder / expanded_path(recipe.folder)).resolve()


def find_recipe(recipe: str | Path) -> Path:
    """The file of a recipe that a user names; a pipe, or `-` for standard input, is one too.

    Raises:
        RecipeError: there is none.
    """
    try:
        path = Path(recipe).expanduser()
        if path == STDIN or (path.exists() and not path.is_dir()):
            return path
    except (OSError, ValueError, RuntimeError) as error:  # too long, a null byte, or no such home
        raise RecipeError(f"{shown(str(recipe))} cannot be the name of a recipe: {error}") from None
    # a name wins over a folder of that name, such as one that a run was written to
    if path.is_dir() and str(recipe) not in recipe_names():
        raise RecipeError(f"{recipe}: is a folder, not a recipe", hint="give one of the files in it")
    return _named(str(recipe))


def recipe_names() -> list[str]:
    """The names of all recipes: those that come with mentor-kit, and those of plugins."""
    return sorted({*_shipped(), *_registry().components("recipes")})


def recipe_summaries() -> dict[str, str]:
    """What the recipes that come with mentor-kit are for, by name: their first comment, or else what they change."""
    return {name: _summary(file) for name, file in _shipped().items()}


def _summary(file: Path) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    block = dropwhile(lambda line: not line.startswith("#"), lines)
    comment = " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), block))
    keys = [line.partition(":")[0] for line in lines if line[:1].isalpha() and not line.startswith(("name", "extends"))]
    base = next((line.partition(":")[2].strip() for line in lines if line.startswith("extends")), "")
    changed = f" with another {', '.join(keys)}" if keys else ""
    return comment.partition(". ")[0].rstrip(".:") or f"{base.removeprefix('../').removesuffix('.yaml')}{changed}"


def _named(name: str) -> Path:
    if name in (shipped := _shipped()):
        return shipped[name]
    registry = _registry()
    if registry.has("recipes", name):
        from mentor_kit.hooks.registry import BuildContext

        return Path(registry.build("recipes", ComponentSpec(use=name), BuildContext(registry=registry)))
    known = recipe_names()
    raise RecipeError(
        f"there is no recipe {name!r}{closest(name, known)}",
        hint=f"give a file, or one of: {', '.join(_offered(name, known))}",
    )


def _offered(name: str, known: list[str]) -> list[str]:
    """The recipes of the folder that a name has, or, if it has none, those outside of folders, and the folders."""
    folder = name.rpartition("/")[0]
    inside = [other for other in known if folder and other.rpartition("/")[0] == folder]
    partitions = (other.partition("/") for other in known)
    return inside or list(dict.fromkeys(f"{first}/…" if rest else first for first, _, rest in partitions))


def _folder_of(file: Path) -> Path:
    """The folder that a recipe's paths start from: a pipe is read where the command is called."""
    return file.resolve().parent if file.is_file() else Path.cwd()


def _shipped() -> dict[str, Path]:
    installed, source_tree = Path(__file__).parent / "shipped", Path(__file__).parents[2] / "recipes"
    root = installed if installed.is_dir() else source_tree
    return {file.relative_to(root).with_suffix("").as_posix(): file for file in sorted(root.rglob("*.yaml"))}


def _registry() -> Registry:
    from mentor_kit.hooks.loader import default_registry

    return default_registry()


def dump_recipe(loaded: LoadedRecipe) -> str:
    """The whole recipe as YAML, every default written out, secrets as references again."""
    return to_yaml(recipe_as_data(loaded))


def recipe_as_data(loaded: LoadedRecipe) -> dict[str, Json]:
    """The whole recipe as plain data, secrets as references."""
    data: dict[str, Json] = as_data(loaded.recipe)
    return data | {"folder": str(loaded.folder)}


def _extended(file: Path, chain: tuple[Path, ...]) -> Source:
    """A file's data on top of that of the file it extends."""
    resolved = file.resolve()
    if resolved in chain:
        circle = " -> ".join(str(step) for step in (*chain[chain.index(resolved) :], resolved))
        raise RecipeError(f"{file}: `extends` is circular: {circle}")
    return _on_base(read_source(file), file.parent if file.is_file() else Path.cwd(), (*chain, resolved))


def _on_base(source: Source, folder: Path, chain: tuple[Path, ...]) -> Source:
    """The data on top of that of the recipe it extends, whose path starts from a folder."""
    base = source.data.pop("extends", None)
    if base is None:
        return source
    if not isinstance(base, str):
        raise RecipeError(source.fault(("extends",), f"expected a file or a recipe's name, not {base!r}"))
    beside = folder / base
    try:
        below = beside if beside.is_file() else find_recipe(base)
    except (RecipeError, OSError, ValueError) as error:
        message, hint = (error.message, error.hint) if isinstance(error, RecipeError) else (str(error), None)
        raise RecipeError(source.fault(("extends",), message), hint=hint) from None
    return merge(_extended(below, chain), source)
