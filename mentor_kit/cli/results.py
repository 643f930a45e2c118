"""Commands on runs that are there: runs, report, compare, rescore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RESULTS = "Looking at runs"


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (runs, report, compare, rescore):
        app.command(rich_help_panel=RESULTS)(command)


def runs(
    root: Annotated[Path, typer.Option("--runs", help="The folder of all runs.")] = Path("runs"),
    last: Annotated[int | None, typer.Option(min=1, help="So many of the newest; all if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines, as without a terminal.")] = False,
) -> None:
    """List the runs, newest first: state, step, last accuracy, size and age."""
    import json

    from mentor_kit import api
    from mentor_kit.cli.display import show, width
    from mentor_kit.report.run_list import run_sheet
    from mentor_kit.report.tables import wrapped

    found = api.list_runs(root, last=last)
    if as_json:
        typer.echo(json.dumps({"folder": str(root), "runs": [run.to_json() for run in found]}))
        return
    if not found:
        typer.echo(f"no runs in {root}; `mentorkit run quickstart` makes one")
    if any(not run.fault for run in found):
        show([run_sheet(found, f"runs in {root}")], plain=plain)
    for run in found:
        if run.fault:
            typer.echo(wrapped(f"broken: {run.path}: {run.fault}", width()))


def report(
    runs: Annotated[list[str], typer.Argument(help="Run folders, or recipes' names; files of episodes beside them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")] = Path("run.html"),
    rollouts: Annotated[
        str, typer.Option(help="Training rollouts that are kept: `all`, `none`, `every=10` or `worst=200`.")
    ] = "all",
    megabytes: Annotated[float, typer.Option(help="The file's largest size in MB.")] = 20.0,
    rescored: Annotated[
        list[str] | None, typer.Option("--rescore", help="Show what another reward would have paid, as `rescore` does.")
    ] = None,
    root: Annotated[Path, typer.Option("--runs", help="The folder of all runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Write a page that shows runs (curves, rollouts beside the teacher's, evaluations): one file, opened offline."""
    import json

    from mentor_kit import api
    from mentor_kit.cli.display import width
    from mentor_kit.recipe.settings import parse_rewards
    from mentor_kit.report.tables import wrapped

    rewards = parse_rewards(rescored or [], "--rescore")
    page = api.report(runs, output, rollouts=rollouts, megabytes=megabytes, rescored=rewards, output=root)
    if as_json:
        typer.echo(json.dumps(page.to_json()))
        return
    counts = f"{page.rollouts:,} rollouts, {page.episodes:,} evaluated episodes, {page.bytes / 1e6:.2f} MB"
    typer.echo(wrapped(f"page: {page.path} ({counts})", width()))
    for note in page.notes:
        typer.echo(wrapped(f"limit: {note}", width()))


def compare(
    runs: Annotated[list[str], typer.Argument(help="Run folders, folders of runs, or recipes' names.")],
    output: Annotated[Path | None, typer.Option(help="A folder for the table and the pictures.")] = None,
    root: Annotated[Path, typer.Option("--runs", help="The folder of all runs.")] = Path("runs"),
    paired: Annotated[
        bool, typer.Option("--paired", help="Two runs problem by problem, with McNemar's test; or one, first and last.")
    ] = False,
    show: Annotated[int, typer.Option(min=0, help="With --paired: name so many of the problems that changed.")] = 0,
    against: Annotated[
        str | None, typer.Option(metavar="ARM", help="The arm that differences are to; the first one if left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Compare runs: a table with means and intervals over seeds, learning curves, similarity against accuracy."""
    import json

    from mentor_kit.cli.display import width
    from mentor_kit.core.errors import UsageError
    from mentor_kit.report import compare as compare_runs
    from mentor_kit.report import paired as pair_runs

    if show and not paired:
        raise UsageError("--show names problems of a paired comparison", hint="add --paired")
    if paired and against:
        raise UsageError("--against names an arm, and a paired comparison has none", hint="leave --paired out")
    if paired:
        pair = pair_runs(runs, output, root=root)
        typer.echo(json.dumps(pair.to_json()) if as_json else pair.text(show, width()), nl=as_json)
        return
    found = compare_runs(runs, output, root=root, against=against)
    if as_json:
        typer.echo(json.dumps(found.to_json()))
        return
    typer.echo(found.text(width()))
    if output is not None:
        typer.echo(f"\nwritten to {output}")


def rescore(
    run: Annotated[str, typer.Argument(help="A run folder, or a recipe's name for its newest run.")],
    rewards: Annotated[
        list[str] | None, typer.Option("--reward", help="A reward, such as sparse; every preset if none is given.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A change of the run's own reward, such as reward.tools=0.5.")
    ] = None,
    steps: Annotated[str | None, typer.Option(help="The steps to score, such as 40-60 or 40.")] = None,
    evaluations: Annotated[bool, typer.Option("--evaluations", help="Score evaluated episodes instead.")] = False,
    show: Annotated[int, typer.Option(min=0, help="List so many episodes that gain and lose most.")] = 3,
    keep: Annotated[bool, typer.Option(help="Keep the result in the run folder, for the report.")] = True,
    root: Annotated[Path, typer.Option("--runs", help="The folder of all runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Compute what other rewards would have paid for a run's rollouts; code 1 if its own one differs by now."""
    import json

    from mentor_kit import api
    from mentor_kit.cli.display import counted, width
    from mentor_kit.core.errors import ExitCode
    from mentor_kit.recipe.settings import parse_rewards, parse_settings, parse_steps

    with counted("rescoring") as progress:
        found = api.rescore(
            run,
            rewards=parse_rewards(rewards or []),
            overrides=parse_settings(settings or []),
            between=None if steps is None else parse_steps(steps),
            evaluations=evaluations,
            keep=keep,
            progress=progress,
            output=root,
        )
    typer.echo(json.dumps(found.to_json()) if as_json else found.text(width(), show), nl=as_json)
    if not found.reproduction.exact:
        raise typer.Exit(ExitCode.FAILED)
