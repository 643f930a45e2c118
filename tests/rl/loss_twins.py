"""Naive loop twins of the objectives, written from the papers' formulas in plain Python; shared by tests.

Every function takes ragged lists: `now[i][t]` is the current log-probability of token t of sequence i, and
`held` the same numbers where a formula stops the gradient, so that finite differences of `now` alone give
the gradient that the paper means.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

Ragged = list[list[float]]


@dataclass(frozen=True)
class Case:
    """One update: N ragged sequences with one advantage each; `trained[i][t]` is False at inserted tokens."""

    now: Ragged
    held: Ragged
    sampled: Ragged
    old: Ragged
    reference: Ragged
    trained: list[list[bool]]
    advantages: list[float]

    def tokens(self, i: int) -> list[int]:
        return [t for t, trained in enumerate(self.trained[i]) if trained]

    @property
    def rows(self) -> list[int]:
        """Sequences with at least one trained token."""
        return [i for i in range(len(self.now)) if self.tokens(i)]

    @property
    def token_count(self) -> int:
        return sum(len(self.tokens(i)) for i in range(len(self.now)))

    def moved(self, i: int, t: int, by: float) -> Case:
        now = [list(row) for row in self.now]
        now[i][t] += by
        return replace(self, now=now)


def clamp(value: float, low: float, high: float) -> float:
    return max(low, min(high, value))


def k3(case: Case, i: int, t: int) -> float:
    d = case.reference[i][t] - case.now[i][t]
    return math.exp(d) - d - 1


def ppo(case: Case, i: int, t: int, low: float = 0.2, high: float = 0.2, advantage: float | None = None) -> float:
    r = math.exp(case.now[i][t] - case.old[i][t])
    a = case.advantages[i] if advantage is None else advantage
    return min(r * a, clamp(r, 1 - low, 1 + high) * a)


def grpo(case: Case, beta: float = 0.001) -> float:
    """arXiv 2402.03300, equation 3: 1/G Σ_i 1/|o_i| Σ_t [min(...) - β k3]."""
    objective = 0.0
    for i in case.rows:
        inner = sum(ppo(case, i, t) - beta * k3(case, i, t) for t in case.tokens(i))
        objective += inner / len(case.tokens(i))
    return -objective / len(case.rows)


def dr_grpo(case: Case, longest: float = 7) -> float:
    """arXiv 2503.20783: no division by |o_i| (a constant in its place)."""
    return -sum(ppo(case, i, t) for i in case.rows for t in case.tokens(i)) / (longest * len(case.rows))


def dapo(case: Case) -> float:
    """arXiv 2503.14476, equation 8: 1/Σ|o_i| Σ_i Σ_t min(r A, clip(r, 1-0.2, 1+0.28) A)."""
    return -sum(ppo(case, i, t, high=0.28) for i in case.rows for t in case.tokens(i)) / case.token_count


def rloo(case: Case) -> float:
    """arXiv 2402.14740: 1/k Σ_i (r_i - mean of others) log π(y_i)."""
    return -sum(case.advantages[i] * sum(case.now[i][t] for t in case.tokens(i)) for i in case.rows) / len(case.rows)


def reinforce_pp(case: Case, beta: float = 0.001) -> float:
    """arXiv 2501.03262: A_t = A - β Σ_{s >= t} log(π_s / π_ref,s), PPO's clip, mean of each sequence."""
    objective = 0.0
    for i in case.rows:
        inner = 0.0
        for t in case.tokens(i):
            later = [s for s in case.tokens(i) if s >= t]
            penalty = beta * sum(case.held[i][s] - case.reference[i][s] for s in later)
            inner += ppo(case, i, t, advantage=case.advantages[i] - penalty)
        objective += inner / len(case.tokens(i))
    return -objective / len(case.rows)


def gspo(case: Case) -> float:
    """arXiv 2507.18071, equations 5 and 7: the ratio of whole sequences, to the power 1/|y|."""
    objective = 0.0
    for i in case.rows:
        tokens = case.tokens(i)
        s = math.exp(sum(case.now[i][t] - case.old[i][t] for t in tokens) / len(tokens))
        a = case.advantages[i]
        objective += min(s * a, clamp(s, 1 - 3e-4, 1 + 4e-4) * a)
    return -objective / len(case.rows)


def cispo(case: Case, high: float = 4.0) -> float:
    """arXiv 2506.13585, equation 4: 1/Σ|o_i| Σ Σ sg(min(r, 1 + ε)) A log π."""
    total = 0.0
    for i in case.rows:
        for t in case.tokens(i):
            weight = min(math.exp(case.held[i][t] - case.old[i][t]), 1 + high)
            total += weight * case.advantages[i] * case.now[i][t]
    return -total / case.token_count


def opd(case: Case) -> float:
    """Lu (2025): importance sampling without clipping, a mean over all tokens."""
    total = sum(
        math.exp(case.now[i][t] - case.old[i][t]) * case.advantages[i] for i in case.rows for t in case.tokens(i)
    )
    return -total / case.token_count


def sod(case: Case) -> float:
    """arXiv 2605.07725 with the settings of its authors' script: DAPO's clip and mean over all tokens."""
    return dapo(case)


def sft(case: Case) -> float:
    return -sum(case.now[i][t] for i in case.rows for t in case.tokens(i)) / case.token_count


def importance_grpo(case: Case, cap: float = 1.05) -> float:
    """GRPO without KL, each token's loss times min(π_old / π_sampled, cap) (arXiv 2508.03501)."""
    objective = 0.0
    for i in case.rows:
        inner = 0.0
        for t in case.tokens(i):
            inner += min(math.exp(case.old[i][t] - case.sampled[i][t]), cap) * ppo(case, i, t)
        objective += inner / len(case.tokens(i))
    return -objective / len(case.rows)


TWINS: dict[str, Callable[[Case], float]] = {
    "grpo": grpo,
    "dr-grpo": dr_grpo,
    "dapo": dapo,
    "rloo": rloo,
    "reinforce++": reinforce_pp,
    "gspo": gspo,
    "cispo": cispo,
    "sft": sft,
    "opd": opd,
    "sod": sod,
    "importance": importance_grpo,
}
