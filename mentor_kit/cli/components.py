"""What `mentorkit plugins COMPONENT` prints: a component's options, and a line of a recipe."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence

import typer

from mentor_kit.core.errors import UsageError, did_you_mean
from mentor_kit.hooks.describing import Option, example, options_of
from mentor_kit.hooks.registry import KINDS, Component, Registry, noun


def named(registry: Registry, kind: str | None, component: str | None) -> list[Component]:
    """The components that a user names: by kind and name, or by name alone, of all kinds.

    Raises:
        UsageError: there is neither a kind nor a component of that name.
    """
    if component is not None and kind not in KINDS:
        raise UsageError(
            f"there is no kind {kind!r}{did_you_mean(str(kind), KINDS)}", hint=f"kinds: {', '.join(KINDS)}"
        )
    wanted, name = (
        [known for known in KINDS if component is None or known == kind],
        str(kind if component is None else component),
    )
    found = [registry.component(known, name) for known in wanted if registry.has(known, name)]
    if not found:
        names = [other for known in wanted for other in registry.components(known)]
        names += shipped() if "recipes" in wanted else ()
        close = did_you_mean(name, [*names, *(KINDS if component is None else ())])
        what = "kind, and no component," if component is None else noun(wanted[0])
        raise UsageError(
            f"there is no {what} {name!r}{close}",
            hint=f"kinds: {', '.join(KINDS)}" if component is None else f"`mentorkit plugins {kind}` lists them",
        )
    return found


def shipped() -> Mapping[str, str]:
    """The recipes that come with mentor-kit, with what they are for."""
    from mentor_kit.recipe.loading import recipe_summaries

    return recipe_summaries()


def show_recipe(name: str, *, as_json: bool) -> bool:
    """Print what a recipe that comes with mentor-kit is for; False where there is none of that name."""
    summary = shipped().get(name)
    if summary is None:
        return False
    try_it = [f"mentorkit check {name} --expand", f"mentorkit run {name}"]
    if as_json:
        typer.echo(json.dumps({"recipes": [{"name": name, "summary": summary}]}))
    else:
        typer.echo("\n".join([f"recipe {name}: {summary}", *(f"  {command}" for command in try_it)]))
    return True


def show(components: Sequence[Component], *, as_json: bool) -> None:
    """Print the options of components."""
    if as_json:
        typer.echo(json.dumps({"components": [_as_data(component) for component in components]}, default=str))
        return
    typer.echo("\n\n".join("\n".join(_lines(component)) for component in components))


def _as_data(component: Component) -> dict[str, object]:
    return {
        "kind": component.kind,
        "name": component.name,
        "plugin": component.owner,
        "summary": component.summary,
        "unavailable": component.unavailable(),
        "options": [option.as_data() for option in options_of(component.options)],
        "example": example(component),
    }


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
    text = textwrap.wrap(option.text, 100)
    return [f"  {option.name}: {option.type} ({default})", *(f"      {line}" for line in text)]
