"""How a model of mlx-lm is run in an update, so that every operation has a gradient.

In evaluation mode mlx-lm's recurrent layers ask for Metal kernels, which have none. In an update the model is in
training mode, its own dropout apart, as that is not active in sampling either. The recurrences that it then runs token
by token keep a state for each token; here they are replaced by ones that keep a state for every `CHUNK` tokens, and
compute the others again in the backward pass.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

#: Tokens between two states of a recurrence that are kept for the backward pass.
CHUNK = 64
#: Modules that draw random numbers in training mode.
DROPOUTS = (nn.Dropout, nn.Dropout2d, nn.Dropout3d)

Recurrence = Callable[..., tuple[mx.array, mx.array]]


class UpdateMode:
    """Puts a model into the mode of updates, and back into evaluation mode.

    Args:
        model: of mlx-lm.
        dropouts: those of its modules whose dropout is active in backward passes: an adapter's.
    """

    def __init__(self, model: Any, dropouts: Sequence[Any]) -> None:
        self._model, self._dropouts = model, list(dropouts)
        self._all = [module for module in model.modules() if isinstance(module, DROPOUTS)]

    @contextmanager
    def on(self, *, drops: bool) -> Iterator[None]:
        """Run the model with gradients.

        Args:
            drops: whether the adapter's dropout is active.
        """
        self._model.train()
        for module in self._all:
            module.eval()
        for module in self._dropouts:
            module.train(drops)
        try:
            with _recurrences():
                yield
        finally:
            self._model.eval()


@contextmanager
def _recurrences() -> Iterator[None]:
    """Replace recurrences of mlx-lm's by ones with a gradient, in those of its modules that are loaded."""
    found = [
        (module, name, replacement)
        for path, name, replacement in (
            ("gated_delta", "gated_delta_ops", gated_delta),
            ("ssm", "ssm_update_kernel", ssm_step),
        )
        if (module := sys.modules.get(f"mlx_lm.models.{path}")) is not None
    ]
    kept = [getattr(module, name) for module, name, _ in found]
    for (module, name, replacement), plain in zip(found, kept, strict=True):
        setattr(module, name, replacement(module, plain))
    try:
        yield
    finally:
        for (module, name, _), plain in zip(found, kept, strict=True):
            setattr(module, name, plain)


def gated_delta(module: Any, plain: Recurrence) -> Recurrence:
    """The gated delta rule of Qwen3.5 and its kind, in chunks: MLX's own where it has one, else mlx-lm's.

    Args:
        module: where it is used.
        plain: mlx-lm's, token by token.
    """
    own: Recurrence | None = getattr(mx.fast, "gated_delta_update", None)

    def update(
        q: mx.array,
        k: mx.array,
        v: mx.array,
        g: mx.array,
        beta: mx.array,
        state: mx.array | None = None,
        mask: mx.array | None = None,
    ) -> tuple[mx.array, mx.array]:
        if state is None:
            state = mx.zeros((q.shape[0], *v.shape[2:], q.shape[3]), mx.float32)
        if mask is not None:
            # a token that decays nothing and adds nothing leaves the state as it is
            g = mx.where(mask.reshape(*mask.shape, *[1] * (g.ndim - 2)), g, mx.ones((), g.dtype))
            beta = mx.where(mask[..., None], beta, mx.zeros((), beta.dtype))
        # MLX's own has one rate of decay for each head
        run = own if own is not None and g.ndim == 3 else plain
        return in_chunks(lambda *part: tuple(run(*part)), (q, k, v, g, beta), state)

    return update


def ssm_step(module: Any, plain: Recurrence) -> Recurrence:
    """One token of a state space model's recurrence, by the operations that mlx-lm has for several.

    Args:
        module: where it is used.
        plain: mlx-lm's Metal kernel.
    """

    def update(hidden: mx.array, *rest: Any) -> tuple[mx.array, mx.array]:
        found: tuple[mx.array, mx.array] = module.ssm_attn(hidden, *rest)
        return found

    return update


def in_chunks(run: Recurrence, inputs: Sequence[mx.array], state: mx.array) -> tuple[mx.array, mx.array]:
    """Run a recurrence over T tokens, `CHUNK` at a time, with what is inside computed again in the backward pass.

    Args:
        run: takes a chunk of each input and the state in front of it; gives outputs and the state behind it.
        inputs: each (n, T, …).
        state: (n, …).

    Returns:
        Outputs (n, T, …), and the state behind the last token.
    """
    count = inputs[0].shape[1]
    if count <= CHUNK:
        return run(*inputs, state)
    found = []
    # the gradient of a split is one array, that of slices one of full length for each
    parts = [mx.split(one, list(range(CHUNK, count, CHUNK)), axis=1) for one in inputs]
    recomputed = _recomputed(run)
    for part in zip(*parts, strict=True):
        output, state = recomputed(*part, state)
        # one chunk after the other: MLX would compute all states first, and then the outputs that need them
        [state] = mx.depends([state], [output])
        found.append(output)
    return mx.concatenate(found, axis=1), state


def _recomputed(run: Recurrence) -> Recurrence:
    """A recurrence that is computed again in the backward pass, when what comes behind it is done there.

    MLX's `checkpoint` does not wait: all chunks would be computed again before the first is used.
    """

    @mx.custom_function
    def forward(*inputs: mx.array) -> Any:
        return run(*inputs)

    @forward.vjp
    def backward(inputs: Any, cotangents: Any, _: Any) -> Any:
        later = mx.depends(list(inputs), list(cotangents))
        *others, state = mx.vjp(lambda *values: list(run(*values)), later, list(cotangents))[1]
        return (*others, *mx.depends([state], others))

    found: Any = forward
    return cast(Recurrence, found)
