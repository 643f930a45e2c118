"""On-policy distillation in a stage: the teacher's log-probabilities of sampled tokens become their advantages.

    token groups ──teacher──> its log-probabilities ──objective──> the same groups, an advantage for each token

The arithmetic is in `mentor_kit.rl.distillation`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mentor_kit.backend.token_groups import Floats, TokenCompletion, TokenGroup
from mentor_kit.chat.tokenizer import ChatTokenizer
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import DataError, UsageError
from mentor_kit.core.teacher import Teacher
from mentor_kit.rl.distillation import distillation, step_weights
from mentor_kit.rl.objective import ObjectiveSpec
from mentor_kit.stages.experiment import Experiment


class TokenTeacher(Teacher):
    """Base class of teachers to distil from: models with the student's tokens."""

    @abstractmethod
    def check_tokens(self, tokenizer: ChatTokenizer) -> None:
        """Check that the student's tokens are the teacher's; loads no weights.

        Raises:
            UsageError: the teacher lacks a token of the student's, or has it under another id.
        """

    @abstractmethod
    def log_probs(self, groups: Sequence[TokenGroup]) -> list[list[Floats]]:
        """Log-probabilities of every completion's tokens under the teacher, shape (n,) each; as `Policy.log_probs`.

        They are of the full distribution at the groups' temperature, and 0.0 where the mask is 0.
        """


def token_teacher(experiment: Experiment, spec: ComponentSpec | None) -> TokenTeacher:
    """The teacher to distil from: the one that a stage's options name, or else the recipe's.

    Raises:
        UsageError: there is no teacher, it gives no log-probabilities, or it has other tokens.
    """
    teacher = experiment.teacher_of(spec)
    if not isinstance(teacher, TokenTeacher):
        raise UsageError(
            f"the teacher {teacher.name!r} gives no log-probabilities of the student's tokens to distil from",
            hint="name a model with the student's tokenizer in the stage: `teacher: {use: local, with: {model: …}}`; "
            "or set the objective's `distill` to 0",
        )
    teacher.check_tokens(experiment.format.tokenizer)
    return teacher


def distill(
    teacher: TokenTeacher, groups: Sequence[TokenGroup], objective: ObjectiveSpec
) -> tuple[list[TokenGroup], dict[str, float]]:
    """Add the teacher's advantages to the groups, one for each token; returns the groups and their metrics.

    The metrics are means over the trained tokens: `teacher_kl` of log p_student - log p_teacher, a sample estimate of
    the reverse KL divergence, and with SOD's weights `step_weight`.

    Raises:
        DataError: a log-probability of the teacher is not finite.
    """
    found = [
        [_Row.of(completion, read) for completion, read in zip(group.completions, rows, strict=True)]
        for group, rows in zip(groups, teacher.log_probs(groups), strict=True)
    ]
    if not all(np.isfinite(row.teacher).all() for rows in found for row in rows):
        raise DataError(
            f"the teacher {teacher.name!r} returned log-probabilities that are not finite",
            hint="load it in a wider type: `backend: {use: torch, with: {dtype: float32}}` among its options",
        )
    changed = [
        replace(group, completions=tuple(row.distilled(objective) for row in rows))
        for group, rows in zip(groups, found, strict=True)
    ]
    return changed, _metrics([row for rows in found for row in rows], objective)


@dataclass(frozen=True)
class _Row:
    """Log-probabilities of a completion of n tokens; arrays have shape (1, n), and are 0 where the mask is 0."""

    completion: TokenCompletion
    student: NDArray[np.float64]
    """Of the student before this step's updates."""
    teacher: NDArray[np.float64]
    mask: NDArray[np.float64]

    @staticmethod
    def of(completion: TokenCompletion, read: Floats) -> _Row:
        old = completion.log_probs if completion.old_log_probs is None else completion.old_log_probs
        mask = np.asarray(completion.mask, dtype=np.float64)[None]
        student, teacher = (np.where(mask > 0, np.asarray(array, dtype=np.float64), 0.0) for array in (old, read))
        return _Row(completion, student, teacher, mask)

    def distilled(self, objective: ObjectiveSpec) -> TokenCompletion:
        """The completion with the teacher's advantages added to its own."""
        gain = distillation(np, objective, self.student, self.teacher, self.mask)[0]
        advantage = self.completion.advantage * self.mask[0] + gain
        return replace(self.completion, advantage=advantage.astype(np.float32))

    def weights(self, objective: ObjectiveSpec) -> NDArray[np.float64]:
        """SOD's step weight of every token."""
        found: NDArray[np.float64] = step_weights(np, self.student, self.teacher, self.mask, objective.step_cap)
        return found


def _metrics(rows: Sequence[_Row], objective: ObjectiveSpec) -> dict[str, float]:
    tokens = max(sum(row.mask.sum() for row in rows), 1.0)
    found = {"teacher_kl": sum(((row.student - row.teacher) * row.mask).sum() for row in rows) / tokens}
    if objective.step_weights == "sod":
        found["step_weight"] = sum(row.weights(objective).sum() for row in rows) / tokens
    return {name: float(value) for name, value in found.items()}
