"""Commands that take a recipe: run, check, preview, collect, evaluate, audit, bench."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

if TYPE_CHECKING:
    from mentor_kit.recipe.plan import RunPlan
    from mentor_kit.report.live import LiveView
    from mentor_kit.runs import Run

RECIPES = "Running recipes"


def _known_recipes(incomplete: str) -> list[str]:
    from mentor_kit.recipe.loading import recipe_names

    return [name for name in recipe_names() if name.startswith(incomplete)]


RecipeArgument = Annotated[
    str,
    typer.Argument(help="A recipe file, a shipped recipe's name, or - for a pipe.", autocompletion=_known_recipes),
]
Settings = Annotated[list[str] | None, typer.Option("--set", help="A setting, such as train.0.steps=9.")]
Runs = Annotated[Path, typer.Option("--output", "--runs", help="The folder of all runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines for programs.")]
Plain = Annotated[bool, typer.Option("--plain", help="Plain lines, as without a terminal.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (run, check, preview, collect, evaluate, audit, bench):
        app.command(rich_help_panel=RECIPES)(command)


def run(
    recipe: RecipeArgument,
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume a run: RECIPE is its folder, or a name for the newest one.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan of the run and its memory, without running it.")
    ] = False,
    memory: Annotated[
        float | None, typer.Option(help="With --dry-run: GiB of the device to plan for; this machine's if left out.")
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(help="With --dry-run: a GPU to plan for, such as rtx-4090; step times too."),
    ] = None,
    view: Annotated[
        bool, typer.Option("--view", help="Serve the run's page while it runs, and print its address.")
    ] = False,
    output: Runs = Path("runs"),
    as_json: AsJson = False,
    plain: Plain = False,
) -> None:
    """Run a recipe."""
    from mentor_kit import api
    from mentor_kit.cli.display import display
    from mentor_kit.core.errors import UsageError
    from mentor_kit.recipe.settings import parse_settings

    if dry_run and resume:
        raise UsageError("--resume resumes a run, and --dry-run starts none: give one of the two")
    if dry_run and view:
        raise UsageError("--view serves the page of a run, and --dry-run starts none: give one of the two")
    overrides = parse_settings(settings or [])
    if dry_run:
        _show_plan(api.plan(recipe, overrides=overrides, memory=memory, gpu=gpu), as_json)
        return
    if memory is not None or gpu is not None:
        named = "--memory" if gpu is None else "--gpu"
        raise UsageError(f"{named} is for --dry-run: a run takes what its backend's options say")
    with display(as_json=as_json, plain=plain) as shown:
        trackers = [shown, *([_live_view(as_json)] if view else [])]
        if resume:
            run_name, edited = api.find_edited(recipe, overrides)
            done = api.resume(run_name, overrides=overrides, recipe=edited, output=output, trackers=trackers)
        else:
            done = api.run(recipe, overrides=overrides, output=output, trackers=trackers)
    _show_result(done, as_json)


def _live_view(as_json: bool) -> LiveView:
    """The tracker that serves the run's page."""
    from mentor_kit.report.live import LiveView

    return LiveView(
        lambda address: _say(as_json, **({"kind": "view", "address": address} if as_json else {"view": address}))
    )


def check(
    recipe: RecipeArgument,
    settings: Settings = None,
    expand: Annotated[
        bool, typer.Option("--expand", help="Print the whole recipe, and the reward's gates and terms.")
    ] = False,
    look: Annotated[bool, typer.Option(help="Look at the files, modules and models that it names.")] = True,
    as_json: AsJson = False,
) -> None:
    """Check a recipe: every name, option and file, with file, line and column of what is wrong."""
    import json

    from mentor_kit import api
    from mentor_kit.hooks.loader import default_registry
    from mentor_kit.recipe.checking import expand_reward, unavailable_components
    from mentor_kit.recipe.expanding import expanded
    from mentor_kit.recipe.python_values import as_data
    from mentor_kit.recipe.settings import parse_settings
    from mentor_kit.recipe.yaml_writer import to_yaml
    from mentor_kit.report.reward_text import reward_text

    loaded = api.check(recipe, overrides=parse_settings(settings or []), look=look)
    reward = expand_reward(loaded, default_registry()) if expand else None
    if as_json:
        typer.echo(json.dumps(expanded(loaded, default_registry()) | ({"reward": as_data(reward)} if reward else {})))
        return
    typer.echo(f"{recipe}: every name and option is right")
    for missing in dict.fromkeys(unavailable_components(loaded.recipe, default_registry())):
        typer.echo(f"missing here: {missing}")
    if expand:
        typer.echo(to_yaml(expanded(loaded, default_registry())))
        typer.echo(reward_text(reward))


