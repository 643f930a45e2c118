"""Commands that take a student or a run elsewhere: export, push, export-run, import-run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXPORTING = "Taking the student elsewhere"
ENGINES = "Training on an engine elsewhere"

Checkpoint = Annotated[str, typer.Option("--checkpoint", help="`last`, `best`, or a checkpoint's name.")]
Format = Annotated[
    str, typer.Option("--format", help="`transformers`, `adapter` alone, `gguf`, or another one of the backend's.")
]
License = Annotated[str | None, typer.Option("--license", help="The licence that the card names, such as apache-2.0.")]
Benchmarks = Annotated[
    list[str] | None,
    typer.Option("--benchmark", help="EVALUATION=OWNER/DATASET[:TASK], whose result the hub lists."),
]
Runs = Annotated[Path, typer.Option("--runs", help="The folder of all runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (export, push):
        app.command(rich_help_panel=EXPORTING)(command)
    app.command(rich_help_panel=ENGINES)(export_run)
    app.command(rich_help_panel=ENGINES)(import_run)


def export(
    run: Annotated[str, typer.Argument(help="A run folder, or a recipe's name for its newest run.")],
    target: Annotated[Path, typer.Argument(help="The folder to write.")],
    checkpoint: Checkpoint = "last",
    format: Format = "transformers",
    license: License = None,
    benchmarks: Benchmarks = None,
    root: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Write a checkpoint's student for other programs, with a model card."""
    import json

    from mentor_kit import api
    from mentor_kit.chat.serving import UNNAMED
    from mentor_kit.report.model_card.eval_results import parse_benchmarks

    folder = api.export(
        run,
        target,
        checkpoint=checkpoint,
        format=format,
        license=license,
        benchmarks=parse_benchmarks(benchmarks or []),
        output=root,
    )
    written = api.written_format(folder, format=format)
    served, cost = api.serving(folder, format=written), api.quantization_cost(folder)
    if as_json:
        commands = [vars(command) for command in served]
        measured = {} if cost is None else {"quantization_cost": cost.model_dump(mode="json")}
        typer.echo(json.dumps({"student": str(folder), "format": written, "serving": commands, **measured}))
        return
    typer.echo(f"student: {folder}")
    for line in () if cost is None else cost.lines():
        typer.echo(f"  {line}")
    if served:
        typer.echo("to serve it to other programs, with its tool calls parsed:")
    for command in served:
        typer.echo(f"  {command.command}{f'  # {command.note}' if command.note else ''}")
    if any(f" {UNNAMED} " in command.command for command in served):
        typer.echo(f"{UNNAMED} stands for the folder of the model that the adapter was trained on")


def push(
    source: Annotated[str, typer.Argument(help="A run, or a folder that `export` wrote.")],
    repository: Annotated[str, typer.Argument(help="The model's repository on the hub, owner/name.")],
    checkpoint: Checkpoint = "last",
    format: Format = "transformers",
    private: Annotated[bool, typer.Option("--private", help="Make a repository that only its owner sees.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Commit over a repository that has files.")] = False,
    license: License = None,
    benchmarks: Benchmarks = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show files and card; ask and push nothing.")] = False,
    root: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Push a student with its model card to the Hugging Face Hub, in one commit."""
    import json

    from mentor_kit import api
    from mentor_kit.report.model_card.eval_results import parse_benchmarks
    from mentor_kit.report.run_list import size_text

    pushed = api.push(
        source,
        repository,
        checkpoint=checkpoint,
        format=format,
        private=private,
        update=update,
        license=license,
        benchmarks=parse_benchmarks(benchmarks or []),
        dry_run=dry_run,
        output=root,
    )
    if as_json:
        typer.echo(json.dumps(pushed.to_json()))
        return
    widest = max(len(file.path) for file in pushed.files)
    for file in pushed.files:
        typer.echo(f"  {file.path:{widest}}  {size_text(file.bytes)}")
    summary = f"{len(pushed.files)} files, {size_text(pushed.bytes)}"
    if pushed.commit is None:
        typer.echo(f"would be pushed to {repository}: {summary}, with this card:\n\n{pushed.card}")
        return
    for name in pushed.commit.removed:
        typer.echo(f"  {name}  removed, as it is of an earlier push")
    typer.echo(f"pushed: {pushed.commit.url} ({summary}, commit {pushed.commit.id[:7]})")


def export_run(
    recipe: Annotated[str, typer.Argument(help="A recipe file, a shipped recipe's name, or - for a pipe.")],
    engine: Annotated[str, typer.Option("--engine", help="The engine; `mentorkit plugins engines` lists them.")],
    target: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="A setting, such as train.0.steps=9.")] = None,
    nodes: Annotated[int, typer.Option(help="The machines that it runs on.")] = 1,
    gpus: Annotated[int, typer.Option(help="GPUs of each machine.")] = 8,
    options: Annotated[list[str] | None, typer.Option("--with", help="An option of the engine, KEY=VALUE.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a recipe as a run of a training engine on a cluster, such as verl."""
    import json

    from mentor_kit import api
    from mentor_kit.cli.display import counted
    from mentor_kit.core.component import ComponentSpec
    from mentor_kit.recipe.settings import parse_settings

    spec = ComponentSpec(use=engine, options=dict(parse_settings(options or [], "--with")))
    overrides = parse_settings(settings or [])
    with counted("demonstrating") as progress:
        done = api.export_run(
            recipe, target, engine=spec, overrides=overrides, nodes=nodes, gpus=gpus, progress=progress
        )
    if as_json:
        typer.echo(json.dumps({**vars(done), "folder": str(done.folder)}))
        return
    typer.echo(f"run of {done.engine}: {done.folder}")
    typer.echo(f"  {done.training_rows} rows to train on, {done.evaluation_rows} episodes of an evaluation")
    typer.echo(f"to start it: {done.folder / 'README.md'}; to bring it back: mentorkit import-run {done.folder}")
    typer.echo(f"what is different in {done.engine}:")
    for sentence in done.differences:
        typer.echo(f"  - {sentence}")


def import_run(
    folder: Annotated[Path, typer.Argument(help="The folder that `export-run` wrote, after the engine has run.")],
    root: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Make a run folder of an engine's metrics, episodes and weights, for `report`, `compare`, `view` and `export`."""
    import json

    from mentor_kit import api

    run = api.import_run(folder, output=root)
    if as_json:
        typer.echo(json.dumps({"run": str(run.path), "steps": len(run.steps), "checkpoint": run.has_checkpoint}))
        return
    typer.echo(f"run: {run.path}")
    typer.echo(f"  {len(run.steps)} steps; {'with' if run.has_checkpoint else 'without'} a checkpoint of the student")
