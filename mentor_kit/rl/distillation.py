"""On-policy distillation: from a teacher's log-probabilities to an advantage for each token.

    A_t = distill · w_k(t) · (log p_teacher(t) - log p_student(t))      on tokens the student sampled, else 0

The mean over samples of -A_t / w is the reverse KL divergence from student to teacher at each token (Lu, "On-Policy
Distillation", Thinking Machines, 2025). w is 1, or SOD's weight of the token's step k, an assistant turn (arXiv
2605.07725, equation 7, as in the authors' code):

    d_k = mean over the step's tokens of |log p_student - log p_teacher|
    w_1 = 1,  w_k = min(Π_{u<k} (d_u + ε) / (d_{u+1} + ε), cap) = min((d_1 + ε) / (d_k + ε), cap)

A wrong call leads to states that the teacher would not reach; there the two disagree, and the weight is small; where
they agree again, it is large again.

Pure functions over an array namespace (`xp` is numpy, torch or mlx.core). Shapes: N sequences, T positions; rows are
padded at the end and `mask` is 1 at tokens the student sampled.
"""

from __future__ import annotations

from typing import Any

from mentor_kit.rl.arrays import Array, sum_up_to_here
from mentor_kit.rl.objective import ObjectiveSpec

#: SOD's ε, added to a step's divergence.
DIVERGENCE_FLOOR = 1e-6


def distillation(xp: Any, objective: ObjectiveSpec, student: Array, teacher: Array, mask: Array) -> Array:
    """What the teacher adds to each token's advantage, shape (N, T); 0 where the mask is.

    Args:
        xp: the array namespace.
        objective: with `distill`, `step_weights` and `step_cap`.
        student: log-probabilities of the tokens when they were sampled, shape (N, T).
        teacher: the teacher's log-probabilities of the same tokens, shape (N, T).
        mask: 1 at sampled tokens, shape (N, T).
    """
    gain = objective.distill * (teacher - student) * mask
    if objective.step_weights == "equal":
        return gain
    return gain * step_weights(xp, student, teacher, mask, objective.step_cap)


def step_weights(xp: Any, student: Array, teacher: Array, mask: Array, cap: float) -> Array:
    """SOD's weight of every token's step, shape (N, T); 0 where the mask is.

    A step is a run of sampled tokens: positions without a gap in the mask.
    """
    gap = xp.abs(student - teacher) * mask
    step = _steps(xp, mask)
    weights, first = xp.zeros_like(mask), None
    for k in range(1, (int(xp.max(step)) if step.shape[1] else 0) + 1):
        own = xp.where(step == k, mask, xp.zeros_like(mask))
        count = xp.sum(own, axis=1, keepdims=True)
        divergence = xp.sum(own * gap, axis=1, keepdims=True) / xp.maximum(count, xp.ones_like(count))
        first = divergence if first is None else first
        ratio = (first + DIVERGENCE_FLOOR) / (divergence + DIVERGENCE_FLOOR)
        weights = weights + own * xp.minimum(ratio, xp.ones_like(ratio) * cap)
    return weights


def _steps(xp: Any, mask: Array) -> Array:
    """The number of each sampled token's step, from 1 in every row; between steps, that of the last one."""
    before = xp.concatenate([xp.zeros_like(mask[:, :1]), mask[:, :-1]], axis=1)
    return sum_up_to_here(xp, mask * (1 - before))
