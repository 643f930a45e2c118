"""Micro-batches: token groups as padded arrays that every backend takes.

The shared prompt of a group stands in a micro-batch once, and its completions are rows that point to it. Completions of
a group with equal tokens and masks share a row, as a trained student repeats itself and each row is run once. A group
with more completions than fit is spread over several micro-batches. Normalisation is global: the weights of tokens are
computed over the whole update first (`mentor_kit.rl.losses.aggregation`), so micro-batches add up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentor_kit.backend.memory_plan import UpdateShape
from mentor_kit.backend.token_groups import Floats, Ints, TokenCompletion, TokenGroup
from mentor_kit.rl.losses.loss import LossBatch
from mentor_kit.rl.objective import Objective

Bools = NDArray[np.bool_]
Place = tuple[int, int]
"""A completion's place in an update: its group, and its number in the group."""
RowKey = tuple[int, bytes, bytes]
"""Group, tokens and mask: completions for which these are equal share a row."""


@dataclass(frozen=True)
class MicroBatch:
    """P prompts and N completions in D rows of up to T tokens; padded at the end with id 0 and mask 0."""

    prompt_ids: Ints
    """(P, longest prompt)."""
    prompt_lengths: Ints
    """(P,)."""
    prompt_of: Ints
    """(D,): each row's prompt; rows of a prompt stand next to each other."""
    ids: Ints
    """(D, T)."""
    lengths: Ints
    """(D,)."""
    trained: Bools
    """(D, T): the tokens whose log-probabilities are wanted."""
    temperature: Floats
    """(D,)."""
    row_of: Ints
    """(N,): each completion's row; rows are numbered by their first completion."""
    mask: Floats
    """(N, T)."""
    log_probs: Floats
    """(N, T): the sampler's."""
    old_log_probs: Floats
    """(N, T): recomputed, or the sampler's where there are none."""
    advantages: Floats
    """(N, T)."""
    weights: Floats
    """(N, T)."""
    origin: tuple[Place, ...]
    """The place of each of the N completions."""

    @property
    def common_prefix(self) -> int:
        """The length of the prefix that several prompts have in common, less than the shortest prompt's; 0 for one."""
        if len(self.prompt_lengths) < 2:
            return 0
        return same_beginning([ids[: n - 1] for ids, n in zip(self.prompt_ids, self.prompt_lengths, strict=True)])

    @property
    def shares_prompts(self) -> bool:
        """Whether any prompt has several rows, so that running it once saves work."""
        return len(self.prompt_lengths) < len(self.lengths)

    def whole_sequences(self) -> tuple[Ints, Ints]:
        """The rows behind prompts of their own, for models whose state is not shared.

        Returns ids (D, longest sequence), and the position (D, T) in them from which each token of a row is predicted.
        """
        lengths = self.prompt_lengths[self.prompt_of]
        total = int((lengths + self.lengths).max())
        ids = np.zeros((len(lengths), total), dtype=np.int64)
        for row, (start, own) in enumerate(zip(lengths, self.lengths, strict=True)):
            ids[row, :start] = self.prompt_ids[self.prompt_of[row], :start]
            ids[row, start : start + own] = self.ids[row, :own]
        return ids, np.minimum(lengths[:, None] - 1 + np.arange(self.ids.shape[1]), total - 1)

    def loss_batch(
        self, log_probs: Any, reference: Any, convert: Callable[[NDArray[Any]], Any], entropy: Any = None
    ) -> LossBatch:
        """The batch of a loss.

        Args:
            log_probs: (N, T), with gradients, in the backend's arrays.
            reference: (N, T), or None.
            convert: NumPy's arrays to the backend's, on its device.
            entropy: (N, T), with gradients, or None; needed where `ObjectiveSpec.needs_entropy`.
        """
        own = {name: convert(values) for name, values in self.loss_arrays().items()}
        return LossBatch(log_probs=log_probs, reference=reference, entropy=entropy, **own)

    def loss_arrays(self) -> dict[str, Floats]:
        """The arrays (N, T) of a `LossBatch` that need no model, by their names there."""
        return {
            "sampled": self.log_probs,
            "old": self.old_log_probs,
            "advantages": self.advantages,
            "mask": self.mask,
            "weights": self.weights,
        }


