"""Commands on files of tool-use data: data convert, data check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mentor_kit.cli.results import RESULTS

data = typer.Typer(
    name="data",
    help="Convert and check tool-use data: dialogues of runs, and files in the formats of other programs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(data, rich_help_panel=RESULTS)


@data.command()
def convert(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="A file in any known format, a folder of such files, or a run.")
    ],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file to write (.jsonl, .json, .parquet); a folder for sts.")
    ],
    to: Annotated[str, typer.Option(help="The format to write: trl, openai, sharegpt, sts or mentor.")],
    source_format: Annotated[str, typer.Option("--from", help="The format of IN; found out if left out.")] = "auto",
    only: Annotated[
        str, typer.Option(help="`all`; `right` ones; or `best`: of each problem the right one with the most reward.")
    ] = "all",
    rollouts: Annotated[
        str | None, typer.Option(help="The rollouts of a run: `all`, a step, or steps such as 40-60.")
    ] = None,
    evaluation: Annotated[
        str | None, typer.Option(help="The episodes of an evaluation of a run, by its name, or `all`.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="The recipe whose tools recorded dialogues have; their run's if left out.")
    ] = None,
    tools: Annotated[bool, typer.Option("--tools/--no-tools", help="Whether recorded dialogues have tools.")] = True,
    broken: Annotated[
        str, typer.Option(help="Rows that cannot be read or written: `fail`, or `skip` to leave them out.")
    ] = "fail",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is there.")] = False,
    root: Annotated[Path, typer.Option("--runs", help="The folder of all runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Write a run or data in another program's format.

    A run gives its demonstrations, its rollouts or the episodes of its evaluations.
    """
    import json
    from typing import cast

    from mentor_kit import api
    from mentor_kit.api.converting import Broken, Only
    from mentor_kit.cli.display import counted, width
    from mentor_kit.recipe.settings import parse_steps
    from mentor_kit.report.tables import wrapped

    with counted("converting") as progress:
        found = api.convert_data(
            source,
            target,
            to=to,
            format=source_format,
            only=cast("Only", only),
            rollouts="all" if rollouts == "all" else None if rollouts is None else parse_steps(rollouts, "--rollouts"),
            evaluation=evaluation,
            recipe=recipe,
            tools=tools,
            broken=cast("Broken", broken),
            overwrite=overwrite,
            progress=progress,
            output=root,
        )
    if as_json:
        typer.echo(json.dumps(found.as_data()))
        return
    for line in found.lines():
        typer.echo(wrapped(line, width()))


@data.command()
def check(
    file: Annotated[Path, typer.Argument(help="A file of tool-use data, or a folder of files of one format.")],
    format: Annotated[str, typer.Option(help="Its format; found out if left out.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Say what a file of data is, and which rows are broken.

    The exit code is 1 where a row would not be taken.
    """
    import json

    from mentor_kit import api
    from mentor_kit.cli.display import counted, width
    from mentor_kit.core.errors import ExitCode
    from mentor_kit.report.tables import wrapped

    with counted("checking") as progress:
        found = api.check_data(file, format=format, progress=progress)
    if as_json:
        typer.echo(json.dumps(found.as_data()))
    else:
        for line in found.lines():
            typer.echo(wrapped(line, width()))
    if found.taken < found.rows:
        raise typer.Exit(ExitCode.FAILED)
