"""Output of `mentorkit plugins COMPONENT`: a component's options and an example line of a recipe."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence

import typer

from mentor_kit.api.components import describe, shipped_recipes
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
    return [*lines, *(line for option in options for line in _about(option))]


def _about(option: Option) -> list[str]:
    default = "required" if option.required else f"default {json.dumps(option.default, default=str)}"
    if isinstance(option.default, dict) and option.default:
        default = "its own options follow"
    docstring = textwrap.wrap(option.text, 100)
    return [f"  {option.name}: {option.type} ({default})", *(f"      {line}" for line in docstring)]