@dataclass(frozen=True)
class _Member:
    """A completion up to its last trained token."""

    group: int
    index: int
    completion: TokenCompletion
    weights: Floats

    @cached_property
    def row_key(self) -> RowKey:
        """Equal for completions that share a row."""
        ids, mask = self.completion.ids.astype(np.int64), self.completion.mask > 0
        return self.group, ids.tobytes(), mask.tobytes()


def micro_batches(
    groups: Sequence[TokenGroup],
    token_budget: int,
    objective: Objective | None = None,
    *,
    packed: bool = False,
    only: Collection[Place] | None = None,
    fits: Callable[[UpdateShape], bool] | None = None,
    whole: bool = False,
) -> Iterator[MicroBatch]:
    """The groups in order, in micro-batches of rows with at most `token_budget` tokens (at least one row each).

    Completions without a trained token are left out, and so are tokens behind a completion's last trained one.
    Without an objective all weights are 0.

    Args:
        groups: of the whole update.
        token_budget: tokens of a micro-batch, padding included.
        objective: for the tokens' weights.
        packed: count no padding, and the prompts' common beginning once: for backends that run each token once.
        only: the completions to take; all if left out. Weights are those of the whole update.
        fits: whether the memory for an update holds a micro-batch of several rows; all do if left out.
        whole: tell `fits` of rows that each run behind a prompt of their own.
    """

    def full(size: _Size) -> bool:
        if (size.packed if packed else size.padded) > token_budget:
            return True
        return fits is not None and not fits(size.shape(packed=packed, whole=whole))

    members = (each for each in _members(groups, objective) if only is None or (each.group, each.index) in only)
    yield from (_padded(groups, batch) for batch in _filled(groups, members, full))


def same_beginning(rows: Sequence[Ints]) -> int:
    """The length of the rows' common prefix, in tokens."""
    shortest = min(map(len, rows))
    block = np.stack([ids[:shortest] for ids in rows])
    differ = np.nonzero((block != block[0]).any(axis=0))[0]
    return int(differ[0]) if len(differ) else shortest


def _members(groups: Sequence[TokenGroup], objective: Objective | None) -> Iterator[_Member]:
    completions = [completion for group in groups for completion in group.completions]
    masks = [completion.mask for completion in completions]
    weights = objective.token_weights(masks) if objective is not None else [np.zeros_like(mask) for mask in masks]
    places = ((g, c) for g, group in enumerate(groups) for c in range(len(group.completions)))
    for (g, c), completion, weight in zip(places, completions, weights, strict=True):
        trained = np.nonzero(completion.mask)[0]
        if len(trained):
            length = int(trained[-1]) + 1
            yield _Member(g, c, _cut(completion, length), weight[:length])


def _cut(completion: TokenCompletion, length: int) -> TokenCompletion:
    """The completion's beginning; nothing behind its last trained token bears on the loss."""
    old, advantage = completion.old_log_probs, completion.advantage
    return TokenCompletion(
        ids=completion.ids[:length],
        mask=completion.mask[:length],
        log_probs=completion.log_probs[:length],
        advantage=advantage[:length] if isinstance(advantage, np.ndarray) and advantage.ndim else advantage,
        old_log_probs=None if old is None else old[:length],
    )


