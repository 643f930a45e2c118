"""Diagnoses of a training run: after each step, the conditions that hold are recognised and named, each once a run.

The same events give the same diagnoses, whether one by one while the run goes on (`Diagnoser`) or all at once
(`diagnose`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mentor_kit.core.event import DIAGNOSIS, Event
from mentor_kit.core.frozen_model import Json
from mentor_kit.runs.conditions import CONDITIONS, Condition, Cure
from mentor_kit.runs.stage_history import StageHistory

#: Problems of an evaluation that shows a condition by itself.
ENOUGH_PROBLEMS = 20


@dataclass(frozen=True)
class Diagnosis:
    """A condition that was recognised in a run."""

    name: str
    """The condition's, such as `equal-rewards`."""
    stage: str
    step: int | None
    text: str
    """What goes wrong, in a sentence."""
    advice: str
    """What to change, in a sentence or two, the likeliest first."""
    settings: tuple[str, ...]
    """The settings to change, as `--set` names them, in the same order."""

    @property
    def values(self) -> dict[str, Json]:
        """The values of its event."""
        return {
            "step": self.step,
            "name": self.name,
            "text": self.text,
            "advice": self.advice,
            "settings": list(self.settings),
        }


class Diagnoser:
    """Recognises conditions from a run's events, one event after the other.

    Args:
        recipe: expanded, for the present values of settings.
        conditions: those to recognise, causes before what follows from them.
    """

    def __init__(self, recipe: Mapping[str, Json], conditions: Sequence[Condition] = CONDITIONS) -> None:
        self._recipe = recipe
        self._conditions = conditions
        self._stages: dict[str, StageHistory] = {}
        self._in_a_row: dict[str, Counter[str]] = {}
        """By stage, for how many steps each condition has held."""
        self._named: set[str] = set()
        self._teacher_uses_tools: bool | None = None

    def replay(self, events: Iterable[Event]) -> None:
        """See the events of a run that is resumed: what is named in them is not named again."""
        named = set()
        for event in events:
            self.see(event)
            if event.kind == DIAGNOSIS:
                named.add(str(event.values.get("name")))
        self._named = named

    def see(self, event: Event) -> list[Diagnosis]:
        """The diagnoses that an event leads to, mostly none."""
        if event.kind == "step":
            return self._see_step(event)
        if event.kind == "evaluation":
            return self._see_evaluation(event)
        return []

    def _see_step(self, event: Event) -> list[Diagnosis]:
        stage = self._stages.setdefault(event.stage, StageHistory(event.stage, self._recipe))
        stage.teacher_uses_tools = self._teacher_uses_tools
        stage.steps.append(_numbers(event.values))
        in_a_row = self._in_a_row.setdefault(event.stage, Counter())
        for condition in self._conditions:
            in_a_row[condition.name] = in_a_row[condition.name] + 1 if condition.holds(stage) else 0
        holding = [condition for condition in self._conditions if in_a_row[condition.name]]
        ripe = [condition for condition in holding if in_a_row[condition.name] >= condition.steps]
        return [
            self._diagnosis(condition, stage, event, f"in {_last_steps(condition.steps)}")
            for condition in self._unexplained(ripe, holding)
        ]

    def _see_evaluation(self, event: Event) -> list[Diagnosis]:
        """Those that an evaluation of the student after training steps shows by itself."""
        values = event.values
        if "teacher_tools" in values:
            self._teacher_uses_tools = bool(values["teacher_tools"])
        # events of earlier versions have the description of the agent under `who`
        agent, problems = values.get("who", values.get("agent")), values.get("problems")
        is_own = not isinstance(agent, Mapping) or agent.get("kind") == "run"
        if not (event.step and is_own and isinstance(problems, int) and problems >= ENOUGH_PROBLEMS):
            return []
        shown = StageHistory(event.stage, self._recipe, [_numbers(values)], self._teacher_uses_tools)
        holding = [condition for condition in self._conditions if condition.in_evaluations and condition.holds(shown)]
        where = f"in the evaluation of {values.get('plan') or values.get('split')}"
        return [self._diagnosis(condition, shown, event, where) for condition in self._unexplained(holding, holding)]

    def _unexplained(self, ripe: Sequence[Condition], holding: Sequence[Condition]) -> list[Condition]:
        """Those that are not named yet, and that no other one explains that holds as well."""
        explained = {name for condition in holding for name in condition.explains}
        return [condition for condition in ripe if condition.name not in self._named | explained]

    def _diagnosis(self, condition: Condition, stage: StageHistory, event: Event, where: str) -> Diagnosis:
        self._named.add(condition.name)
        cures = condition.cures(stage)
        return Diagnosis(
            name=condition.name,
            stage=event.stage,
            step=event.step,
            text=f"{condition.text(stage)} ({where})",
            advice="; or ".join(_advice(cure, stage) for cure in cures),
            settings=tuple(cure.setting for cure in cures if cure.setting),
        )


def diagnose(events: Iterable[Event], recipe: Mapping[str, Json]) -> list[Diagnosis]:
    """All diagnoses of a run's events, in order; pure, so that also runs of older versions have them.

    Args:
        events: of a run, oldest first.
        recipe: the run's, expanded.
    """
    diagnoser = Diagnoser(recipe)
    return [found for event in events for found in diagnoser.see(event)]


def _numbers(values: Mapping[str, Json]) -> dict[str, float]:
    """The metrics among an event's values."""
    found = {name: value for name, value in values.items() if isinstance(value, int | float)}
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def _last_steps(count: int) -> str:
    return "this step" if count == 1 else f"each of the last {count} steps"


def _advice(cure: Cure, stage: StageHistory) -> str:
    if not cure.setting:
        return cure.how
    value = stage.value(cure.setting)
    now = f" (now {value})" if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    return f"{cure.how} `{cure.setting}`{now}{cure.more}"
