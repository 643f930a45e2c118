"""The teacher's part of advantages against numbers worked by hand, and against loops written from SOD's paper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.rl.distillation import distillation, step_weights
from mentor_kit.rl.objective import ObjectiveSpec

EPSILON = 1e-6  # the authors'


def rows(*values: list[float]) -> Any:
    return np.array(values, dtype=np.float64)


def test_worked_by_hand() -> None:
    # step 1: two tokens, gaps .2 and .4, so d = .3; a tool result; step 2: one token, d = .6; step 3: d = .1
    student = rows([-0.5, -1.0, -7.0, -7.0, -0.9, -7.0, -0.3])
    teacher = rows([-0.3, -1.4, -9.0, -1.0, -0.3, -2.0, -0.4])
    mask = rows([1, 1, 0, 0, 1, 0, 1])
    # .3 / .6 = 1/2, and .3 / .1 = 3, which is held at 1.2
    np.testing.assert_allclose(
        step_weights(np, student, teacher, mask, cap=1.2), [[1, 1, 0, 0, 0.5, 0, 1.2]], atol=1e-5
    )
    np.testing.assert_allclose(
        distillation(np, ObjectiveSpec(preset="opd"), student, teacher, mask),
        [[0.2, -0.4, 0, 0, 0.6, 0, -0.1]],
        atol=1e-9,
    )
    np.testing.assert_allclose(
        distillation(np, ObjectiveSpec(preset="sod", distill=2.0), student, teacher, mask),
        [[0.4, -0.8, 0, 0, 0.6, 0, -0.24]],
        atol=1e-5,
    )


def loop(student: list[float], teacher: list[float], mask: list[int], cap: float) -> list[float]:
    """Steps are runs of sampled tokens; w_k is the product of ratios of neighbouring divergences, held at the cap."""
    steps: list[list[int]] = []
    for t, sampled in enumerate(mask):
        if sampled:
            if t > 0 and mask[t - 1]:
                steps[-1].append(t)
            else:
                steps.append([t])
    divergence = [sum(abs(student[t] - teacher[t]) for t in step) / len(step) for step in steps]
    weights = [0.0] * len(mask)
    product = 1.0
    for k, step in enumerate(steps):
        if k > 0:
            product *= (divergence[k - 1] + EPSILON) / (divergence[k] + EPSILON)
        for t in step:
            weights[t] = 1.0 if k == 0 else min(product, cap)
    return weights


LOG_PROB = st.floats(-12, -1e-4)
TOKENS = st.lists(st.tuples(LOG_PROB, LOG_PROB, st.integers(0, 1)), min_size=1, max_size=12)
CASES = st.lists(TOKENS, min_size=1, max_size=4)
CAPS = st.sampled_from([1.0, 1.2, 1.5, 10.0])


def padded(case: list[list[tuple[float, float, int]]], width: int | None = None) -> list[Any]:
    """Student, teacher and mask as matrices, zeros at the end of short rows."""
    width = width or max(map(len, case))
    return [np.array([[token[i] for token in row] + [0.0] * (width - len(row)) for row in case]) for i in range(3)]


@given(case=CASES, cap=CAPS)
def test_weights_are_their_loop_twins(case: Any, cap: float) -> None:
    found = step_weights(np, *padded(case), cap)
    for row, weights in zip(case, found, strict=True):
        student, teacher, mask = (list(column) for column in zip(*row, strict=True))
        np.testing.assert_allclose(weights[: len(row)], loop(student, teacher, mask, cap), rtol=1e-6)
        assert not weights[len(row) :].any()


@given(case=CASES, cap=CAPS, distill=st.sampled_from([0.5, 1.0, 3.0]))
def test_a_row_does_not_depend_on_the_others_or_on_padding(case: Any, cap: float, distill: float) -> None:
    objective = ObjectiveSpec(preset="sod", step_cap=cap, distill=distill)
    together = distillation(np, objective, *padded(case, 15))
    for index, row in enumerate(case):
        alone = distillation(np, objective, *padded([row]))
        # sums over rows of other widths may be rounded otherwise
        np.testing.assert_allclose(together[index, : len(row)], alone[0], rtol=1e-12)


@given(case=CASES, noise=st.floats(-5, 5))
def test_what_was_not_sampled_never_counts(case: Any, noise: float) -> None:
    student, teacher, mask = padded(case)
    for objective in (ObjectiveSpec(preset="opd"), ObjectiveSpec(preset="sod")):
        found = distillation(np, objective, student, teacher, mask)
        other = distillation(np, objective, student + noise * (1 - mask), teacher - 3 * noise * (1 - mask), mask)
        np.testing.assert_array_equal(found, other)
        assert not found[mask == 0].any()


@given(case=CASES, cap=CAPS)
def test_weights_keep_signs_and_bounds(case: Any, cap: float) -> None:
    student, teacher, mask = padded(case)
    weights = step_weights(np, student, teacher, mask, cap)
    assert (weights[mask == 1] > 0).all()
    assert weights.max() <= cap
    plain, by_step = (distillation(np, ObjectiveSpec(preset=name), student, teacher, mask) for name in ("opd", "sod"))
    np.testing.assert_array_equal(np.sign(plain), np.sign(by_step))


def test_one_step_is_plain_distillation_and_agreement_in_all_steps_is_too() -> None:
    student, mask = rows([-0.5, -1.0, -2.0, -0.1]), rows([1, 1, 1, 1])
    sod, opd = ObjectiveSpec(preset="sod"), ObjectiveSpec(preset="opd")
    teacher = rows([-0.1, -3.0, -1.0, -0.2])
    np.testing.assert_allclose(
        distillation(np, sod, student, teacher, mask), distillation(np, opd, student, teacher, mask)
    )
    # a teacher that agrees everywhere: no advantage, no division by zero, weights of 1
    np.testing.assert_array_equal(step_weights(np, student, student, rows([1, 0, 1, 1]), 1.2), [[1, 0, 1, 1]])


def test_nothing_sampled_and_nothing_at_all() -> None:
    for shape in ((1, 0), (2, 3)):
        zeros = np.zeros(shape)
        found = distillation(np, ObjectiveSpec(preset="sod"), zeros - 1, zeros, zeros)
        assert found.shape == shape
        assert not found.any()


@pytest.mark.parametrize("name", ["opd", "sod"])
def test_the_mean_of_opd_is_minus_the_reverse_kl(name: str) -> None:
    """Of one step: over all tokens the student could sample, weighed by its probability, from another formula."""
    rng = np.random.default_rng(0)
    p, q = (np.exp(x) / np.exp(x).sum() for x in rng.standard_normal((2, 9)))
    # nine samples of one token each, one for every token there is
    gains = distillation(np, ObjectiveSpec(preset=name), np.log(p)[:, None], np.log(q)[:, None], np.ones((9, 1)))
    mean = float(p @ gains[:, 0])
    entropy, cross = -sum(a * math.log(a) for a in p), -sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    assert mean == pytest.approx(-(cross - entropy))


@pytest.mark.parametrize("namespace", ["torch", "mlx.core"])
def test_other_namespaces_agree_with_numpy(namespace: str) -> None:
    xp = pytest.importorskip(namespace)
    rng = np.random.default_rng(1)
    student, teacher = (-rng.random((2, 4, 20)) * 3).astype(np.float32)
    mask = (rng.random((4, 20)) < 0.6).astype(np.float32)
    array = xp.tensor if namespace == "torch" else xp.array
    for objective in (ObjectiveSpec(preset="opd"), ObjectiveSpec(preset="sod")):
        found = distillation(xp, objective, array(student), array(teacher), array(mask)).tolist()
        np.testing.assert_allclose(found, distillation(np, objective, student, teacher, mask), rtol=1e-5, atol=1e-6)