@dataclass(frozen=True)
class _Size:
    """The tokens of a micro-batch while it grows."""

    prompts: int = 0
    rows: int = 0
    longest_prompt: int = 0
    longest: int = 0
    total: int = 0
    beginning: Ints | None = None
    """The prompts' common prefix, without the last token of the shortest."""

    def with_row(self, prompt: Ints, length: int, *, is_new: bool) -> _Size:
        """The size with one more row, whose prompt may be new."""
        beginning = self.beginning
        if is_new:
            own = prompt[:-1]
            beginning = own if beginning is None else own[: same_beginning([own, beginning])]
        return _Size(
            prompts=self.prompts + is_new,
            rows=self.rows + 1,
            longest_prompt=max(self.longest_prompt, len(prompt)),
            longest=max(self.longest, length),
            total=self.total + length + is_new * len(prompt),
            beginning=beginning,
        )

    @property
    def padded(self) -> int:
        """Tokens when prompts, and completions, are as long as their longest."""
        return self.prompts * self.longest_prompt + self.rows * self.longest

    @property
    def packed(self) -> int:
        """Tokens without padding, the common beginning counted once."""
        return self.total - max(self.prompts - 1, 0) * (0 if self.beginning is None else len(self.beginning))

    def shape(self, *, packed: bool, whole: bool) -> UpdateShape:
        """What decides the memory that it takes."""
        longest = self.longest_prompt + self.longest
        tokens = self.rows * longest if whole else self.packed if packed else self.padded
        return UpdateShape(tokens, rows=self.rows, prompt=self.longest_prompt, longest=longest)


def _filled(
    groups: Sequence[TokenGroup], members: Iterable[_Member], full: Callable[[_Size], bool]
) -> Iterator[list[_Member]]:
    batch: list[_Member] = []
    seen: set[RowKey] = set()
    size = _Size()
    for member in members:
        if member.row_key not in seen:
            prompt, length = groups[member.group].prompt_ids, len(member.completion.ids)
            grown = size.with_row(prompt, length, is_new=not batch or batch[-1].group != member.group)
            if batch and full(grown):
                yield batch
                batch, seen, grown = [], set(), _Size().with_row(prompt, length, is_new=True)
            seen.add(member.row_key)
            size = grown
        batch.append(member)
    if batch:
        yield batch


def _padded(groups: Sequence[TokenGroup], members: Sequence[_Member]) -> MicroBatch:
    used = list(dict.fromkeys(member.group for member in members))
    place = {group: index for index, group in enumerate(used)}
    firsts: dict[RowKey, _Member] = {}
    for member in members:
        firsts.setdefault(member.row_key, member)
    rows, number = list(firsts.values()), {key: row for row, key in enumerate(firsts)}
    completions = [member.completion for member in members]
    sampled = [completion.log_probs for completion in completions]
    old = [c.log_probs if c.old_log_probs is None else c.old_log_probs for c in completions]
    return MicroBatch(
        prompt_ids=_matrix([groups[g].prompt_ids for g in used], np.int64),
        prompt_lengths=np.array([len(groups[g].prompt_ids) for g in used]),
        prompt_of=np.array([place[row.group] for row in rows]),
        ids=_matrix([row.completion.ids for row in rows], np.int64),
        lengths=np.array([len(row.completion.ids) for row in rows]),
        trained=_matrix([row.completion.mask > 0 for row in rows], np.bool_),
        temperature=np.array([groups[row.group].temperature for row in rows], dtype=np.float32),
        row_of=np.array([number[member.row_key] for member in members]),
        mask=_matrix([completion.mask for completion in completions]),
        log_probs=_matrix(_masked(sampled, completions)),
        old_log_probs=_matrix(_masked(old, completions)),
        advantages=_matrix([np.broadcast_to(c.advantage, c.mask.shape) for c in completions]),
        weights=_matrix([member.weights for member in members]),
        origin=tuple((member.group, member.index) for member in members),
    )


def _masked(values: Sequence[Floats], completions: Sequence[TokenCompletion]) -> list[Floats]:
    """Log-probabilities with exact zeros where nothing was sampled."""
    return [np.where(c.mask > 0, v, 0).astype(np.float32) for v, c in zip(values, completions, strict=True)]


def _matrix(rows: Sequence[NDArray[Any]], dtype: type[Any] = np.float32) -> NDArray[Any]:
    """Rows of any length as one matrix, padded with zeros."""
    matrix = np.zeros((len(rows), max(len(row) for row in rows)), dtype=dtype)
    for target, row in zip(matrix, rows, strict=True):
        target[: len(row)] = row
    return matrix
