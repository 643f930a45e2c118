"""Lists the recipes that there are: what each is for, what it needs, and whether it runs on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.backend.base_model import is_hub_id
from mentor_kit.core.errors import MentorKitError, UsageError, did_you_mean
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.references import RELATIVE
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.checking import check_recipe, load_checked, unavailable_components
from mentor_kit.recipe.faults import RecipeFaults
from mentor_kit.recipe.loading import LoadedRecipe, recipe_names, recipe_summaries
from mentor_kit.utils.hub_cache import downloaded


@dataclass(frozen=True)
class ListedRecipe:
    """A recipe that `mentorkit run` finds by its name."""

    name: str
    summary: str
    plugin: str = ""
    """The plugin that has it; empty for one that comes with mentor-kit."""
    model: str = ""
    """The student's model."""
    backend: str = ""
    downloads: tuple[str, ...] = ()
    """Models of the hub that it needs and that are not on this machine yet."""
    missing: tuple[str, ...] = ()
    """What it needs and this machine lacks, such as a package or a file, each with what helps."""

    @property
    def runs(self) -> bool:
        """Whether it runs on this machine, after its downloads if it has any."""
        return not self.missing

    def as_data(self) -> dict[str, Json]:
        """The recipe for programs."""
        lists = {"downloads": list(self.downloads), "missing": list(self.missing)}
        return {**vars(self), **lists, "runs": self.runs}


@checked_arguments
def list_recipes(folder: str = "", *, registry: Registry | None = None) -> list[ListedRecipe]:
    """The recipes that come with mentor-kit and those of plugins, by name.

    Each is loaded, and what it names is looked for on this machine; nothing is imported, downloaded or run.

    Args:
        folder: the beginning of the names up to a slash, such as `paper` or `paper/qwen3-8b`, or a whole name; all
            recipes if left out.
        registry: the plugins to use; those of this environment if left out.

    Raises:
        UsageError: no recipe has such a name.
    """
    registry = registry or default_registry()
    wanted = str(folder).rstrip("/")
    names = [name for name in recipe_names() if not wanted or name == wanted or name.startswith(f"{wanted}/")]
    if not names:
        folders = {name.rpartition("/")[0] for name in recipe_names()} - {""}
        close = did_you_mean(wanted, [*folders, *recipe_names()])
        raise UsageError(
            f"there is no recipe, and no folder of recipes, {wanted!r}{close}", hint="`mentorkit recipes` lists them"
        )
    summaries = recipe_summaries()
    return [_listed(name, summaries.get(name, ""), registry) for name in names]


def _listed(name: str, summary: str, registry: Registry) -> ListedRecipe:
    plugin = ""
    if not summary:
        component = registry.component("recipes", name)
        summary, plugin = component.summary, component.owner
    try:
        loaded = load_checked(name, {}, registry)
    except MentorKitError as error:
        return ListedRecipe(name, summary, plugin, missing=(_one_line(error),))
    model = loaded.recipe.student.model
    return ListedRecipe(
        name,
        summary,
        plugin,
        model,
        loaded.recipe.backend.use,
        tuple(_downloads(loaded, registry)),
        tuple(dict.fromkeys(_missing(loaded, registry))),
    )


def _downloads(loaded: LoadedRecipe, registry: Registry) -> Iterator[str]:
    model = loaded.recipe.student.model
    is_here = registry.has("students", model) or (loaded.folder / model).is_dir()
    if not is_here and is_hub_id(model) and not downloaded(model):
        yield model


def _missing(loaded: LoadedRecipe, registry: Registry) -> Iterator[str]:
    yield from unavailable_components(loaded.recipe, registry)
    try:
        check_recipe(loaded, registry, look=True)
    except RecipeFaults as error:
        # the same for every path, and said where the recipe is checked
        yield from (fault.text.removesuffix(f"; {RELATIVE}") for fault in error.faults)
    except MentorKitError as error:
        yield _one_line(error)


def _one_line(error: MentorKitError) -> str:
    return str(error).replace("\n", "; ")
