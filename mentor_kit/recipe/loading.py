"""From a file, or the name of a shipped recipe, to a recipe: `extends`, settings, secrets, validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import RecipeError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.secret import Secret
from mentor_kit.recipe.environment import resolve_secrets
from mentor_kit.recipe.faults import RecipeFaults, faults_at
from mentor_kit.recipe.model import Recipe
from mentor_kit.recipe.settings import override
from mentor_kit.recipe.source import STDIN, Source, closest, merge, read_source
from mentor_kit.recipe.writing import to_yaml

if TYPE_CHECKING:
    from mentor_kit.hooks.registry import Registry


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe with where it came from."""

    recipe: Recipe
    folder: Path
    """What relative paths in it are relative to."""
    source: Source
    """Its data, with the place of every value."""


def load_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """The recipe in a file, or of that name, with settings applied. Plugins' options are not checked yet.

    Args:
        recipe: a path, or the name of a shipped or registered recipe such as `quickstart` or `miniature/causes/sft`.
        overrides: settings such as `train.0.steps=9`, in order.

    Raises:
        RecipeError: there is no such recipe, or something in it is wrong; every fault is named with its place.
    """
    return validated(*read_recipe(recipe, overrides))


def read_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> tuple[Source, Path]:
    """A recipe's data, not validated yet, and the folder of its file.

    Raises:
        RecipeError: there is no such recipe, it cannot be read, or a setting or secret leads nowhere.
    """
    file = find_recipe(recipe)
    source = _extended(file, ())
    for setting in overrides:
        override(source, setting)
    resolve_secrets(source)
    return source, _folder_of(file)


def validated(source: Source, folder: Path) -> LoadedRecipe:
    """The data as a recipe; parts' options are not looked at.

    Raises:
        RecipeFaults: keys or values of the recipe itself are wrong.
    """
    from mentor_kit.hooks.options import validated as checked

    recipe, found = checked(Recipe, source.data)
    if recipe is None or found:
        raise RecipeFaults(faults_at(source, source.data, found))
    return LoadedRecipe(recipe, folder if recipe.folder is None else (folder / recipe.folder).resolve(), source)


def find_recipe(recipe: str | Path) -> Path:
    """The file of a recipe that a user names; a pipe, or `-` for standard input, is one too.

    Raises:
        RecipeError: there is none.
    """
    path = Path(recipe).expanduser()
    if path == STDIN or (path.exists() and not path.is_dir()):
        return path
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
    parts = (other.partition("/") for other in known)
    return inside or list(dict.fromkeys(f"{first}/…" if rest else first for first, _, rest in parts))


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


def as_data(value: Any) -> Any:
    """A model as plain data, secrets as references."""
    if isinstance(value, Secret):
        return value.reference
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {field.alias or name: as_data(getattr(value, name)) for name, field in fields.items()}
    if isinstance(value, dict):
        return {str(key): as_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_data(item) for item in value]
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


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
        raise RecipeError(source.fault(("extends",), f"expected a file or a recipe's name, not {base!r}"))
    beside = (file.parent if file.is_file() else Path.cwd()) / base
    try:
        below = beside if beside.is_file() else find_recipe(base)
    except RecipeError as error:
        raise RecipeError(source.fault(("extends",), error.message), hint=error.hint) from None
    return merge(_extended(below, (*chain, resolved)), source)
