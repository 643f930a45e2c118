"""What a run would do and need, without running it: `mentorkit run --dry-run`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mentor_kit.chat import load_chat_format
from mentor_kit.errors import MissingError
from mentor_kit.hooks.registry import Registry
from mentor_kit.policy import MemoryEstimate, StudentSpec
from mentor_kit.recipe.assembly import Parts, assemble_parts, estimate_memory, student_spec
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.record import Json
from mentor_kit.task import TRAIN

#: Tokens of a prompt whose tokenizer is not on this machine: about a dozen tools' schemas and a problem.
ASSUMED = 1024


@dataclass(frozen=True)
class StagePlan:
    """One stage of the plan."""

    key: str
    steps: int
    episodes: int
    """Played by the student in training."""
    tokens: int
    """The most those episodes can have after their prompts."""


@dataclass(frozen=True)
class Plan:
    """A run that did not happen."""

    name: str
    model: str
    prompt_tokens: int
    """Of the longest prompt among the first training problems; `ASSUMED` where there is no tokenizer."""
    prompt: str
    """The first problem's prompt, as the student would read it."""
    stages: tuple[StagePlan, ...]
    memory: MemoryEstimate
    no_tokenizer: str = ""
    """Why the tokenizer could not be read, where it is not on this machine."""

    def as_data(self) -> dict[str, Json]:
        """The plan for programs."""
        return {
            "name": self.name,
            "model": self.model,
            "prompt_tokens": self.prompt_tokens,
            "stages": [vars(stage) for stage in self.stages],
            "parameters": self.memory.parameters,
            "trainable": self.memory.trainable,
            "memory_bytes": self.memory.parts,
            "memory_total": self.memory.total,
        }

    def text(self) -> str:
        """The plan for people."""
        lines = [
            f"{self.name}: nothing was run",
            f"student     {self.model}",
            f"parameters  {self.memory.parameters:,}, of which {self.memory.trainable:,} are trained",
            *self._about_prompts(),
        ]
        for stage in self.stages:
            played = f", {stage.episodes:,} episodes, at most {stage.tokens:,} tokens" if stage.episodes else ""
            lines.append(f"stage       {stage.key}: {stage.steps:,} steps{played}")
        lines.append(f"memory      about {_size(self.memory.total)}:")
        lines += [f"    {part:<16} {_size(size)}" for part, size in self.memory.parts.items() if size]
        lines += [f"    ({note})" for note in self.memory.notes]
        return "\n".join(lines)

    def _about_prompts(self) -> list[str]:
        if self.no_tokenizer:
            return [f"prompt      taken for {self.prompt_tokens} tokens: {self.no_tokenizer}"]
        first = (f"    {line}" for line in self.prompt.rstrip().splitlines())
        return [f"prompt      at most {self.prompt_tokens} tokens; the first one:", *first]


def plan(loaded: LoadedRecipe, registry: Registry) -> Plan:
    """What the recipe would do; the tokenizer is read, weights are not.

    A student of the hub whose tokenizer cannot be fetched now is taken to have prompts of `ASSUMED` tokens, if its
    backend knows its sizes.

    Raises:
        MissingError: the student is not here, and its backend does not know it.
    """
    recipe = loaded.recipe
    parts = assemble_parts(loaded, registry)
    student = student_spec(loaded, registry, parts.context)
    missing = ""
    try:
        longest, prompt = _prompts(loaded, student, parts)
    except MissingError as error:
        if Path(student.model).exists():
            raise
        longest, prompt, missing = ASSUMED, "", error.message
    return Plan(
        name=recipe.name,
        model=student.model,
        prompt_tokens=longest,
        prompt=prompt,
        no_tokenizer=missing,
        stages=tuple(
            _stage(f"{index}-{slot.use}", registry.check("stages", slot), recipe.rollout.max_response_tokens)
            for index, slot in enumerate(recipe.train)
        ),
        memory=estimate_memory(loaded, registry, parts.context, longest),
    )


def _prompts(loaded: LoadedRecipe, student: StudentSpec, parts: Parts) -> tuple[int, str]:
    """Tokens of the longest prompt among the first training problems, and the first prompt."""
    recipe = loaded.recipe
    chat = load_chat_format(
        student.model,
        chat_template=recipe.student.chat_template,
        folder=loaded.folder,
        revision=student.revision,
        variables=recipe.student.template_variables,
    )
    problems = parts.task.problems(TRAIN, recipe.seed, 16)
    prompts = [chat.open(problem.opening(), parts.toolbox.tools(problem)) for problem in problems]
    return max(map(len, prompts), default=0), chat.tokenizer.decode(prompts[0]) if prompts else ""


def _stage(key: str, options: Any, longest: int) -> StagePlan:
    steps = int(getattr(options, "steps", 1))
    episodes = steps * int(getattr(options, "problems", None) or 0) * int(getattr(options, "group", 0))
    return StagePlan(key, steps, episodes, episodes * longest)


def _size(count: float) -> str:
    units = ["B", "KiB", "MiB", "GiB"]
    while count >= 1024 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{count:.1f} {units[0]}"
