"""Contract suite for losses; subclass it in the tests of a package that has one.

class TestMyLoss(LossContract):
    @pytest.fixture
    def loss(self) -> Loss:
        return MyLoss(MyOptions())

    @pytest.fixture
    def twin(self) -> LossTwin:
        return my_loop            # the loss of every token, by plain loops over a `LossCase`

A twin is written from the formula, in plain Python, and shares no code with the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from mentor_kit.rl.arrays import Array
from mentor_kit.rl.losses.loss import Loss, LossBatch, TokenLosses
from mentor_kit.testing.namespaces import DIFFERENTIABLE, Namespace

Ragged = list[list[float]]

#: How far a log-probability is moved for a finite difference.
STEP = 1e-6


@dataclass(frozen=True)
class LossCase:
    """Ragged sequences as plain lists: `now[i][t]` is a number of token t of sequence i."""

    now: Ragged
    """Log-probabilities under the current weights."""
    held: Ragged
    """The same numbers, for where the formula stops the gradient: finite differences move `now` alone."""
    old: Ragged
    """Log-probabilities before this round of updates."""
    sampled: Ragged
    """The sampler's log-probabilities."""
    advantages: Ragged
    trained: list[list[bool]]
    """False at tokens that tools or the template wrote; a sequence may have no trained token at all."""

    def tokens(self, i: int) -> list[int]:
        """The positions of a sequence that are trained."""
        return [t for t, trained in enumerate(self.trained[i]) if trained]

    def moved(self, i: int, t: int, by: float) -> LossCase:
        """The case with another current log-probability of one token."""
        now = [list(row) for row in self.now]
        now[i][t] += by
        return replace(self, now=now)


#: The loss of every token of a case, in lists like those of the case; its values at untrained tokens are not read.
LossTwin = Callable[[LossCase], Ragged]


