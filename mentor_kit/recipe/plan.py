"""The plan of a run: its stages, prompts and memory, without running it (`mentorkit run --dry-run`)."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from mentor_kit.backend.gpu_models import GpuModel
from mentor_kit.backend.memory import GIB, DeviceMemory, MemoryEstimate
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import MissingError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import TRAIN, Problem
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.assembly import (
    Components,
    assemble_components,
    assemble_without_student,
    student_format,
    student_spec,
)
from mentor_kit.recipe.checking import unavailable_components
from mentor_kit.recipe.fitting import Smaller, device_of, fitting
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.memory import estimate_memory
from mentor_kit.recipe.timing import StageTime, sent_to_servers, stage_times
from mentor_kit.recipe.workloads import build_stages, workloads
from mentor_kit.stages.workload import Workload

#: Tokens of a prompt where the tokenizer is not on this machine: about a dozen tools' schemas and a problem.
ASSUMED_PROMPT = 1024
#: Problems whose prompts are measured.
PROBLEMS = 16


@dataclass(frozen=True)
class StagePlan:
    """One stage of the plan."""

    key: str
    work: Workload
    response: int
    """Largest number of tokens of an episode after its prompt."""

    @property
    def episodes(self) -> int:
        """Episodes of the student in all steps of the stage."""
        return (self.work.steps or 0) * self.work.episodes

    def as_data(self) -> dict[str, Json]:
        """The stage as JSON; `steps` is null where it is not known."""
        work = self.work
        return {
            "key": self.key,
            "steps": work.steps,
            "problems": work.problems,
            "episodes": self.episodes,
            "tokens": self.episodes * self.response,
            "trains": work.trains if work.is_known else None,
        }

    def text(self) -> str:
        """The stage as a line for people."""
        work = self.work
        if not work.is_known:
            return f"{self.key}: its workload is not known"
        counts = []
        if work.trains:
            counts.append(_counted(work.steps or 0, "step") + (f" of {_counted(work.problems, 'problem')}"))
        elif work.problems:
            counts.append(_counted(work.problems, "problem"))
        if self.episodes:
            counts.append(f"{_counted(self.episodes, 'episode')}, at most {self.episodes * self.response:,} tokens")
        return f"{self.key}: {', '.join(counts)}" if counts else self.key


@dataclass(frozen=True)
class Prompts:
    """The prompts of the first problems."""

    longest: int
    """Tokens of the longest one; `ASSUMED_PROMPT` where there is no tokenizer."""
    first: str
    """The first one, with its special tokens; empty where there is no tokenizer."""
    missing: str = ""
    """Why the tokenizer could not be loaded; empty where it was."""


@dataclass(frozen=True)
class RunPlan:
    """The plan of a run."""

    name: str
    model: str
    """Empty where no stage uses the student."""
    prompts: Prompts | None
    """None where no stage uses the student."""
    stages: tuple[StagePlan, ...]
    memory: MemoryEstimate | None
    """None where no stage uses the student."""
    device: DeviceMemory | None = None
    """The memory of the device that it would run on; None where it is not known."""
    smaller: Smaller | None = None
    """Settings with which it fits; None where it fits as it is, or with none."""
    times: tuple[StageTime, ...] = ()
    """The expected time of a step of each stage that samples and trains, where a known GPU is planned for."""
    note: str = ""
    """A remark for people; empty where there is none."""
    unavailable: tuple[str, ...] = ()
    """Components that cannot be used on this machine, each with the reason; such as a tracker without its package."""

    @property
    def fits(self) -> bool | None:
        """Whether the device's memory is enough; None where it is not known."""
        return None if self.memory is None or self.device is None else self.memory.total <= self.device.usable

    def as_data(self) -> dict[str, Json]:
        """The plan as JSON."""
        found: dict[str, Json] = {
            "name": self.name,
            "model": self.model,
            "stages": [stage.as_data() for stage in self.stages],
            "unavailable": list(self.unavailable),
        }
        if self.prompts is not None:
            found["prompt_tokens"] = self.prompts.longest
        if self.memory is not None:
            found |= {
                "parameters": self.memory.parameters,
                "trainable": self.memory.trainable,
                "memory_bytes": self.memory.parts,
                "memory_total": self.memory.total,
                "device": None if self.device is None else self.device.device,
                "device_bytes": None if self.device is None else self.device.bytes,
                "fits": self.fits,
                "processes": self.memory.processes,
                "exchanged_bytes": self.memory.exchanged,
                "step_seconds": {each.key: each.time.total for each in self.times},
                "settings_that_fit": None if self.smaller is None else list(self.smaller.settings),
            }
        return found

    def text(self) -> str:
        """The plan as lines for people."""
        lines = [f"{self.name}: nothing was run", f"student     {self.model or 'none is loaded: no stage uses it'}"]
        if self.memory is not None:
            trained = f", of which {self.memory.trainable:,} are trained" if self._trains else ""
            lines.append(f"parameters  {self.memory.parameters:,}{trained}")
        lines += self._about_prompts()
        lines += [f"stage       {stage.text()}" for stage in self.stages]
        lines += [f"missing     {component}" for component in self.unavailable]
        if self.note:
            lines.append(f"note        {self.note}")
        if self.memory is not None:
            of_each = f" in each of {self.memory.processes} processes" if self.memory.processes > 1 else ""
            lines.append(f"memory      about {_size(self.memory.total)}{of_each}:")
            lines += [f"    {part:<16} {_size(size)}" for part, size in self.memory.parts.items() if size]
            lines += [f"    ({note})" for note in self.memory.notes]
            lines += self._about_device()
            lines += [line for each in self.times for line in each.lines()]
            lines += [f"exchanged   {_size(size)} of {what}" for what, size in self.memory.exchanged.items()]
        return "\n".join(lines)

    @property
    def _trains(self) -> bool:
        return any(stage.work.trains for stage in self.stages)

    def _about_device(self) -> list[str]:
        if self.device is None:
            return []
        has = f"device      {self.device.device}, {_size(self.device.bytes)}"
        if self.fits:
            return [f"{has}: it fits"]
        if self.smaller is None:
            other = " or teacher" if self.memory is not None and "other models" in self.memory.parts else ""
            return [f"{has}: it does not fit with any settings; take a smaller student{other}"]
        return [
            f"{has}: it does not fit; it takes about {_size(self.smaller.total)} with",
            f"    {self.smaller.text()}",
        ]

    def _about_prompts(self) -> list[str]:
        found = self.prompts
        if found is None:
            return []
        if found.missing:
            return [f"prompt      assumed to have {found.longest} tokens: {found.missing}"]
        first = (f"    {line}" for line in found.first.rstrip().splitlines())
        return [f"prompt      at most {found.longest} tokens; the first one:", *first]


