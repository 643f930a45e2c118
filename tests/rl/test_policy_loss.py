"""Losses against examples worked by hand from the papers, and against naive loop twins."""

from __future__ import annotations

import math
from typing import Any

import loss_twins as twins
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.rl.losses.aggregation import token_weights
from mentor_kit.rl.losses.kl import kl_divergence
from mentor_kit.rl.losses.loss import LossBatch
from mentor_kit.rl.objective import PRESETS, Objective
from mentor_kit.rl.policy_loss import LossTerms, policy_loss
from mentor_kit.testing.objectives import make_objective

OBJECTIVES = {
    "grpo": make_objective(preset="grpo"),
    "dr-grpo": make_objective(preset="dr-grpo", constant_length=7),
    "dapo": make_objective(preset="dapo"),
    "rloo": make_objective(preset="rloo"),
    "reinforce++": make_objective(preset="reinforce++"),
    "gspo": make_objective(preset="gspo"),
    "cispo": make_objective(preset="cispo"),
    "sft": make_objective(preset="sft"),
    "opd": make_objective(preset="opd"),
    "sod": make_objective(preset="sod"),
    "importance": make_objective(preset="grpo", kl=0.0, importance_cap=1.05),
}


def batch(case: Any, objective: Objective, array: Any = np.asarray) -> LossBatch:
    """A ragged case as padded arrays, zero where nothing is trained."""
    width = max(map(len, case.now))

    def padded(rows: Any) -> Any:
        out = np.zeros((len(rows), width))
        for i, row in enumerate(rows):
            for t, value in enumerate(row):
                out[i, t] = float(value) * case.trained[i][t]
        return out

    mask = padded([[1.0] * len(row) for row in case.now])
    weights = np.stack(objective.token_weights([np.asarray(row, dtype=np.float32) for row in mask]))
    exact = exact_weights(objective, case, weights)
    advantages = padded([[a] * len(row) for a, row in zip(case.advantages, case.now, strict=True)])
    columns = {
        "log_probs": padded(case.now),
        "sampled": padded(case.sampled),
        "advantages": advantages,
        "mask": mask,
        "weights": exact,
        "old": padded(case.old),
    }
    reference = array(padded(case.reference)) if objective.spec.needs_reference else None
    return LossBatch(**{name: array(value) for name, value in columns.items()}, reference=reference)


def exact_weights(objective: Objective, case: Any, rounded: Any) -> Any:
    """`token_weights` rounds to float32; the same in float64, after checking that it is the same."""
    out = np.zeros(rounded.shape)
    for i in case.rows:
        for t in case.tokens(i):
            out[i, t] = {
                "token": 1 / case.token_count,
                "sequence": 1 / (len(case.rows) * len(case.tokens(i))),
                "constant": 1 / (len(case.rows) * (objective.spec.constant_length or 1)),
            }[objective.spec.aggregation]
    np.testing.assert_allclose(rounded, out, rtol=1e-6)
    return out


