"""Commands that write something new: `mentorkit new plugin`, `mentorkit new recipe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NEW = "Writing something new"

Output = Annotated[Path | None, typer.Option("--output", "-o", help="The new folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    group.command(epilog="Example: mentorkit new plugin chess --tools --task --term --recipe")(plugin)
    group.command(epilog="Example: mentorkit new recipe questions.csv --test held-out.csv")(recipe)
    app.add_typer(group, name="new", help="Write a plugin or a recipe of your own.", rich_help_panel=NEW)


def plugin(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The plugin's name, such as chess; its package is mentor-kit-chess.")],
    tools: Annotated[bool, typer.Option("--tools", help="Tools: typed functions.")] = False,
    task: Annotated[bool, typer.Option("--task", help="A task with worked solutions, and its tools.")] = False,
    term: Annotated[bool, typer.Option("--term", help="A reward term.")] = False,
    reward: Annotated[bool, typer.Option("--reward", help="A reward preset.")] = False,
    teacher: Annotated[bool, typer.Option("--teacher", help="A teacher.")] = False,
    tracker: Annotated[bool, typer.Option("--tracker", help="A tracker.")] = False,
    sampler: Annotated[bool, typer.Option("--sampler", help="A sampler.")] = False,
    engine: Annotated[bool, typer.Option("--engine", help="A training engine.")] = False,
    loss: Annotated[bool, typer.Option("--loss", help="A loss.")] = False,
    advantage: Annotated[bool, typer.Option("--advantage", help="An advantage estimator.")] = False,
    stage: Annotated[bool, typer.Option("--stage", help="A stage.")] = False,
    evaluation: Annotated[bool, typer.Option("--evaluation", help="An evaluation.")] = False,
    family: Annotated[bool, typer.Option("--family", help="A family of models, with a chat template.")] = False,
    format: Annotated[bool, typer.Option("--format", help="A format of tool-use data, with a recipe.")] = False,
    student: Annotated[bool, typer.Option("--student", help="A student.")] = False,
    backend: Annotated[bool, typer.Option("--backend", help="A backend.")] = False,
    recipe: Annotated[bool, typer.Option("--recipe", help="A recipe that has the plugin's name.")] = False,
    command: Annotated[bool, typer.Option("--command", help="A command of mentorkit.")] = False,
    doctor: Annotated[bool, typer.Option("--doctor", help="A check of mentorkit doctor.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="All of these.")] = False,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Write a package with a plugin and its tests.

    It has samples of the chosen kinds, and a recipe that uses them; tools, a task and a recipe if none is chosen.
    """
    import json

    from mentor_kit import api
    from mentor_kit.api.scaffold.samples import DEFAULT, SAMPLES

    asked = dict(locals())
    if command or everything:
        _check_command(context, name)
    flags = [sample.kind for sample in SAMPLES if everything or asked[sample.flag]]
    done = api.new_plugin(name, flags or DEFAULT, folder=output)
    if as_json:
        typer.echo(json.dumps({"kind": "result", **done.as_data()}))
        return
    typer.echo(f"plugin: {done.folder}")
    for file in done.files:
        typer.echo(f"  {file}")
    typer.echo("\nnext:")
    for step in done.next_steps():
        typer.echo(f"  {step}")


def recipe(
    data: Annotated[Path | None, typer.Argument(help="A file of dialogues, or of questions with answers.")] = None,
    test: Annotated[Path | None, typer.Option("--test", help="A file to evaluate on.")] = None,
    student: Annotated[str, typer.Option(help="A folder, a hub id, or a student's name.")] = "tiny-student",
    question: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column of questions.")] = None,
    answer: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column of answers.")] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Write a recipe for a file of data.

    Without a file it gets questions and tools to be replaced.
    """
    import json

    from mentor_kit import api

    named = {"question": question, "answer": answer}
    columns = {field: column for field, column in named.items() if column is not None}
    done = api.new_recipe(data, test=test, student=student, columns=columns, folder=output)
    if as_json:
        typer.echo(json.dumps({"kind": "result", **done.as_data()}))
        return
    typer.echo(f"recipe: {done.recipe}")
    if done.look is not None:
        typer.echo(f"  {done.look.text()}")
    if done.note:
        typer.echo(f"  note: {done.note}")
    typer.echo("\nnext:")
    for step in done.next_steps():
        typer.echo(f"  {step}")


def _check_command(context: typer.Context, name: str) -> None:
    """Check that the plugin's command would be none that there is.

    Raises:
        UsageError: `mentorkit` has a command of that name.
    """
    from mentor_kit.api.scaffold.names import PluginNames
    from mentor_kit.core.errors import UsageError

    known = getattr(context.find_root().command, "commands", {})
    if (found := PluginNames.of(name).plugin) in known:
        raise UsageError(f"`mentorkit {found}` is there already", hint=f"take another name, such as `my-{found}`")
