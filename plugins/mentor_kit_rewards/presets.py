"""Rewards by name, as data (arXiv 2510.18383, section 3 and its ablations).

| preset | not ended | no answer | R1 right | R2 (when wrong) | R3 | maximum |
| --- | --- | --- | --- | --- | --- | --- |
| mentor | 0 | 0.1 | 0.7 | 0.3 (0.06) same set of tools | 0.1 | 1.1 |
| mentor-overlap (ablation 2) | 0 | 0.1 | 0.7 | 0.3 (0.06) any overlap | - | 1.0 |
| mentor-no-match (ablation 3) | 0 | 0.1 | 0.7 | - | 0.1 | 0.8 |
| mentor-f1 (ablation 4) | 0 | 0.1 | 0.7 | 0.3 (0.06) x F1 of the sets | 0.1 | 1.1 |
| sparse (baseline) | 0 | 0.1 | 1.0, wrong 0.1 | - | - | 1.0 |
"""

from __future__ import annotations

from mentor_kit.slot import GateSpec, RewardSpec, TermSpec

_GATES = (GateSpec(use="ended", otherwise=0.0), GateSpec(use="answered", otherwise=0.1))
_R1 = TermSpec(use="correct", weight=0.7)
_R3 = TermSpec(use="known-tools", weight=0.1)


def mentor() -> RewardSpec:
    """The paper's reward: right answer, the teacher's set of tools, no invented tool."""
    return RewardSpec(gates=_GATES, terms=(_R1, _r2("tool-match"), _R3))


def mentor_overlap() -> RewardSpec:
    """Ablation 2: any tool in common with the teacher pays R2; no R3."""
    return RewardSpec(gates=_GATES, terms=(_R1, _r2("tool-overlap")))


def mentor_no_match() -> RewardSpec:
    """Ablation 3: R1 and R3; the teacher's tools do not matter."""
    return RewardSpec(gates=_GATES, terms=(_R1, _R3))


def mentor_f1() -> RewardSpec:
    """Ablation 4, and what the paper's third version argues for: R2 is the F1 of the two sets."""
    return RewardSpec(gates=_GATES, terms=(_R1, _r2("tool-f1"), _R3))


def sparse() -> RewardSpec:
    """The baseline: 1.0 for a right answer, 0.1 for an episode that ended without one, 0.0 for the rest."""
    gates = (GateSpec(use="ended", otherwise=0.0), GateSpec(use="correct", otherwise=0.1))
    return RewardSpec(gates=gates, terms=(TermSpec(use="correct", weight=1.0),))


def _r2(term: str) -> TermSpec:
    return TermSpec(use=term, weight=0.3, when_wrong=0.2)