def random_case(seed: int) -> Any:
    """Up to five ragged sequences; tokens inserted between turns, rows without any trained token, equal policies."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 7, size=int(rng.integers(1, 6)))
    trained = [[bool(x) for x in rng.random(n) < 0.75] for n in lengths]
    trained[0][0] = True

    def rows(centre: Any, spread: float) -> Any:
        found = [np.asarray(row) + spread * rng.standard_normal(len(row)) for row in centre]
        return [[min(float(x), -1e-3) for x in row] for row in found]

    old = rows([-2.0 * np.ones(n) for n in lengths], 0.7)
    now = rows(old, 0.3)
    return twins.Case(
        now=now,
        held=[list(row) for row in now],
        sampled=rows(old, 0.05),
        old=old,
        reference=rows(old, 0.3),
        trained=trained,
        advantages=[float(a) for a in rng.standard_normal(len(lengths))],
    )


# ---------------------------------------------------------------- worked by hand

LN2 = math.log(2)
# sequence 1 (A = +1): p = 1/2, 1/4 with ratios 3/2 and 1/2 to the old policy; the reference is twice as sure of its
# first token. Sequence 2 (A = -1): p = 1/2 with ratio 1/2.
HAND = twins.Case(
    now=[[-LN2, -2 * LN2], [-LN2]],
    held=[[-LN2, -2 * LN2], [-LN2]],
    sampled=[[-LN2 - math.log(1.5), -2 * LN2 + LN2], [-LN2 + LN2]],
    old=[[-LN2 - math.log(1.5), -2 * LN2 + LN2], [-LN2 + LN2]],
    reference=[[0.0, -2 * LN2], [-LN2]],
    trained=[[True, True], [True]],
    advantages=[1.0, -1.0],
)
BY_HAND = {
    # min(1.5, 1.2) = 1.2 and min(.5, .8) = .5: mean .85; min(-.5, -.8) = -.8; J = (.85 - .8) / 2
    "grpo, no KL": (make_objective(preset="grpo", kl=0.0), -0.025),
    # k3 of the first token = 2 - 1 - ln 2 = .306853, halved by the sequence's length and by the two sequences
    "grpo": (make_objective(preset="grpo", kl=0.1), -0.025 + 0.1 * 0.306853 / 4),
    # (1.2 + .5 - .8) / (2 sequences · 4)
    "dr-grpo": (make_objective(preset="dr-grpo", constant_length=4), -0.1125),
    # clip-higher: (1.28 + .5 - .8) / 3 tokens
    "dapo": (make_objective(preset="dapo"), -0.98 / 3),
    # (ln 1/2 + ln 1/4 - ln 1/2) / 2 = ln(1/4) / 2
    "rloo": (make_objective(preset="rloo"), LN2),
    # k1 = ln p - ln p_ref = -ln 2 at the first token: its A is 1 + .1 ln 2; min(1.5, 1.2) of that is 1.283178
    "reinforce++": (make_objective(preset="reinforce++", kl=0.1), -((1.283178 + 0.5) / 2 - 0.8) / 2),
    # s_1 = sqrt(3/2 · 1/2) = .866025 < .9997 keeps s; s_2 = .5 with A < 0 takes the bound: -.9997
    "gspo": (make_objective(preset="gspo"), -(0.866025 - 0.9997) / 2),
    # (1.5 ln 1/2 + .5 ln 1/4 - .5 ln 1/2) / 3 = -2 ln 2 / 3
    "cispo": (make_objective(preset="cispo"), 2 * LN2 / 3),
    # the cap 1.28 in place of 1.5: (1.28 + 1 - .5) ln 1/2 / 3
    "cispo, capped": (
        make_objective(preset="cispo", loss={"use": "cispo", "with": {"clip_high": 0.28}}),
        1.78 * LN2 / 3,
    ),
    # no bounds: (1.5 + .5 - .5) / 3 tokens
    "opd": (make_objective(preset="opd"), -0.5),
    # clip-higher: (1.28 + .5 - .8) / 3 tokens
    "sod": (make_objective(preset="sod"), -0.98 / 3),
    # (ln 2 + 2 ln 2 + ln 2) / 3
    "sft": (make_objective(preset="sft"), 4 * LN2 / 3),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_hand_worked_examples(name: str) -> None:
    objective, expected = BY_HAND[name]
    assert float(policy_loss(np, objective, batch(HAND, objective)).loss) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("estimator", "expected"), [("k1", -LN2), ("k2", LN2**2 / 2), ("k3", 1 - LN2)])
def test_kl_estimators_by_hand(estimator: Any, expected: float) -> None:
    # the policy says 1/4 where the reference says 1/2
    found = kl_divergence(np, np.array([-2 * LN2]), np.array([-LN2]), estimator)
    assert found[0] == pytest.approx(expected)


def test_k1_and_k3_estimate_the_divergence_without_bias() -> None:
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    exact = float((p * np.log(p / q)).sum())
    for estimator in ("k1", "k3"):
        assert float((p * kl_divergence(np, np.log(p), np.log(q), estimator)).sum()) == pytest.approx(exact)


# ---------------------------------------------------------------- against the loop twins


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_the_loop_twins(name: str, seed: int) -> None:
    case, objective = random_case(seed), OBJECTIVES[name]
    assert float(policy_loss(np, objective, batch(case, objective)).loss) == pytest.approx(
        twins.TWINS[name](case), rel=1e-10, abs=1e-12
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", OBJECTIVES)
def test_torch_agrees_and_its_gradient_is_the_twins_finite_difference(name: str, seed: int) -> None:
    torch = pytest.importorskip("torch")
    case, objective = random_case(seed), OBJECTIVES[name]
    found = batch(case, objective, torch.tensor)
    found.log_probs.requires_grad_()
    terms = policy_loss(torch, objective, found)
    plain = policy_loss(np, objective, batch(case, objective))
    assert float(terms.loss.detach()) == pytest.approx(float(plain.loss), rel=1e-12)
    for ours, theirs in ((terms.sums, plain.sums), (terms.maxima, plain.maxima)):
        assert {k: float(v) for k, v in ours.items()} == pytest.approx({k: float(v) for k, v in theirs.items()})
    terms.loss.backward()
    twin, step = twins.TWINS[name], 1e-6
    for i, row in enumerate(case.now):
        for t in range(found.mask.shape[1]):
            trained = t < len(row) and case.trained[i][t]
            slope = (twin(case.moved(i, t, step)) - twin(case.moved(i, t, -step))) / (2 * step) if trained else 0.0
            assert float(found.log_probs.grad[i, t]) == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_every_preset_has_a_twin() -> None:
    assert set(PRESETS) <= set(twins.TWINS)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_micro_batches_add_up(name: str) -> None:
    case, objective = random_case(5), OBJECTIVES[name]
    whole = batch(case, objective)
    rows = len(case.now)
    assert rows > 1

    def part(i: int) -> LossTerms:
        cut = {k: None if v is None else v[i : i + 1] for k, v in vars(whole).items()}
        return policy_loss(np, objective, LossBatch(**cut))

    total = policy_loss(np, objective, whole)
    assert sum(float(part(i).loss) for i in range(rows)) == pytest.approx(float(total.loss))
    for name_of_sum, value in total.sums.items():
        assert sum(float(part(i).sums[name_of_sum]) for i in range(rows)) == pytest.approx(float(value))


def test_without_old_log_probabilities_the_samplers_count() -> None:
    case, objective = random_case(1), OBJECTIVES["dapo"]
    found = batch(case, objective)
    explicit = LossBatch(**{**vars(found), "old": found.sampled})
    implicit = LossBatch(**{**vars(found), "old": None})
    assert policy_loss(np, objective, explicit).loss == policy_loss(np, objective, implicit).loss


def test_a_kl_term_without_a_reference_is_refused() -> None:
    found = batch(HAND, make_objective(preset="grpo", kl=0.1))
    with pytest.raises(ValueError, match=r"kl=0\.1 needs the reference"):
        policy_loss(np, make_objective(preset="grpo", kl=0.1), LossBatch(**{**vars(found), "reference": None}))


def test_metrics_by_hand() -> None:
    objective = make_objective(preset="grpo", kl=0.1)
    sums = policy_loss(np, objective, batch(HAND, objective)).sums
    # clipping takes the gradient from 1.5 with A = +1 and from .5 with A = -1; not from .5 with A = +1
    assert float(sums["clipped"]) == 2.0
    assert float(sums["ratio"]) == pytest.approx(1.5 + 0.5 + 0.5)
    assert float(sums["entropy"]) == pytest.approx(4 * LN2)
    assert float(sums["kl"]) == pytest.approx(1 - LN2)
    assert float(sums["mismatch"]) == pytest.approx(math.log(1.5) + 2 * LN2)
    assert float(policy_loss(np, objective, batch(HAND, objective)).maxima["mismatch_max"]) == pytest.approx(LN2)


# ---------------------------------------------------------------- token weights

MASKS = st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=9), min_size=1, max_size=8).map(
    lambda rows: [np.array(row, dtype=np.float32) for row in rows]
)


@given(MASKS, st.sampled_from(["token", "sequence", "constant"]))
def test_token_weights(masks: list[Any], aggregation: Any) -> None:
    weights = token_weights(aggregation, masks, constant_length=11)
    lengths = [int(m.sum()) for m in masks]
    rows, tokens = sum(n > 0 for n in lengths), sum(lengths)
    for weight, mask, length in zip(weights, masks, lengths, strict=True):
        assert weight.dtype == np.float32
        assert weight.shape == mask.shape
        if length == 0:
            assert not weight.any()
            continue
        expected = {"token": 1 / tokens, "sequence": 1 / (rows * length), "constant": 1 / (rows * 11)}[aggregation]
        np.testing.assert_allclose(weight, mask * expected, rtol=1e-6)
    total = sum(float(w.sum()) for w in weights)
    expected_total = 0.0 if not tokens else tokens / (rows * 11) if aggregation == "constant" else 1.0
    assert total == pytest.approx(expected_total, rel=1e-5)
