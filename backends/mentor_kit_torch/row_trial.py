"""A trial of a model's layers in rows: whether it gives the same as on whole sequences, and what else they can do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mentor_kit_torch.forward import ForwardPasses
from mentor_kit_torch.lm_wrapper import TorchLMWrapper
from mentor_kit_torch.row_states import TorchRowStates, causal_mask
from mentor_kit_torch.self_check import agree, trial_tokens

#: What a model raises that cannot be run in a way that is tried.
UNFIT = (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError, AssertionError)


@dataclass(frozen=True)
class RowAbilities:
    """What rows of a model can do; a model without rows runs whole sequences."""

    keeps: bool = False
    """Whether the state of its layers can be kept in rows."""
    cuts: bool = True
    """Whether that state can be cut back to an earlier token."""
    continues: bool = True
    """Whether its recurrences take in several tokens behind others; else one after the other."""
    parts: bool = False
    """Whether layers beside recurrences can attend in parts."""


@torch.no_grad()
def row_abilities(lm: TorchLMWrapper) -> RowAbilities:
    """What rows of a model can do; found out by trying it."""
    if not lm.masks.expressible:
        return RowAbilities()
    try:
        cuts = TorchRowStates(lm.config).cuts
    except UNFIT:
        return RowAbilities()
    ids, places = trial_tokens(lm)
    whole = lm.logits(lm.hidden(ids, places)).float()
    if cuts:
        return RowAbilities(keeps=_gives_cut_rows(lm, whole))
    for continues in (True, False):
        if _gives_rows(lm, whole, parts=False, continues=continues):
            parts = lm.masks.one_for_all and _gives_rows(lm, whole, parts=True, continues=continues)
            return RowAbilities(keeps=True, cuts=False, continues=continues, parts=parts)
    return RowAbilities()


def _gives_cut_rows(lm: TorchLMWrapper, whole: Tensor) -> bool:
    """Whether a model gives these logits (2, 5, V) of trial tokens when its keys and values are kept in rows."""
    ids, places = trial_tokens(lm)
    states = TorchRowStates(lm.config)
    states.reserve(2, 5)
    try:
        for start, end in ((0, 3), (3, 5)):
            where, keys = places[:, start:end], places[:1, :end]
            states.aim_at(where, end)
            mask = lm.mask(causal_mask(where, keys), where, keys)
            last = lm.logits(lm.hidden(ids[:, start:end], where, mask=mask, cache=states.cache)).float()
    except UNFIT:
        return False
    return agree(lm, last, whole[:, 3:])


def _gives_rows(lm: TorchLMWrapper, whole: Tensor, *, parts: bool, continues: bool) -> bool:
    """The same for states that cannot be cut back: rows that take in different numbers of tokens."""
    ids = trial_tokens(lm)[0].cpu().numpy()
    states, passes = TorchRowStates(lm.config), ForwardPasses(lm, TorchRowStates(lm.config), parts, continues=continues)
    states.reserve(2, 5)
    rows = np.arange(2)
    try:
        # the first row takes in two tokens, two more and the last one; the second one one, three and the last one
        first = passes.take_in(states, ids[:, :2], np.array([0, 0]), rows, np.array([2, 1]))
        second = passes.take_in(
            states, np.stack([ids[0, [2, 3, 3]], ids[1, 1:4]]), np.array([2, 1]), rows, np.array([2, 3])
        )
        third = passes.take_in(states, ids[:, 4:], np.array([4, 4]), None, np.array([1, 1]))
        logits = [lm.logits(hidden).float() for hidden in (first, second, third)]
    except (*UNFIT, NotImplementedError):
        return False
    found = torch.cat([logits[0][0, :2], logits[0][1, :1], logits[1][0, :2], logits[1][1], logits[2][:, 0]])
    expected = torch.cat([whole[0, :2], whole[1, :1], whole[0, 2:4], whole[1, 1:4], whole[:, 4]])
    return agree(lm, found, expected)
