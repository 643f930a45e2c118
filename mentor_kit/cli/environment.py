"""Commands on this machine and what is installed: plugins, doctor, schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mentor_kit.hooks.registry import Registry

ENVIRONMENT = "This machine"


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (plugins, recipes, doctor, schema):
        app.command(rich_help_panel=ENVIRONMENT)(command)


def plugins(
    kind: Annotated[
        str | None, typer.Argument(help="A kind, such as tools or rewards, or a component of any kind.")
    ] = None,
    component: Annotated[str | None, typer.Argument(help="A component of that kind, whose options are listed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines.")] = False,
) -> None:
    """List plugins (loaded, disabled, failed with the reason) and their components; or the options of a component."""
    import json

    from mentor_kit.api.components import find_components, shipped_recipes, summarize
    from mentor_kit.cli.components import show, show_recipe
    from mentor_kit.hooks.loader import default_registry
    from mentor_kit.hooks.registry import KINDS

    registry = default_registry()
    recipe = component if kind == "recipes" else kind if component is None else None
    if recipe is not None and show_recipe(recipe, as_json=as_json):
        return
    if component is not None or (kind is not None and kind not in KINDS):
        show(find_components(registry, kind, component), as_json=as_json)
        return
    recipes = shipped_recipes() if kind == "recipes" else {}
    wanted = [known for known in KINDS if kind in (None, known)]
    components = [each for known in wanted for each in registry.components(known).values()]
    if as_json:
        found = [vars(info) for info in registry.plugins.found]
        offered = [summarize(each) for each in components]
        offered += [
            {"kind": "recipes", "name": name, "plugin": "", "summary": purpose} for name, purpose in recipes.items()
        ]
        typer.echo(json.dumps({"plugins": found, "components": offered, "faults": registry.faults}))
        return
    if kind is None:
        for line in _plugin_lines(registry):
            typer.echo(line)
    for name, summary in recipes.items():
        typer.echo(f"{name:<32} {summary}")
    for each in components:
        missing = each.unavailable().partition("\n")[0]
        note = f" [not here: {missing}]" if missing else ""
        line = f"{each.kind:<13} {each.name:<16} {each.owner:<12} {each.summary}{note}"
        typer.echo(line.rstrip())
    for known in wanted:
        for name, owners in registry.clashes(known).items():
            typer.echo(f"clash: {known} {name!r} is registered by {', '.join(sorted(owners))}")


def recipes(
    folder: Annotated[str, typer.Argument(help="A recipe, or a folder of recipes, such as paper.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """List recipes: what each is for, what it needs, and whether it runs on this machine."""
    import json

    from mentor_kit import api
    from mentor_kit.cli.components import recipe_lines
    from mentor_kit.cli.display import width

    found = api.list_recipes(folder)
    if as_json:
        typer.echo(json.dumps([recipe.as_data() for recipe in found]))
        return
    for line in recipe_lines(found, folder, width()):
        typer.echo(line)


def doctor(
    recipe: Annotated[str | None, typer.Argument(help="A recipe whose components are checked, too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Check this machine: Python, packages, plugins, processors, the hub, disk; and what a recipe needs."""
    import json

    from mentor_kit import api
    from mentor_kit.core.errors import ExitCode

    checks = api.check_machine(recipe)
    if as_json:
        found = [
            {"check": check.name, "ok": check.ok, "detail": check.detail, "facts": check.facts} for check in checks
        ]
        typer.echo(json.dumps(found))
    else:
        for check in checks:
            typer.echo(f"{'ok  ' if check.ok else 'MISS'} {check.name}: {check.detail}".replace("\n", "; "))
    if not all(check.ok for check in checks):
        raise typer.Exit(ExitCode.MISSING)


def schema(
    output: Annotated[Path | None, typer.Option(help="A file to write it to.")] = None,
) -> None:
    """Print the JSON Schema of recipes, the options of all plugins included, for editors."""
    import json

    from mentor_kit.hooks.loader import default_registry
    from mentor_kit.recipe.schema import recipe_schema
    from mentor_kit.runs.files import write_text

    text = json.dumps(recipe_schema(default_registry()), indent=2)
    if output is None:
        typer.echo(text)
        return
    write_text(output, text + "\n")
    typer.echo(f"schema: {output}")


def _plugin_lines(registry: Registry) -> Iterator[str]:
    for info in registry.plugins.found:
        reason = f": {info.reason}" if info.reason else ""
        yield f"{info.state:<9} {info.name:<12} {info.distribution}{reason}"
    for owner, fault in registry.faults:
        yield f"fault     {owner:<12} {fault}"
    yield ""
