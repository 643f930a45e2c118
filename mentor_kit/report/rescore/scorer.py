"""Scores a run's episodes with any reward: the problems, demonstrations and tools are those of the run's recipe.

No student and no teacher is loaded. What the recipe cannot supply on this machine is left out, with a note.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.demonstration import Demonstrations
from mentor_kit.core.errors import MentorKitError, UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.recipe.assembly import Components, assemble_components, build_reward
from mentor_kit.recipe.attribution import attributed
from mentor_kit.recipe.checking import check_key
from mentor_kit.recipe.loading import LoadedRecipe, load_recipe
from mentor_kit.recipe.python_values import as_data
from mentor_kit.recipe.settings import combine
from mentor_kit.report.rescore.problems import Problems
from mentor_kit.rl.reward import Breakdown, Reward, RewardSpec
from mentor_kit.runs import Run

#: A reward as a caller gives it: a preset's name, a spec of one, or gates and terms.
RewardLike = str | ComponentSpec | RewardSpec | Mapping[str, Any]

#: The recipe without what scoring does not need, so that a missing key or package of these matters to nobody.
_SCORING: Mapping[str, Json] = {
    "train": [],
    "teacher": None,
    "trackers": [],
    "evaluate": {},
    "checkpoints": {},
    "reward": None,
}


@dataclass(frozen=True)
class NamedReward:
    """A reward with its name in reports."""

    name: str
    reward: Reward | None
    """None for a recipe without one: 1 for a right answer, and 0 for a wrong one."""
    loaded: LoadedRecipe
    """The recipe with it, whose components its errors name."""


class Scorer:
    """Builds rewards for a run, and scores its episodes with them. A context manager, which frees the tools.

    Args:
        run: the run.
        registry: the plugins.

    Raises:
        RecipeError: the run's recipe cannot be read any more.
    """

    def __init__(self, run: Run, registry: Registry) -> None:
        self.run = run
        self.registry = registry
        self.notes: list[str] = []
        """What is missing, in sentences."""
        self.demonstrations = Demonstrations(run.demonstrations())
        self.has_teacher = run.recipe.get("teacher") is not None
        self._left_out: dict[str, Json] = {}
        """What else of the recipe is overridden, as it cannot be had on this machine."""
        self._components = self._assemble()
        self.loaded = self._load({})
        self.problems = Problems(self.loaded, None if self._components is None else self._components.task, run)

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._components is not None:
            self._components.close()

    @property
    def context(self) -> BuildContext:
        """What components of the run are built with."""
        if self._components is not None:
            return self._components.context
        return BuildContext(self.registry, self.loaded.recipe.seed, self.loaded.folder)

    def own(self) -> NamedReward:
        """The run's own reward.

        Raises:
            MentorKitError: it cannot be built on this machine.
        """
        given = self.run.recipe.get("reward")
        return self._built(_name(given), {} if given is None else {"reward": given})

    def named(self, given: RewardLike) -> NamedReward:
        """Another reward.

        Raises:
            RecipeError: there is none of that name, or an option is wrong.
            MentorKitError: it cannot be built on this machine.
        """
        value = as_data(given)
        return self._built(_name(value), {"reward": value})

    def changed(self, settings: Mapping[str, Json]) -> NamedReward:
        """The run's own reward with settings, such as `{"reward.tools": 0.5}`.

        Raises:
            UsageError: a setting is of something else.
            RecipeError: it leads nowhere, or its value is wrong.
            MentorKitError: the reward cannot be built on this machine.
        """
        for key in settings:
            if key.partition(".")[0] != "reward":
                raise UsageError(
                    f"{key}: rescoring changes the reward alone; the episodes stay what they are",
                    hint="for example --set reward.tools=0.5",
                )
        own = self.run.recipe.get("reward")
        name = ", ".join(f"{key}={_short(value)}" for key, value in settings.items())
        return self._built(name, combine({} if own is None else {"reward": own}, settings))

    def presets(self) -> list[NamedReward]:
        """Every preset that can be built without options, other than the run's own."""
        own, found = self.run.recipe.get("reward"), []
        for name in self.registry.components("rewards"):
            if not (isinstance(own, dict) and own.get("use") == name):
                with suppress(MentorKitError):
                    found.append(self.named(name))
        return found

    def score(
        self, named: NamedReward, trajectories: Sequence[Trajectory], progress: float, *, always: bool, split: str = ""
    ) -> list[Breakdown]:
        """The reward of each trajectory, as a stage or an evaluation computes it.

        Args:
            named: the reward.
            trajectories: of one step or evaluation.
            progress: the share of the stage that was done, in [0, 1].
            always: whether the reward decides in any case, as where a stage learns from it; else a problem that the
                run's teacher has not solved earns 1 for a right answer and 0 for a wrong one.
            split: the evaluation split that the problems are of; training problems if left out.

        Raises:
            MentorKitError: a term cannot score a trajectory, such as one that needs a demonstration.
        """
        reward = named.reward
        applies = [reward is not None and (always or self._has_reward(item.problem_id)) for item in trajectories]
        rewarded = [item for item, does in zip(trajectories, applies, strict=True) if does]
        problems = self.problems.of(rewarded, split)
        cases = [(item, problems[id(item)], self.demonstrations.of_id(item.problem_id)) for item in rewarded]
        with attributed(named.loaded, self.registry):
            if reward is None:
                return [Breakdown(total=float(item.correct)) for item in trajectories]
            reward.prepare(cases)
            scored = iter([reward(*case, progress=progress) for case in cases])
        return [
            next(scored) if does else Breakdown(total=float(item.correct))
            for item, does in zip(trajectories, applies, strict=True)
        ]

    def _has_reward(self, problem_id: str) -> bool:
        return not self.has_teacher or bool(self.demonstrations.right(problem_id))

    def _built(self, name: str, overrides: Mapping[str, Json]) -> NamedReward:
        loaded = self._load(overrides)
        check_key(loaded, self.registry, "reward")
        spec = loaded.recipe.reward
        with attributed(loaded, self.registry):
            reward = None if spec is None else build_reward(spec, self.registry, self.context)
        return NamedReward(name, reward, loaded)

    def _load(self, overrides: Mapping[str, Json]) -> LoadedRecipe:
        """The run's recipe, reduced to what scoring needs, with overrides. Its components are not checked."""
        # later overrides change the values of earlier ones in place
        return load_recipe(self.run.folder.recipe, deepcopy(combine(_SCORING, self._left_out, overrides)))

    def _assemble(self) -> Components | None:
        """Task and tools; without tools, or not at all, where they cannot be built on this machine."""
        errors: list[MentorKitError] = []
        tried: tuple[dict[str, Json], ...] = ({}, {"tools": []})
        for self._left_out in tried:
            try:
                loaded = self._load({})
                with attributed(loaded, self.registry):
                    found = assemble_components(loaded, self.registry)
                self.notes += [f"scored without the recipe's tools: {error.message}" for error in errors]
                return found
            except MentorKitError as error:
                errors.append(error)
        self.notes.append(f"scored without the recipe's task and tools: {errors[-1].message}")
        task = self.run.recipe.get("task")
        self._left_out = {"tools": [], "task": {"use": task["use"] if isinstance(task, dict) else str(task)}}
        return None


def _name(given: Json) -> str:
    """A reward's name in reports: its preset with the options that are written."""
    if given is None:
        return "correct"
    if isinstance(given, str):
        return given
    if isinstance(given, dict) and "use" in given:
        return str(given["use"])
    return "gates and terms"


def _short(value: Json) -> str:
    text = value["use"] if isinstance(value, dict) and "use" in value else value
    return str(text) if len(str(text)) <= 40 else "…"


def unique_names(named: Iterable[NamedReward]) -> list[NamedReward]:
    """The rewards, those whose name comes again with a number behind it."""
    seen: dict[str, int] = {}
    found = []
    for each in named:
        seen[each.name] = seen.get(each.name, 0) + 1
        number = seen[each.name]
        found.append(each if number == 1 else replace(each, name=f"{each.name} {number}"))
    return found
