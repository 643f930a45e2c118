"""Commands on this machine and what is installed: plugins, doctor, schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mentor_kit.hooks.registry import Registry

ENVIRONMENT = "This machine"
#: Without these nothing is trained, and no report has pictures.
NEEDED_EXTRAS = ("torch", "report")
#: Seconds that the import of a plugin may take.
SLOW = 1.0
DEVELOPERS_EXTRAS = ("dev", "benchmarks")


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (plugins, doctor, schema):
        app.command(rich_help_panel=ENVIRONMENT)(command)


def plugins(
    kind: Annotated[str | None, typer.Argument(help="A kind, such as tools or rewards, or a part of any kind.")] = None,
    part: Annotated[str | None, typer.Argument(help="A part of that kind, whose options are listed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines.")] = False,
) -> None:
    """List plugins (loaded, disabled, failed with the reason) and the parts they offer; or the options of a part."""
    import json

    from mentor_kit.cli.components import named, shipped, show, show_recipe
    from mentor_kit.hooks.loader import default_registry
    from mentor_kit.hooks.registry import KINDS

    registry = default_registry()
    recipe = part if kind == "recipes" else kind if part is None else None
    if recipe is not None and show_recipe(recipe, as_json=as_json):
        return
    if part is not None or (kind is not None and kind not in KINDS):
        show(named(registry, kind, part), as_json=as_json)
        return
    recipes = shipped() if kind == "recipes" else {}
    wanted = [known for known in KINDS if kind in (None, known)]
    parts = [part for known in wanted for part in registry.components(known).values()]
    if as_json:
        found = [vars(info) for info in registry.plugins.found]
        offered = [
            {"kind": p.kind, "name": p.name, "plugin": p.owner, "summary": p.summary, "unavailable": p.unavailable()}
            for p in parts
        ]
        offered += [{"kind": "recipes", "name": name, "plugin": "", "summary": text} for name, text in recipes.items()]
        typer.echo(json.dumps({"plugins": found, "parts": offered, "faults": registry.faults}))
        return
    if kind is None:
        for line in _plugin_lines(registry):
            typer.echo(line)
    for name, text in recipes.items():
        typer.echo(f"{name:<32} {text}")
    for found_part in parts:
        missing = found_part.unavailable().partition("\n")[0]
        note = f" [not here: {missing}]" if missing else ""
        line = f"{found_part.kind:<13} {found_part.name:<16} {found_part.owner:<12} {found_part.summary}{note}"
        typer.echo(line.rstrip())
    for known in wanted:
        for name, owners in registry.clashes(known).items():
            typer.echo(f"clash: {known} {name!r} is registered by {', '.join(sorted(owners))}")


def doctor(
    recipe: Annotated[str | None, typer.Argument(help="A recipe: what its parts need and lack here, too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Check this machine: Python, packages, plugins, devices, disk; and what a recipe needs."""
    import json

    from mentor_kit.core.errors import ExitCode
    from mentor_kit.hooks.loader import default_registry

    needs = [] if recipe is None else list(_needs(recipe, default_registry()))
    checks = [*_checks(default_registry()), *needs]
    if as_json:
        typer.echo(json.dumps([{"check": name, "ok": ok, "detail": detail} for name, ok, detail in checks]))
    else:
        for name, ok, detail in checks:
            typer.echo(f"{'ok  ' if ok else 'MISS'} {name}: {detail}".replace("\n", "; "))
    if not all(ok for _, ok, _ in checks):
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


def _checks(registry: Registry) -> Iterator[tuple[str, bool, str]]:
    import platform
    import shutil
    import sys

    from mentor_kit.utils.version import __version__

    yield "mentor-kit", True, __version__
    yield "python", sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.platform()}"
    yield from _package_checks()
    for info in registry.plugins.failed:
        yield f"plugin {info.name}", False, f"{info.reason} ({info.distribution})"
    for info in registry.plugins.found:
        if info.seconds > SLOW:
            yield f"plugin {info.name}", True, f"slow: its import took {info.seconds:.1f} s, before every command"
    for implementation in registry.plugins.manager.hook.doctor_checks.get_hookimpls():
        try:
            found = list(implementation.function())  # type: ignore[call-overload]
            # which of the backends that come with mentor-kit is there is a matter of what one does
            is_optional = registry.is_built_in(implementation.plugin_name)
            yield from ((name, ok or is_optional, detail) for name, ok, detail in found)
        except Exception as error:  # noqa: BLE001 (a plugin's fault is what this command is for)
            yield f"plugin {implementation.plugin_name}", False, f"its checks failed: {error}"
    free = shutil.disk_usage(Path.cwd()).free
    yield "disk", free > 1 << 30, f"{free / (1 << 30):.1f} GiB free in {Path.cwd()}"


def _needs(recipe: str, registry: Registry) -> Iterator[tuple[str, bool, str]]:
    """The parts that a recipe uses, with what they lack on this machine."""
    from mentor_kit.hooks.registry import noun
    from mentor_kit.recipe.checking import all_slots, load_checked

    loaded = load_checked(recipe, (), registry)
    for kind, slot, _ in all_slots(loaded.recipe, registry):
        reason = registry.component(kind, slot.use).unavailable()
        yield f"{noun(kind)} {slot.use}", not reason, reason or "can be used here"


def _package_checks() -> Iterator[tuple[str, bool, str]]:
    """The packages of all extras: their versions, and how missing ones are installed.

    Only those that a run or a report needs are amiss when they are missing; the others are a matter of what one does.
    """
    from importlib.metadata import PackageNotFoundError, version

    for package, extra in _packages_of_extras():
        try:
            yield package, True, version(package)
        except PackageNotFoundError:
            yield package, extra not in NEEDED_EXTRAS, f"not installed; pip install 'mentor-kit[{extra}]'"


def _packages_of_extras() -> list[tuple[str, str]]:
    """(package, extra) as mentor-kit's own metadata has them, those needed first, without the developers' extras."""
    import re
    from importlib.metadata import requires

    found = [
        (match["package"], match["extra"])
        for line in requires("mentor-kit") or ()
        if (match := re.match(r"""(?P<package>[\w.-]+).*extra == ["'](?P<extra>[\w-]+)["']""", line))
    ]
    first: dict[str, str] = {}
    for package, extra in sorted(found, key=lambda item: (item[1] not in NEEDED_EXTRAS, item[1])):
        if extra not in DEVELOPERS_EXTRAS:
            first.setdefault(package, extra)
    return list(first.items())