class LossContract:
    """What every loss is held to. A namespace that is not installed is skipped."""

    advantages_alone: ClassVar[bool] = True
    """Whether there is no gradient where the advantages are 0; set False for a loss with a term beside them."""

    @pytest.mark.parametrize("seed", range(8))
    def test_values_are_the_twins(self, loss: Loss, twin: LossTwin, seed: int) -> None:
        case = random_case(seed)
        found, expected = _values(loss, case), twin(case)
        for i, row in enumerate(expected):
            for t in case.tokens(i):
                assert found[i, t] == pytest.approx(row[t], rel=1e-9, abs=1e-12)

    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("name", DIFFERENTIABLE)
    def test_gradients_are_finite_differences_of_the_twin(
        self, loss: Loss, twin: LossTwin, name: str, seed: int
    ) -> None:
        case, space = random_case(seed), Namespace.of(name)
        found = _gradient(loss, case, space)
        for i, row in enumerate(case.now):
            for t in range(found.shape[1]):
                trained = t < len(row) and case.trained[i][t]
                after, before = (_weighed(twin, case.moved(i, t, sign * STEP)) if trained else 0.0 for sign in (1, -1))
                slope = (after - before) / (2 * STEP)
                assert found[i, t] == pytest.approx(slope, rel=max(1e-5, space.tolerance), abs=space.tolerance + 1e-7)

    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("name", DIFFERENTIABLE)
    def test_other_namespaces_agree_with_numpy(self, loss: Loss, name: str, seed: int) -> None:
        case, space = random_case(seed), Namespace.of(name)
        found, plain = loss.token_losses(space.xp, batch_of(case, space)), loss.token_losses(np, batch_of(case))
        assert _arrays(found).keys() == _arrays(plain).keys()
        for key, array in _arrays(found).items():
            np.testing.assert_allclose(
                space.numbers(array), _arrays(plain)[key], rtol=space.tolerance, atol=space.tolerance
            )

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_results_have_the_batchs_shape_and_type(self, loss: Loss, dtype: type[Any]) -> None:
        batch = batch_of(random_case(0), Namespace(np, dtype))
        for name, array in _arrays(loss.token_losses(np, batch)).items():
            assert (name, array.shape, array.dtype) == (name, batch.mask.shape, np.dtype(dtype))

    @pytest.mark.parametrize("seed", range(3))
    def test_a_row_depends_on_itself_alone(self, loss: Loss, seed: int) -> None:
        """So losses do not depend on which rows are in a micro-batch together."""
        whole = batch_of(random_case(seed))
        together = _arrays(loss.token_losses(np, whole))
        for i in range(len(whole.mask)):
            alone = _arrays(loss.token_losses(np, _row(whole, i)))
            for name, array in alone.items():
                np.testing.assert_allclose(array[0], together[name][i], rtol=1e-12, atol=1e-15)

    def test_padding_changes_nothing(self, loss: Loss) -> None:
        batch = batch_of(random_case(1))
        wider = _changed(batch, lambda array: np.pad(array, ((0, 0), (0, 3))))
        for name, array in _arrays(loss.token_losses(np, wider)).items():
            expected = _arrays(loss.token_losses(np, batch))[name]
            np.testing.assert_allclose(array[:, : expected.shape[1]], expected, rtol=1e-12, atol=1e-15)
            assert np.isfinite(array).all(), name

    @pytest.mark.parametrize("name", DIFFERENTIABLE)
    def test_untrained_tokens_do_not_count(self, loss: Loss, name: str) -> None:
        """Their advantages are a rollout's or anything; their log-probabilities are 0 in every batch."""
        case, space = random_case(2), Namespace.of(name)
        batch = batch_of(case)
        rng = np.random.default_rng(0)
        noisy = replace(batch, advantages=batch.advantages + rng.standard_normal(batch.mask.shape) * (1 - batch.mask))
        found, other = loss.token_losses(np, batch), loss.token_losses(np, noisy)
        np.testing.assert_array_equal(found.values * batch.mask, other.values * batch.mask)
        assert np.isfinite(found.values).all()
        assert not _gradient(loss, case, space)[batch.mask == 0].any()

    @pytest.mark.parametrize("name", DIFFERENTIABLE)
    def test_no_advantage_gives_no_gradient(self, loss: Loss, name: str) -> None:
        """As in a group whose rewards are all equal."""
        if not (loss.uses_advantages and self.advantages_alone):
            pytest.skip("this loss learns where advantages are 0")
        case = random_case(3)
        case = replace(case, advantages=[[0.0] * len(row) for row in case.advantages])
        assert not _gradient(loss, case, Namespace.of(name)).any()

    def test_a_loss_that_uses_no_advantages_is_the_same_whatever_they_are(self, loss: Loss) -> None:
        batch = batch_of(random_case(3))
        other = replace(batch, advantages=batch.advantages + 1.0)
        same = np.array_equal(loss.token_losses(np, batch).values, loss.token_losses(np, other).values)
        assert same == (not loss.uses_advantages)

    def test_without_recomputed_log_probabilities_the_samplers_count(self, loss: Loss) -> None:
        batch = batch_of(random_case(4))
        explicit = loss.token_losses(np, replace(batch, old=batch.sampled))
        np.testing.assert_array_equal(loss.token_losses(np, replace(batch, old=None)).values, explicit.values)

    @pytest.mark.parametrize("name", DIFFERENTIABLE)
    def test_far_from_the_sampler_all_is_finite(self, loss: Loss, name: str) -> None:
        """Log-ratios up to 20 either way, as after a step that was much too large."""
        case, space = random_case(5, spread=20.0), Namespace.of(name)
        for key, array in _arrays(loss.token_losses(space.xp, batch_of(case, space))).items():
            assert np.isfinite(space.numbers(array)).all(), key
        assert np.isfinite(_gradient(loss, case, space)).all()

    def test_the_batch_is_left_as_it_is(self, loss: Loss) -> None:
        case = random_case(6)
        batch = batch_of(case)
        first = loss.token_losses(np, batch).values
        for field in fields(batch):
            if getattr(batch, field.name) is not None:
                np.testing.assert_array_equal(getattr(batch, field.name), getattr(batch_of(case), field.name))
        np.testing.assert_array_equal(first, loss.token_losses(np, batch).values)


