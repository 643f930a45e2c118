"""The command `mentorkit weather`: a task's first problems with their answer keys, one a line."""

from __future__ import annotations

from typing import Annotated

import typer


def weather_command(
    recipe: Annotated[str, typer.Argument(help="A recipe file or a recipe's name.")],
    problems: Annotated[int, typer.Option(min=1, help="How many problems are printed.")] = 5,
) -> None:
    """Print the first training problems of a recipe's task, with their answer keys."""
    from mentor_kit import api

    for item in api.preview(recipe, problems=problems).problems:
        typer.echo(f"{item.id}: {item.question} -> {item.key}")
