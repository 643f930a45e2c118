"""The commands that a person types after a run, to look at it, to talk to its student and to compare rewards."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from mentor_kit.runs import Run


@dataclass(frozen=True)
class NextStep:
    """A command and what it does."""

    command: str
    purpose: str


def next_steps(run: Run) -> list[NextStep]:
    """The commands that a finished run has the files for.

    Args:
        run: of a recipe, or of one stage of it.
    """
    folder = run.folder
    # the folder rather than the name: a name means the newest run, which is another one tomorrow
    subject = shlex.quote(str(run.path))
    found = []
    if not folder.report.is_file():
        found.append(NextStep(f"mentorkit report {subject}", "see it as a page"))
    if run.has_checkpoint:
        found.append(NextStep(f"mentorkit chat {subject}", "talk to the student"))
    if any(folder.rollouts.glob("[!.]*/step-*")) and run.recipe.get("reward"):
        found.append(NextStep(f"mentorkit rescore {subject}", "try other rewards"))
    return found


def next_steps_text(steps: list[NextStep], width: int) -> str:
    """The commands as lines, each with its purpose behind it, or below it where the lines are too narrow for both."""
    longest = max((len(step.command) for step in steps), default=0)
    purpose = max((len(step.purpose) for step in steps), default=0)
    beside = 2 + longest + 2 + purpose <= width
    lines = [
        f"  {step.command:{longest}}  {step.purpose}" if beside else f"  {step.command}\n      {step.purpose}"
        for step in steps
    ]
    return "\n".join(["next:", *lines])