def random_case(seed: int, spread: float = 0.3) -> LossCase:
    """Five ragged sequences: tokens inserted between turns, one sequence without a trained token, others of one token.

    Args:
        seed: of the case.
        spread: how far log-probabilities are from those before the update: the deviation, or beyond 1 the bound.
    """
    rng = np.random.default_rng(seed)
    lengths = [int(n) for n in rng.integers(1, 7, size=5)]
    trained = [[bool(x) for x in rng.random(n) < 0.75] for n in lengths]
    trained[0][0] = True
    trained[1] = [False] * lengths[1]

    def rows(centre: Ragged, deviation: float) -> Ragged:
        return [[min(x + deviation * float(rng.standard_normal()), -1e-3) for x in row] for row in centre]

    old = rows([[-2.0] * n for n in lengths], 0.7)
    now = rows(old, spread)
    if spread > 1:
        old = [[-0.5 - spread * (n % 2)] * n for n in lengths]
        now = [[-0.5 - spread * ((n + 1) % 2)] * n for n in lengths]
    return LossCase(
        now=now,
        held=[list(row) for row in now],
        old=old,
        sampled=rows(old, 0.05),
        advantages=[[float(rng.standard_normal())] * n if i % 2 else _each(rng, n) for i, n in enumerate(lengths)],
        trained=trained,
    )


def batch_of(case: LossCase, space: Namespace | None = None) -> LossBatch:
    """A case as arrays, padded with zeros; each row's tokens weigh 1 / (row + 2)."""
    space = space or Namespace(np, np.float64)
    width = max(map(len, case.now))

    def padded(rows: Ragged, everywhere: bool = False) -> Array:
        out = np.zeros((len(rows), width))
        for i, row in enumerate(rows):
            for t, value in enumerate(row):
                out[i, t] = value if everywhere or case.trained[i][t] else 0.0
        return space.array(out)

    return LossBatch(
        log_probs=padded(case.now),
        sampled=padded(case.sampled),
        advantages=padded(case.advantages, everywhere=True),
        mask=padded([[1.0] * len(row) for row in case.now]),
        weights=padded([[_weight(i)] * len(row) for i, row in enumerate(case.now)]),
        old=padded(case.old),
    )


def _each(rng: np.random.Generator, count: int) -> list[float]:
    return [float(x) for x in rng.standard_normal(count)]


def _weight(row: int) -> float:
    return 1 / (row + 2)


def _weighed(twin: LossTwin, case: LossCase) -> float:
    """The twin's loss of the whole case."""
    values = twin(case)
    return sum(_weight(i) * values[i][t] for i in range(len(values)) for t in case.tokens(i))


def _values(loss: Loss, case: LossCase) -> NDArray[np.float64]:
    found: NDArray[np.float64] = loss.token_losses(np, batch_of(case)).values
    return found


def _gradient(loss: Loss, case: LossCase, space: Namespace) -> NDArray[np.float64]:
    """The derivative of the weighed loss in every current log-probability, shape (N, T)."""
    batch = batch_of(case, space)

    def total(log_probs: Array) -> Array:
        values = loss.token_losses(space.xp, replace(batch, log_probs=log_probs)).values
        return space.xp.sum(values * batch.weights)

    return space.gradient(total, batch.log_probs)


def _arrays(found: TokenLosses) -> dict[str, Array]:
    """All arrays of a result by name."""
    named = {"values": found.values, "ratio": found.ratio, "clipped": found.clipped, **found.metrics}
    return {name: array for name, array in named.items() if array is not None}


def _row(batch: LossBatch, i: int) -> LossBatch:
    """A row of the batch by itself."""
    return _changed(batch, lambda array: array[i : i + 1])


def _changed(batch: LossBatch, change: Callable[[Array], Array]) -> LossBatch:
    """The batch with every array changed."""
    return LossBatch(**{name: None if array is None else change(array) for name, array in vars(batch).items()})
