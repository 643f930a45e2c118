"""Trials of a model's gradient on few tokens, before it is trained: whether it has one, and whether two ways agree.

A trial leaves MLX's generator as it was, so that a resumed run, which repeats it, draws the same numbers.
"""

from __future__ import annotations

import mlx.core as mx

from mentor_kit.backend.microbatching import micro_batches
from mentor_kit.backend.self_check import trial_groups
from mentor_kit.rl.advantages.group_mean import GroupMean
from mentor_kit.rl.losses.likelihood import Likelihood
from mentor_kit.rl.objective import Objective, ObjectiveSpec
from mentor_kit_mlx.lm_wrapper import MLXLMWrapper
from mentor_kit_mlx.params import Arrays
from mentor_kit_mlx.random_state import drawing_from
from mentor_kit_mlx.update import loss_and_gradients


def trial_gradients(lm: MLXLMWrapper, *, share: bool) -> Arrays:
    """Gradients of the likelihood of two prompts' completions, by parameter.

    Args:
        lm: the model, in the mode of updates.
        share: whether the prompts are run once.
    """
    objective = Objective(ObjectiveSpec(preset="sft"), Likelihood(), GroupMean())
    [batch] = micro_batches(trial_groups(lm.vocabulary), 1 << 20, objective)
    with drawing_from(0):
        return loss_and_gradients(lm, batch, objective, None, share=share)[1]


def same_gradients(lm: MLXLMWrapper, found: Arrays, expected: Arrays) -> bool:
    """Whether two ways gave the same gradients, up to rounding in the model's type."""
    apart = sum(float(mx.sum(mx.square(found[name] - value).astype(mx.float32))) for name, value in expected.items())
    scale = sum(float(mx.sum(mx.square(value.astype(mx.float32)))) for value in expected.values())
    tolerance = 1e-4 if lm.dtype == mx.float32 else 5e-2
    return bool(apart <= tolerance**2 * scale)


def equal_gradients(lm: MLXLMWrapper, found: Arrays, expected: Arrays) -> bool:
    """As `same_gradients`, each parameter's for itself, where the same operations are run."""
    scale = max(float(mx.abs(value).max()) for value in expected.values())
    tolerance = (1e-5 if lm.dtype == mx.float32 else 1e-2) * scale
    return all(float(mx.abs(found[name] - value).max()) <= tolerance for name, value in expected.items())