def plan(loaded: LoadedRecipe, registry: Registry, memory: float | None = None, gpu: GpuModel | None = None) -> RunPlan:
    """The plan of a recipe. The tokenizer is loaded where a stage uses the student; weights are not.

    Where the tokenizer of a student of the hub cannot be fetched, prompts are assumed to have `ASSUMED_PROMPT` tokens.

    Args:
        loaded: the recipe.
        registry: the plugins to use.
        memory: GiB of the device to plan for; those of this machine's device if left out.
        gpu: a GPU to plan for, each process its own; its memory is `memory` where that is given.

    Raises:
        MissingError: the student is not on this machine, and its backend does not know its sizes.
    """
    note = ""
    if not loaded.recipe.train:
        note = "the recipe has no stages, so `run` does nothing; the plan is that of `mentorkit evaluate`"
        loaded = replace(loaded, recipe=loaded.recipe.model_copy(update={"train": (ComponentSpec(use="evaluate"),)}))
    device = None if gpu is None else gpu.memory
    if memory is not None:
        device = DeviceMemory.of("a device" if gpu is None else gpu.name, int(memory * GIB))
    with closing(assemble_components(loaded, registry)) as components:
        unavailable = tuple(dict.fromkeys(unavailable_components(loaded.recipe, registry)))
        return replace(_plan(loaded, registry, components, device, gpu), note=note, unavailable=unavailable)


def _plan(
    loaded: LoadedRecipe,
    registry: Registry,
    components: Components,
    device: DeviceMemory | None,
    gpu: GpuModel | None,
) -> RunPlan:
    works = workloads(loaded.recipe, build_stages(loaded.recipe, registry, components.context))
    longest = loaded.recipe.rollout.max_response_tokens
    stages = tuple(StagePlan(key, work, work.tokens or longest) for key, work in works.items())
    if not any(work.student for work in works.values()):
        return RunPlan(loaded.recipe.name, "", None, stages, None)
    model, prompts = student_spec(loaded, registry, components.context).model, _prompts(loaded, registry, components)
    usable = None if device is None else device.usable
    guests = components.guests(loaded.recipe, works, registry)
    memory = estimate_memory(loaded, registry, components.context, prompts.longest, works, usable, guests)
    times: tuple[StageTime, ...] = ()
    if memory is not None:
        if sent := sent_to_servers(loaded.recipe, memory):
            memory = memory.model_copy(
                update={"exchanged": memory.exchanged | {"weights, a step, to each server": sent}}
            )
        if gpu is not None:
            times = stage_times(loaded.recipe, works, memory, prompts.longest, gpu)
    found = RunPlan(
        times=times,
        name=loaded.recipe.name,
        model=model,
        prompts=prompts,
        stages=stages,
        memory=memory,
        device=device or device_of(loaded, registry, components.context),
    )
    if found.device is None or found.fits:
        return found
    return replace(
        found,
        times=(),
        smaller=fitting(loaded, registry, components.context, prompts.longest, works, found.device.usable, guests),
    )


def _prompts(loaded: LoadedRecipe, registry: Registry, components: Components) -> Prompts:
    """The prompts of the first training problems, as a run renders them."""
    student = student_spec(loaded, registry, components.context)
    try:
        chat = student_format(loaded, registry, student)
    except MissingError as error:
        if Path(student.model).exists():
            raise
        return Prompts(ASSUMED_PROMPT, "", error.message)
    problems = _first_problems(loaded, registry, components)
    prompts = [chat.open(problem.opening(), components.toolbox.tools(problem)) for problem in problems]
    return Prompts(max(map(len, prompts), default=0), chat.tokenizer.decode(prompts[0]) if prompts else "")


def _first_problems(loaded: LoadedRecipe, registry: Registry, components: Components) -> list[Problem]:
    """The first training problems; of another split where there are none, as in a recipe that only evaluates."""
    experiment = assemble_without_student(loaded, registry, components)
    splits = dict.fromkeys((TRAIN, *components.task.splits))
    found = (
        experiment.problems(split, experiment.seed, PROBLEMS) for split in splits if split in components.task.splits
    )
    return next((problems for problems in found if problems), [])


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _size(count: float) -> str:
    units = ["B", "KiB", "MiB", "GiB"]
    while count >= 1024 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{count:.1f} {units[0]}"
