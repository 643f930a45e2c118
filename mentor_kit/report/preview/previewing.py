"""Makes a preview: the first problems, the teacher's work on them, tokens and limits. No weights are loaded."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from mentor_kit.chat import ChatFormat, demonstration_tokens
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import ChatError, DataError, MentorKitError, MissingError, UsageError, did_you_mean
from mentor_kit.core.task import TRAIN, Problem
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.tool import Tool
from mentor_kit.core.trajectory import TokenTrace
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.assembly import (
    Components,
    assemble_components,
    assemble_without_student,
    student_format,
    student_spec,
)
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.workloads import build_stages, workloads
from mentor_kit.report.preview.cost import EpisodeTokens, Rates, collection_cost, problems_to_demonstrate
from mentor_kit.report.preview.lengths import Lengths
from mentor_kit.report.preview.model import CollectionCost, Preview, PreviewedDemonstration, PreviewedProblem, TokenSpan
from mentor_kit.rl.reward import Breakdown
from mentor_kit.rollout import run_async
from mentor_kit.stages.experiment import Experiment

#: Problems whose lengths are measured, at least.
MEASURED = 16
#: Problems among which one is looked for by its id.
SEARCHED = 10_000


def preview(
    loaded: LoadedRecipe,
    registry: Registry,
    *,
    split: str = "",
    problems: int = 3,
    problem: str | None = None,
    ask: bool = False,
    rates: Rates | None = None,
) -> Preview:
    """Preview a recipe.

    Args:
        loaded: the recipe.
        registry: the plugins to use.
        split: of the problems; `train`, or the task's first split where it has no training problems, if left out.
        problems: how many are shown.
        problem: the id of the only one to show.
        ask: whether to ask teachers, and judges in the reward, that cost money or minutes.
        rates: prices and speed for the estimate of the cost.

    Raises:
        UsageError: the task has no such split or problem.
        MentorKitError: a component cannot be built here; the message names it.
    """
    loaded, built, notes = _components(loaded, registry)
    with closing(built) as components:
        experiment = assemble_without_student(loaded, registry, components)
        previewer = _Previewer(loaded, registry, components, experiment, ask, rates or Rates(), notes)
        return previewer.preview(split, problems, problem)


def _components(loaded: LoadedRecipe, registry: Registry) -> tuple[LoadedRecipe, Components, list[str]]:
    """The components; without the teacher where something of it is missing here, such as its key, and a note on that.

    Raises:
        MentorKitError: a component cannot be built here, with or without the teacher.
    """
    try:
        return loaded, assemble_components(loaded, registry), []
    except MissingError as error:
        if loaded.recipe.teacher is None:
            raise
        without = replace(loaded, recipe=loaded.recipe.model_copy(update={"teacher": None}))
        hint = f" ({error.hint})" if error.hint else ""
        return without, assemble_components(without, registry), [f"no teacher: {error.message}{hint}"]


@dataclass
class _Previewer:
    """What a preview is made with."""

    loaded: LoadedRecipe
    registry: Registry
    components: Components
    experiment: Experiment
    ask: bool
    rates: Rates
    notes: list[str]
    """What cannot be shown, so far."""

    def preview(self, split: str, count: int, only: str | None) -> Preview:
        split, problems = self._problems(split, max(count, MEASURED), only)
        shown = problems[:count] if only is None else problems
        self.format, model = self._format()
        self.lengths = Lengths(self.components.limits, _context_of(model))
        self._demonstrate(problems)
        found = [self._problem(problem, split) for problem in problems]
        tools = {name: tool for problem in shown for name, tool in self.experiment.toolbox.tools(problem).items()}
        demonstrations = [one for problem in found for one in problem.demonstrations]
        teacher, reward = self.experiment.teacher, self.experiment.reward
        return Preview(
            recipe=self.experiment.name,
            model=self.loaded.recipe.student.model,
            teacher=teacher.name if teacher else "",
            split=split,
            problems=tuple(found[: len(shown)]),
            tools={name: tool.schema for name, tool in tools.items()},
            lengths=self.lengths.measured(),
            measured=len(problems),
            demonstrations=len(demonstrations),
            faulty=sum(bool(one.faults) for one in demonstrations),
            reward_maximum=reward.maximum if reward else None,
            cost=self._cost(found),
            notes=tuple(self.notes),
        )

    def _problems(self, split: str, count: int, only: str | None) -> tuple[str, list[Problem]]:
        splits = [split] if split else list(dict.fromkeys((TRAIN, *self.components.task.splits)))
        for name in splits:
            if not split and name not in self.components.task.splits:
                continue
            if problems := self.experiment.problems(name, self._seed(name), count):
                return name, problems if only is None else [self._search(name, only)]
        raise UsageError(f"the task has no problems in {' or '.join(map(repr, splits))}")

    def _seed(self, split: str) -> int:
        # as the stages: training problems by the recipe's seed, those of evaluations by a fixed one
        return self.experiment.seed if split == TRAIN else 0

    def _search(self, split: str, wanted: str) -> Problem:
        count, seen = MEASURED, 0
        while True:
            problems = self.experiment.problems(split, self._seed(split), count)
            for problem in problems:
                if problem.id == wanted:
                    return problem
            if len(problems) == seen or count >= SEARCHED:
                break
            seen, count = len(problems), count * 10
        close = did_you_mean(wanted, [problem.id for problem in problems])
        raise UsageError(
            f"the split {split!r} has no problem {wanted!r} among its first {len(problems):,}{close}",
            hint=f"its first one is {problems[0].id!r}; another split: --split",
        )

    def _format(self) -> tuple[ChatFormat | None, str]:
        """The student's chat format, and the model's folder or hub id."""
        model = self.loaded.recipe.student.model
        try:
            spec = student_spec(self.loaded, self.registry, self.components.context)
            model = spec.model
            chat = student_format(self.loaded, self.registry, spec)
        except MissingError as error:
            hint = f" ({error.hint})" if error.hint else ""
            self.notes.append(f"no prompts and no tokens: {error.message}{hint}")
            return None, model
        return chat, model

    def _demonstrate(self, problems: Sequence[Problem]) -> None:
        """Add the teacher's demonstrations of the problems to the experiment."""
        teacher = self.experiment.teacher
        if teacher is None:
            if not self.notes:
                self.notes.append("no demonstrations: the recipe has no teacher")
            return
        if teacher.costly and not self.ask:
            self.notes.append(f"no demonstrations: asking the teacher {teacher.name!r} takes time or money; --ask asks")
            return
        try:
            for found in run_async(_all(teacher, problems)):
                by_id = {problem.id: problem for problem in problems}
                self.experiment.demonstrations.add(found.about(by_id[found.problem_id]))
        except MentorKitError as error:
            if teacher.costly:
                raise
            self.notes.append(f"no demonstrations: {error.message}")

    def _problem(self, problem: Problem, split: str) -> PreviewedProblem:
        tools = self.experiment.toolbox.tools(problem)
        prompt_ids = self._prompt(problem, tools)
        if prompt_ids is not None:
            self.lengths.prompt(len(prompt_ids))
        shown = [self._demonstration(one, problem, tools) for one in self.experiment.demonstrations.of(problem)]
        return PreviewedProblem(
            id=problem.id,
            split=split,
            group=problem.group,
            question=problem.question,
            key=problem.answer,
            tools=tuple(tools),
            prompt=self.format.tokenizer.decode(prompt_ids) if self.format and prompt_ids else "",
            prompt_tokens=None if prompt_ids is None else len(prompt_ids),
            demonstrations=tuple(shown),
        )

    def _prompt(self, problem: Problem, tools: dict[str, Tool]) -> list[int] | None:
        return None if self.format is None else self.format.open(problem.opening(), tools)

    def _demonstration(
        self, demonstration: Demonstration, problem: Problem, tools: dict[str, Tool]
    ) -> PreviewedDemonstration:
        fault = demonstration.fault(tools)
        faults = [] if fault is None else [f"cannot be imitated: {fault}"]
        trajectory, trace = demonstration.trajectory, None
        if self.format is not None and trajectory is not None and fault is None:
            try:
                trace = demonstration_tokens(self.format, trajectory.messages, tools, opening=trajectory.opening)
                faults += self.lengths.demonstration(trace)
            except (ChatError, DataError) as error:
                faults.append(f"cannot be imitated: {error.message}")
        return PreviewedDemonstration(
            teacher=demonstration.teacher,
            correct=demonstration.correct,
            trajectory=trajectory,
            tools_used=demonstration.tools_used,
            reward=self._reward(demonstration, problem),
            spans=() if self.format is None or trace is None else tuple(_spans(self.format, trace)),
            faults=tuple(faults),
        )

    def _reward(self, demonstration: Demonstration, problem: Problem) -> Breakdown | None:
        reward = self.experiment.reward
        if reward is None or demonstration.trajectory is None:
            return None
        if reward.costly and not self.ask:
            note = "no rewards: a judge in the reward takes time or money; --ask asks it"
            if note not in self.notes:
                self.notes.append(note)
            return None
        return self.experiment.score([demonstration.trajectory], [problem])[0].reward

    def _cost(self, found: Sequence[PreviewedProblem]) -> CollectionCost | None:
        teacher = self.experiment.teacher
        stages = build_stages(self.loaded.recipe, self.registry, self.components.context)
        needed = problems_to_demonstrate(workloads(self.loaded.recipe, stages))
        if teacher is None or not teacher.costly or not needed:
            return None
        seen = [
            EpisodeTokens.of_spans(problem.prompt_tokens or 0, [(span.tokens, span.trained) for span in shown.spans])
            for problem in found
            for shown in problem.demonstrations
            if shown.spans
        ]
        prompts = [problem.prompt_tokens or _estimated_tokens(problem) for problem in found]
        episodes = seen or [EpisodeTokens.assumed(tokens) for tokens in prompts]
        return collection_cost(teacher, needed, episodes, rates=self.rates, measured=bool(seen))


async def _all(teacher: Teacher, problems: Sequence[Problem]) -> list[Demonstration]:
    return [found async for found in teacher.demonstrate(problems)]


def _spans(format: ChatFormat, trace: TokenTrace) -> Iterator[TokenSpan]:
    """The tokens after the prompt, in runs of equal masks."""
    start = 0
    for trained, run in itertools.groupby(trace.mask):
        end = start + len(list(run))
        yield TokenSpan(string=format.tokenizer.decode(trace.ids[start:end]), tokens=end - start, trained=bool(trained))
        start = end


def _estimated_tokens(problem: PreviewedProblem) -> int:
    """Tokens of a prompt without a tokenizer: four characters each, and a hundred for every tool's schema."""
    return len(problem.question) // 4 + 100 * len(problem.tools)


def _context_of(model: str) -> int | None:
    """The model's context length in tokens, where its folder has a configuration that says so."""
    try:
        config = json.loads((Path(model) / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    candidates: Iterable[object] = (
        part.get("max_position_embeddings") for part in (config, config.get("text_config")) if isinstance(part, dict)
    )
    return next((found for found in candidates if isinstance(found, int)), None)
