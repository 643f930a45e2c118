"""Writes a run's student in quantized weights, with what that costs on the run's own held-out dialogues."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mentor_kit.backend.policy import Backend
from mentor_kit.backend.quantization_cost import (
    QuantizationCost,
    TurnSampling,
    contexts_of,
    greedy_turns,
    sampled_turns,
)
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.runs import Run
from mentor_kit.stages import Experiment

_log = logging.getLogger("mentor_kit")

#: Contexts in which turns are compared.
CONTEXTS = 48


def write_quantized(
    experiment: Experiment, backend: Backend, student: StudentSpec, run: Run, folder: Path, format: str
) -> None:
    """Write the student, measure what its quantization costs, and describe both in its card.

    Args:
        experiment: with the student to write.
        backend: that the student was loaded by.
        student: what it was before its training.
        run: that trained it.
        folder: to write.
        format: one of the backend's `quantized_formats`.
    """
    describe, experiment.describe_export = experiment.describe_export, None
    experiment.export(folder, format)
    contexts = _contexts(experiment, run)
    if contexts:
        measured_cost(experiment, backend, student, contexts, folder, format).write(folder)
    else:
        _log.warning("%s: what quantizing costs is not measured, as the run has recorded no dialogue", folder.name)
    if describe is not None:
        describe(folder, format)


def measured_cost(
    experiment: Experiment,
    backend: Backend,
    student: StudentSpec,
    contexts: Sequence[tuple[int, ...]],
    folder: Path,
    format: str,
) -> QuantizationCost:
    """The differences between a student and its export, and between it and the student before training."""
    policy = experiment.policy
    how = TurnSampling(
        temperature=experiment.sampling.temperature or 1.0,
        max_tokens=experiment.limits.max_turn_tokens,
        stop_ids=frozenset(experiment.format.stop_ids),
        seed=experiment.seed,
    )
    turns = sampled_turns(policy, contexts, how)
    whole = turns.log_probs(policy)
    before = turns.log_probs(backend.load(student, experiment.seed))
    written = backend.load(StudentSpec(str(folder)), experiment.seed)
    rounded = turns.log_probs(written)
    same = [a == b for a, b in zip(turns.greedy, greedy_turns(written, contexts, how), strict=True)]
    return QuantizationCost(
        format=format,
        contexts=len(contexts),
        tokens=len(whole),
        kl=float(np.mean(whole - rounded)),
        difference=float(np.abs(whole - rounded).mean()),
        training=float(np.abs(whole - before).mean()),
        same_turns=sum(same) / len(same),
        bytes=sum(file.stat().st_size for file in folder.glob("*.safetensors")),
        plain_bytes=2 * written.info.parameters,
    )


def _contexts(experiment: Experiment, run: Run) -> list[tuple[int, ...]]:
    """Contexts of the run's newest evaluations, or of its newest rollouts where it has none."""
    longest = experiment.policy.info.context - experiment.limits.max_turn_tokens
    return [context for context in contexts_of(_dialogues(run), CONTEXTS) if len(context) <= longest]


def _dialogues(run: Run) -> list[Trajectory]:
    """The student's dialogues of the newest evaluation of each split, or else of the newest recorded step."""
    newest = {str(report.get("plan")): str(report["name"]) for report in run.evaluations}
    scored = [item for name in newest.values() for item in run.evaluated(name)]
    if not scored and run.recorded_steps:
        scored = list(run.rollouts(*run.recorded_steps[-1]))
    return [item.trajectory for item in scored if item.trajectory.tokens is not None]
