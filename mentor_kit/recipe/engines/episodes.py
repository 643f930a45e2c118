"""One episode of a recipe for an engine that brings its own sampler: a row becomes a trajectory with its reward.

    row + sampler ──episode, verdict──> trajectory ──reward, demonstrations──> Scored

An engine's plugin calls `EpisodePlayer.play` from the engine's own hook; parser, tools, task, limits and reward are the
recipe's. Seeds are those that a run here has for the same step, problem and index.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import cache
from pathlib import Path

from mentor_kit.backend.sampling import Sampler
from mentor_kit.core.agent import EpisodeRequest
from mentor_kit.core.tool import announced
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.assembly import assemble_components, sampling_of, student_format, student_spec
from mentor_kit.recipe.engines.engine import STAGE_KEY, stage_options
from mentor_kit.recipe.engines.results import PlayedEpisode
from mentor_kit.recipe.engines.rows import EpisodeRow
from mentor_kit.recipe.loading import LoadedRecipe, load_recipe
from mentor_kit.rl.reward import Breakdown, Scored
from mentor_kit.rollout import EpisodeRules, PolicyAgent, Sampling, run_episode
from mentor_kit.stages.experiment import correctness
from mentor_kit.utils.randomness import derive_seed


class EpisodePlayer:
    """Plays a recipe's episodes without its policy and its teacher; one serves a whole process.

    Args:
        loaded: the recipe; its only stage is `grpo`.
        model: the folder of the student's tokenizer; the recipe's student if left out.
        registry: the plugins; those of the environment if left out.
    """

    def __init__(self, loaded: LoadedRecipe, *, model: Path | None = None, registry: Registry | None = None) -> None:
        registry = registry or default_registry()
        recipe = loaded.recipe
        # the rows have the demonstrations: the teacher's key or server need not be where episodes are played
        self._has_teacher = recipe.teacher is not None
        self._loaded = replace(loaded, recipe=recipe.model_copy(update={"teacher": None}))
        self.components = assemble_components(self._loaded, registry)
        student = student_spec(self._loaded, registry, self.components.context)
        if model is not None:
            student = replace(student, model=str(model), revision=None)
        self.format = student_format(self._loaded, registry, student)
        options = stage_options(recipe, registry)
        assert options is not None, "an exported recipe has one stage, `grpo`"
        self.options = options
        self._sampling = sampling_of(recipe)
        parts = self.components
        self._rules = EpisodeRules(parts.task, parts.toolbox, parts.limits, self.format.truncate)

    async def play(self, row: EpisodeRow, sampler: Sampler, *, step: int, index: int, context: int) -> PlayedEpisode:
        """Play an episode and score it.

        Args:
            row: the problem with its demonstrations.
            sampler: answers the requests of this episode.
            step: the training step, from 1; in evaluations the number of steps done.
            index: of the episode among those of the row, from 0.
            context: the longest context of the model, in tokens.
        """
        seed = self._seed(row, step, row.first + index)
        agent = PolicyAgent("student", self.format, sampler, self.sampling(row), self._rules.limits, context)
        tools = self.components.toolbox.tools(row.problem)
        request = EpisodeRequest(
            id=f"{row.problem.id}#{row.first + index}", problem=row.problem, tools=tools, seed=seed
        )
        trajectory = await run_episode(agent, request, self._rules)
        scored = await self._score(trajectory, row, step)
        return PlayedEpisode(
            step=step, row=row.place, index=index, scored=scored, evaluation=row.evaluation, greedy=row.greedy
        )

    def sampling(self, row: EpisodeRow) -> Sampling:
        """How the tokens of a row's episodes are drawn."""
        return Sampling(temperature=0) if row.greedy else self._sampling

    def prompt_length(self, row: EpisodeRow) -> int:
        """The number of tokens that a row's episodes begin with."""
        tools = self.components.toolbox.tools(row.problem)
        return len(self.format.open(row.problem.opening(), announced(tools)))

    def is_trained(self, trajectory: Trajectory) -> bool:
        """Whether an update trains on a trajectory, by the stage's `mask_unended`."""
        return trajectory.ended or not self.options.mask_unended

    def close(self) -> None:
        """Free what tools and task hold."""
        self.components.close()

    def _seed(self, row: EpisodeRow, step: int, index: int) -> int:
        """The seed that `Experiment.collect_rollouts` gives the same episode."""
        if row.evaluation:
            return derive_seed(self._loaded.recipe.seed, "evaluate", row.problem.split, row.problem.id, index)
        return derive_seed(self._loaded.recipe.seed, STAGE_KEY, step, 0, row.problem.id, index)

    async def _score(self, trajectory: Trajectory, row: EpisodeRow, step: int) -> Scored:
        """The trajectory with its reward; where the reward does not apply, 1 for a right answer and 0 for a wrong one.

        As in a run here, it does not apply where the recipe has a teacher that has not solved the problem.
        """
        reward = self.components.reward
        if reward is None or (self._has_teacher and not row.demonstrations):
            return correctness(trajectory)
        progress = 1.0 if row.evaluation else self.options.progress(step)
        case = (trajectory, row.problem, row.demonstrations)

        def score() -> Breakdown:
            reward.prepare([case])
            return reward(*case, progress=progress)

        # a judge's answer takes seconds, in which the other episodes of the process go on
        breakdown = await asyncio.to_thread(score) if reward.costly else score()
        return Scored(trajectory=trajectory, reward=breakdown)


@cache
def player_of(folder: Path) -> EpisodePlayer:
    """The player of an exported run in this process, by its `recipe.yaml`, and its `student` where it carries one."""
    student = folder / "student"
    return EpisodePlayer(load_recipe(folder / "recipe.yaml"), model=student if student.is_dir() else None)
