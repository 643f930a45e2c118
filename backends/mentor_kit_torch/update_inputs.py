"""What an update takes of a micro-batch, as tensors: built on the CPU, and copied to a device in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mentor_kit.backend.microbatching import MicroBatch
from mentor_kit_torch.attention import Reach
from mentor_kit_torch.device_copy import to_device
from mentor_kit_torch.tree import Tree

#: tree: common prefixes of prompts, and of a prompt's completions, are run once and packed (`mentor_kit_torch.tree`);
#: prompts: each prompt is run once, and what its layers keep is expanded over its completions, for attention of other
#: kinds and for recurrences (`mentor_kit_torch.shared_prompts`);
#: none: whole sequences, for models whose state cannot be shared. Equal completions of a prompt share a row in each.
Sharing = Literal["tree", "prompts", "none"]


@dataclass(frozen=True)
class PromptRows:
    """P prompts that are run once each, and D rows behind them."""

    prompts: Tensor
    """(P, longest prompt)."""
    lengths: Tensor
    """(P,)."""
    prompt_of: Tensor
    """(D,)."""
    ids: Tensor
    """(D, T - 1): a row's last token predicts nothing."""
    by_length: tuple[tuple[int, Tensor], ...]
    """Each length of prompts, and which of them have it."""
    run_as: Tensor
    """(P,): each prompt's place among those of `by_length`, one after the other."""

    @staticmethod
    def of(batch: MicroBatch) -> PromptRows:
        """The rows of a micro-batch, on the CPU."""
        lengths = batch.prompt_lengths
        order = np.argsort(lengths, kind="stable")
        return PromptRows(
            prompts=torch.from_numpy(batch.prompt_ids),
            lengths=torch.from_numpy(lengths),
            prompt_of=torch.from_numpy(batch.prompt_of),
            ids=torch.from_numpy(batch.ids[:, :-1]),
            by_length=tuple((int(n), torch.from_numpy(np.nonzero(lengths == n)[0])) for n in np.unique(lengths)),
            run_as=torch.from_numpy(np.argsort(order, kind="stable")),
        )


@dataclass(frozen=True)
class WholeRows:
    """D rows that each stand behind a prompt of their own."""

    ids: Tensor
    """(D, longest sequence)."""
    before: Tensor
    """(D, T): the position from which each token of a row is predicted."""

    @staticmethod
    def of(batch: MicroBatch) -> WholeRows:
        """The rows of a micro-batch, on the CPU."""
        return WholeRows(*map(torch.from_numpy, batch.whole_sequences()))


@dataclass(frozen=True)
class UpdateInputs:
    """A micro-batch's arrays; A is the number of different tokens that are trained."""

    rows: Tree | PromptRows | WholeRows
    predicting: Tensor
    """(A,): where the hidden states that predict them are, among those that a pass gives."""
    targets: Tensor
    """(A,)."""
    temperature: Tensor | None
    """(A,); None where all are 1."""
    place_of: Tensor
    """(D * T,): which of the A each token of the rows is; A where it is not trained."""
    row_of: Tensor
    """(N,): each completion's row."""
    shape: tuple[int, int]
    """(D, T)."""
    loss: dict[str, Tensor]
    """(N, T) each: the arrays of a `LossBatch` that need no model."""

    @staticmethod
    def of(batch: MicroBatch, sharing: Sharing, device: torch.device, reaches: Sequence[Reach] = ()) -> UpdateInputs:
        """The inputs of a micro-batch, on a device.

        Args:
            batch: the micro-batch.
            sharing: how its rows are run.
            device: where they are run.
            reaches: of the layers, where trees are done by FlexAttention.
        """
        rows: Tree | PromptRows | WholeRows
        if sharing == "tree":
            rows = tree = Tree.of(batch, reaches)
            predicting, targets, temperature, target_of = (
                tree.predicting,
                tree.targets,
                tree.temperature,
                tree.target_of,
            )
        else:
            rows = PromptRows.of(batch) if sharing == "prompts" and batch.shares_prompts else WholeRows.of(batch)
            predicting = torch.from_numpy(np.nonzero(batch.trained.reshape(-1))[0])
            targets, temperature = torch.from_numpy(batch.ids[batch.trained]), _temperature(batch)
            target_of = torch.arange(len(targets))
        place_of = np.full(batch.trained.shape, len(targets))
        place_of[batch.trained] = target_of.numpy()
        loss = {name: torch.from_numpy(values) for name, values in batch.loss_arrays().items()}
        found = UpdateInputs(
            rows=rows,
            predicting=predicting,
            targets=targets,
            temperature=temperature,
            place_of=torch.from_numpy(place_of.reshape(-1)),
            row_of=torch.from_numpy(batch.row_of),
            shape=batch.trained.shape,
            loss=loss,
        )
        return to_device(found, device)

    def of_completions(self, values: Tensor) -> Tensor:
        """(N, T) of values (A,) of the trained tokens; 0 elsewhere."""
        # index_select, as its gradient is summed in a fixed order; that of plain indexing is not
        rows = torch.cat([values, values.new_zeros(1)]).index_select(0, self.place_of)
        return rows.view(self.shape).index_select(0, self.row_of)


def _temperature(batch: MicroBatch) -> Tensor | None:
    """(A,) of the rows' trained tokens."""
    if (batch.temperature == 1).all():
        return None
    return torch.from_numpy(np.broadcast_to(batch.temperature[:, None], batch.ids.shape)[batch.trained])
