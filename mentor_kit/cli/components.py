"""Output of `mentorkit plugins COMPONENT`: a component's options and an example line of a recipe."""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

import typer

from mentor_kit.api.components import describe, shipped_recipes
from mentor_kit.api.recipe_list import ListedRecipe
from mentor_kit.cli.display import width
from mentor_kit.hooks.describing import Option, example, options_of
from mentor_kit.hooks.registry import Component, noun


def show_recipe(name: str, *, as_json: bool) -> bool:
    """Print the summary of a recipe that comes with mentor-kit; returns False where none has that name."""
    summary = shipped_recipes().get(name)
    if summary is None:
        return False
    commands = [f"mentorkit check {name} --expand", f"mentorkit run {name}"]
    if as_json:
        typer.echo(json.dumps({"recipes": [{"name": name, "summary": summary}]}))
    else:
        typer.echo("\n".join([f"recipe {name}: {summary}", *(f"  {command}" for command in commands)]))
    return True


def recipe_lines(found: Sequence[ListedRecipe], folder: str, columns: int) -> Iterator[str]:
    """Yield the lines of a list of recipes; those of a folder inside another one are counted, unless it was asked for.

    Args:
        found: the recipes.
        folder: what was asked for.
        columns: those of a line.
    """
    depth = len([part for part in folder.split("/") if part]) + 1
    deeper = Counter("/".join(recipe.name.split("/")[:depth]) for recipe in found if recipe.name.count("/") > depth)
    for recipe in found:
        if recipe.name.count("/") > depth:
            continue
        state = "runs here" if recipe.runs else "does not run here"
        state += ", after a download" if recipe.runs and recipe.downloads else ""
        yield f"{recipe.name}: {state}"
        lines = [recipe.summary, *(f"downloads {model} from the hub" for model in recipe.downloads)]
        if len(found) == 1:
            lines += [f"missing: {reason}" for reason in recipe.missing]
            yield from (f"    {part}" for line in lines for part in textwrap.wrap(line, columns - 4))
            continue
        lines += [f"missing: {', '.join(dict.fromkeys(map(_brief, recipe.missing)))}"] if recipe.missing else []
        yield from (f"    {textwrap.shorten(line, columns - 4, placeholder=' …')}" for line in lines)
    for name, count in deeper.items():
        yield f"{name}/…: {count} more, listed by `mentorkit recipes {name}`"


def _brief(reason: str) -> str:
    """What is missing, without its key; a file's name without its folder."""
    file = re.search(r": there is no (\S+)$", reason)
    return file[1].rpartition("/")[2] if file else reason.partition(": ")[2] or reason


def show(components: Sequence[Component], *, as_json: bool) -> None:
    """Print the options of components."""
    if as_json:
        typer.echo(json.dumps({"components": [describe(component) for component in components]}, default=str))
        return
    typer.echo("\n\n".join("\n".join(_lines(component)) for component in components))


def _lines(component: Component) -> list[str]:
    missing = component.unavailable().replace("\n", "; ")
    lines = [
        f"{noun(component.kind)} {component.name} (plugin {component.owner}): {component.summary}".removesuffix(": ")
    ]
    lines += [f"not here: {missing}"] if missing else []
    lines.append(f"  {example(component)}")
    options = list(options_of(component.options))
    lines.append("options:" if options else "no options")
    nested = {option.name.rpartition(".")[0] for option in options}
    return [*lines, *(line for option in options for line in _about(option, is_nested=option.name in nested))]


def _about(option: Option, *, is_nested: bool) -> list[str]:
    default = "required" if option.required else f"default {json.dumps(option.default, default=str)}"
    if is_nested and isinstance(option.default, dict) and option.default:
        default = "its own options follow"
    docstring = textwrap.wrap(option.text, min(100, width() - 6), break_on_hyphens=False)
    return [f"  {option.name}: {option.type} ({default})", *(f"      {line}" for line in docstring)]
