"""What `mentorkit evaluate` says about who is evaluated, as settings of the recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mentor_kit.core.errors import UsageError


def settings_of(
    student: str | None, trained: str | None, checkpoint: str, agent: str | None, options: Sequence[str]
) -> list[str]:
    """The settings that `--student` and `--with` stand for.

    Raises:
        UsageError: options contradict each other.
    """
    named = [
        option
        for option, value in (("--student", student), ("--run", trained), ("--agent", agent))
        if value is not None
    ]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} each say who is evaluated", hint="leave all of them out but one")
    if trained is None and checkpoint != "last":
        raise UsageError("--checkpoint is one of a run's", hint="name the run: --run RUN --checkpoint best")
    if options and agent is None:
        raise UsageError("--with is an option of --agent", hint="for example --agent openai --with model=NAME")
    if options and agent == "teacher":
        raise UsageError("--with is an option of another agent", hint="the recipe's own takes --set teacher.KEY=VALUE")
    if student is not None:
        return [f"student.model={Path(student).resolve() if Path(student).is_dir() else student}"]
    for option in options:
        if "=" not in option:
            raise UsageError(f"--with {option}: expected key=value", hint="for example --with model=NAME")
    return [f"evaluate.agent.with.{option}" for option in options]
