"""The expected time of a recipe's steps on a GPU that it is planned for, and what moves between processes in a step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mentor_kit.backend.gpu_models import GpuModel
from mentor_kit.backend.memory import MemoryEstimate
from mentor_kit.backend.step_time import FLOPS_SHARE, StepTime, StepWork, step_time
from mentor_kit.recipe.model import Recipe
from mentor_kit.stages.workload import Workload

#: Bytes of a number that is sent to a server that samples.
SENT = 2


@dataclass(frozen=True)
class StageTime:
    """The expected time of a stage's step."""

    key: str
    gpu: GpuModel
    work: StepWork
    time: StepTime
    served: bool
    """Whether servers sample, whose time is not counted."""

    def lines(self) -> list[str]:
        """For people, with how it was worked out."""
        work, time, name = self.work, self.time, self.gpu.name
        sampled = "" if self.served else f"sampling {_seconds(time.sampling)}, "
        exchange = f", exchange {_seconds(time.exchange)}" if time.exchange else ""
        found = [
            f"a step      {self.key}: at most {_seconds(time.total)} on {name} ({sampled}"
            f"update {_seconds(time.update)}{exchange}), if all episodes have full length"
        ]
        if self.served:
            found.append("    (sampling by servers is not counted)")
        else:
            found.append(
                f"    (sampling: {time.passes:,} passes of {time.pass_seconds * 1e3:.1f} ms, which read weights and "
                f"the keys and values of {min(work.rows, work.sequences)} sequences)"
            )
        rate = f"{100 * FLOPS_SHARE:.0f} % of {self.gpu.flops / 1e12:.0f} TFLOP/s"
        found.append(f"    (update: {work.tokens:,.0f} tokens at {rate})")
        return found


def stage_times(
    recipe: Recipe, works: Mapping[str, Workload], memory: MemoryEstimate, prompt: int, gpu: GpuModel
) -> tuple[StageTime, ...]:
    """The expected times of the stages that sample and train.

    Args:
        recipe: the recipe.
        works: the workload of each stage by its key.
        memory: of the largest stage.
        prompt: tokens of the longest prompt.
        gpu: that each process has.
    """
    found = []
    served = recipe.sampler is not None
    for key, each in works.items():
        if not each.trains or not each.episodes:
            continue
        work = StepWork(
            parameters=memory.parameters,
            trained=memory.trainable,
            weights=memory.parts.get("gathered weights", min(memory.parts["weights"], SENT * memory.parameters)),
            position=memory.position,
            sequences=math.ceil(each.episodes / memory.processes),
            rows=memory.rows,
            prompt=prompt,
            response=each.tokens or recipe.rollout.max_response_tokens,
            problems=each.problems / memory.processes,
            reference=each.reference,
            recomputed=memory.checkpointing,
        )
        work = replace(work, exchanged=_exchanged(memory, work.tokens, published=recipe.sampler is not None))
        time = step_time(work, gpu)
        if served:
            time = replace(time, sampling=0.0, passes=0)
        found.append(StageTime(key, gpu, work, time, served))
    return tuple(found)


def sent_to_servers(recipe: Recipe, memory: MemoryEstimate) -> int:
    """Bytes of weights that each server gets after an update; 0 where no server samples."""
    if recipe.sampler is None:
        return 0
    return SENT * (memory.trainable if recipe.student.adapter is not None else memory.parameters)


def _exchanged(memory: MemoryEstimate, tokens: float, *, published: bool) -> int:
    """Bytes that a process exchanges with others in a step; weights are exported in each where servers sample."""
    times = {"a micro-batch": math.ceil(tokens / max(memory.micro_batch, 1)), "an export": int(published)}
    return sum(size * times.get(what.rpartition(", ")[2], 1) for what, size in memory.exchanged.items())


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.0f} min"