def preview(
    recipe: RecipeArgument,
    settings: Settings = None,
    split: Annotated[str, typer.Option(help="The split of the problems; train if left out.")] = "",
    problems: Annotated[int, typer.Option(min=1, help="How many problems are shown.")] = 3,
    problem: Annotated[str | None, typer.Option(help="The id of the only problem to show.")] = None,
    ask: Annotated[bool, typer.Option("--ask", help="Ask teachers and judges that cost time or money.")] = False,
    price_in: Annotated[float | None, typer.Option(help="Dollars per million tokens sent to the teacher.")] = None,
    price_out: Annotated[float | None, typer.Option(help="Dollars per million tokens received from it.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="An HTML file to write instead.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
    plain: Plain = False,
) -> None:
    """Look at a recipe before it runs: prompts, tools, the teacher's work and reward, trained tokens, limits, cost."""
    import json
    import sys

    from mentor_kit import api
    from mentor_kit.cli.display import width
    from mentor_kit.recipe.settings import parse_settings
    from mentor_kit.report.preview.page import write_preview
    from mentor_kit.report.preview.text import preview_text

    found = api.preview(
        recipe,
        overrides=parse_settings(settings or []),
        split=split,
        problems=problems,
        problem=problem,
        ask=ask,
        price_in=price_in,
        price_out=price_out,
    )
    if output is not None:
        write_preview(found, output)
    if as_json:
        typer.echo(json.dumps(found.as_data()))
    elif output is not None:
        typer.echo(f"preview: {output}")
    elif plain or not sys.stdout.isatty():
        typer.echo(preview_text(found, colours=False, width=width()).plain)
    else:
        from rich.console import Console

        Console(highlight=False).print(preview_text(found, colours=True, width=width()))


def collect(
    recipe: RecipeArgument,
    settings: Settings = None,
    problems: Annotated[int, typer.Option(help="How many training problems.")] = 100,
    keep: Annotated[str, typer.Option(help="`right` demonstrations only, or `all`.")] = "right",
    output: Runs = Path("runs"),
    as_json: AsJson = False,
    plain: Plain = False,
) -> None:
    """Collect the teacher's demonstrations of training problems in a run folder."""
    from mentor_kit import api
    from mentor_kit.cli.display import display
    from mentor_kit.recipe.settings import parse_settings

    with display(as_json=as_json, plain=plain) as shown:
        done = api.collect(
            recipe,
            overrides=parse_settings(settings or []),
            problems=problems,
            keep=cast("Literal['right', 'all']", keep),
            output=output,
            trackers=[shown],
        )
    count = len(done.demonstrations())
    if as_json:
        _say(as_json, run=str(done.path), demonstrations=count)
    else:
        _say(as_json, run=str(done.path), demonstrations=f"{done.path / 'demonstrations.jsonl'} ({count})")


def evaluate(
    recipe: RecipeArgument,
    settings: Settings = None,
    student: Annotated[str | None, typer.Option(help="Another student: a folder, or a hub id (owner/name).")] = None,
    trained: Annotated[str | None, typer.Option("--run", help="A run whose student is evaluated.")] = None,
    checkpoint: Annotated[str, typer.Option(help="Which of --run: `last`, `best`, or a checkpoint's name.")] = "last",
    agent: Annotated[
        str | None,
        typer.Option(help="The agent in the student's place: a teacher, such as openai; `teacher`: the recipe's."),
    ] = None,
    options: Annotated[list[str] | None, typer.Option("--with", help="An option of --agent: model=NAME.")] = None,
    split: Annotated[list[str] | None, typer.Option(help="A split of the task; can be given several times.")] = None,
    problems: Annotated[int | None, typer.Option(min=1, help="Problems of each split.")] = None,
    samples: Annotated[int | None, typer.Option(min=0, help="Sampled episodes per problem.")] = None,
    pass_at: Annotated[list[int] | None, typer.Option("--pass-at", min=1, help="A k of pass@k, several times.")] = None,
    output: Runs = Path("runs"),
    as_json: AsJson = False,
    plain: Plain = False,
) -> None:
    """Evaluate a student, a run's checkpoint or any other agent: accuracy, pass@k, tool use, similarity."""
    from mentor_kit import api
    from mentor_kit.cli.display import display, show
    from mentor_kit.core.errors import UsageError
    from mentor_kit.recipe.settings import parse_settings
    from mentor_kit.report import evaluated

    if options and agent is None:
        raise UsageError("--with is an option of --agent", hint="for example --agent openai --with model=NAME")
    changes = {"problems": problems, "samples": samples, "pass_at": tuple(pass_at or ()) or None}
    with display(as_json=as_json, plain=plain) as shown:
        done = api.evaluate(
            recipe,
            overrides=parse_settings(settings or []),
            on=split or [],
            changes={name: value for name, value in changes.items() if value is not None},
            student=student,
            trained=trained,
            checkpoint=checkpoint,
            agent=None if agent is None else {"use": agent, "with": parse_settings(options or [], "--with")},
            output=output,
            trackers=[shown],
        )
    found = evaluated(done)
    if as_json:
        _say(as_json, run=str(done.path), evaluations=found.to_json())
        return
    show(found.sheets, plain=plain)
    typer.echo(f"run: {done.path}")


def audit(
    recipe: RecipeArgument,
    settings: Settings = None,
    tries: Annotated[int, typer.Option(min=0, help="Mutants of honest transcripts to try, beside the attacks.")] = 1000,
    problems: Annotated[int, typer.Option(min=1, help="Problems that each attack is tried on.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the problems and the mutants.")] = 0,
    families: Annotated[
        list[str] | None,
        typer.Option(
            "--family", help="Write as this family of models; may be repeated; all; the student's if left out."
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Tables of families and attacks.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Try to earn a recipe's reward without the work: known attacks and a search; code 1 if one pays."""
    import json

    from mentor_kit import api
    from mentor_kit.audits import formatting
    from mentor_kit.core.errors import ExitCode
    from mentor_kit.recipe.settings import parse_settings

    found = api.audit(
        recipe,
        overrides=parse_settings(settings or []),
        problems=problems,
        tries=tries,
        seed=seed,
        families=families or [],
    )
    if as_json:
        typer.echo(json.dumps(found.as_data()))
    else:
        typer.echo(formatting.markdown(found) if markdown else formatting.plain(found))
    if not found.passed:
        raise typer.Exit(ExitCode.FAILED)


def bench(
    recipe: RecipeArgument,
    settings: Settings = None,
    steps: Annotated[int, typer.Option(help="Steps of each stage to measure, after one to warm up.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Measure a few steps: tokens a second, where the time goes, memory, the whole recipe's estimate."""
    import json

    from mentor_kit import api
    from mentor_kit.recipe.settings import parse_settings

    found = api.bench(recipe, overrides=parse_settings(settings or []), steps=steps)
    typer.echo(json.dumps(found.as_data()) if as_json else found.text())


def _show_plan(plan: RunPlan, as_json: bool) -> None:
    import json

    typer.echo(json.dumps(plan.as_data()) if as_json else plan.text())


def _show_result(done: Run, as_json: bool) -> None:
    from mentor_kit.cli.display import width
    from mentor_kit.report import before_after
    from mentor_kit.report.next_steps import next_steps, next_steps_text

    table = before_after(done)
    places = {"run": str(done.path)}
    if done.folder.student.is_dir():  # a recipe that only evaluates leaves none
        places["student"] = str(done.student)
    if done.folder.report.is_file():
        places["report"] = str(done.folder.report)
    if as_json:
        _say(as_json, **places, before_after=table.to_json())
        return
    if table.changes:
        typer.echo("")
        typer.echo(table.text(width()), nl=False)
    typer.echo("")
    _say(as_json, **places)
    if steps := next_steps(done):
        typer.echo(f"\n{next_steps_text(steps, width())}")


def _say(as_json: bool, **values: object) -> None:
    """Print the result of a command."""
    import json

    if as_json:
        typer.echo(json.dumps({"kind": "result", **values}))
        return
    for name, value in values.items():
        typer.echo(f"{name}: {value}")
