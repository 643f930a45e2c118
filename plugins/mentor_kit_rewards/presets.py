"""Reward presets as data (arXiv 2510.18383, section 3 and its ablations).

| preset | not ended | no answer | R1 right | R2 (when wrong) | R3 | maximum |
| --- | --- | --- | --- | --- | --- | --- |
| mentor | 0 | 0.1 | 0.7 | 0.3 (0.06) same set of tools | 0.1 | 1.1 |
| mentor-overlap (ablation 2) | 0 | 0 (published: 0.1) | 0.7 | 0.3 (0.06) any overlap | - | 1.0 |
| mentor-no-match (ablation 3) | 0 | 0.1 | 0.7 | - | 0.1 | 0.8 |
| mentor-f1 (ablation 4) | 0 | 0.1 | 0.7 | 0.3 (0.06) x F1 of the sets | 0.1 | 1.1 |
| sparse (baseline) | 0 | 0.1 | 1.0, wrong 0.1 | - | - | 1.0 |

The numbers are the options' defaults; with others a preset is no longer the paper's. One differs: without R3 an honest
wrong attempt earns 0.06 at most, and the published 0.1 for no answer would reward giving none.
"""

from __future__ import annotations

from pydantic import ConfigDict, Field

from mentor_kit.core.component import Number
from mentor_kit.core.option_model import OptionModel
from mentor_kit.rl.reward import GateSpec, RewardSpec, Schedule, TermSpec
from mentor_kit_rewards.comparison import Excess


class SparseOptions(OptionModel):
    """The numbers of the baseline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    right: Number = 1.0
    """What a right answer earns."""
    wrong: Number = 0.1
    """What an episode earns that ended without one."""
    not_ended: Number = 0.0
    """What an episode earns that did not end."""


class MentorOptions(OptionModel):
    """The numbers of MENTOR's reward."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    right: Number = Field(default=0.7, ge=0)
    """R1: what a right answer earns."""
    tools: Number = Field(default=0.3, ge=0)
    """R2: what the teacher's tools earn."""
    when_wrong: Number = Field(default=0.2, ge=0)
    """The factor on R2 when the answer is wrong."""
    known: Number = Field(default=0.1, ge=0)
    """R3: what naming no unknown tool earns."""
    no_answer: Number = 0.1
    """What an episode earns that ended without an answer."""
    not_ended: Number = 0.0
    """What an episode earns that did not end."""
    excess: Excess | None = Excess()
    """With more executed calls than this R2 is 0; null for no limit."""
    schedule: Schedule | None = None
    """How the weight of R2 changes over a stage."""


class OverlapOptions(MentorOptions):
    """The numbers of ablation 2."""

    no_answer: Number = 0.0
    """What an episode earns that ended without an answer. The published 0.1 is more than an honest wrong attempt's
    0.06, so that giving none would pay."""


def mentor(options: MentorOptions) -> RewardSpec:
    """The paper's reward: right answer, the teacher's set of tools, no invented tool."""
    return RewardSpec(gates=_gates(options), terms=(_r1(options), _r2("tool-match", options), _r3(options)))


def mentor_overlap(options: OverlapOptions) -> RewardSpec:
    """Ablation 2: any tool in common with the teacher pays R2; no R3."""
    return RewardSpec(gates=_gates(options), terms=(_r1(options), _r2("tool-overlap", options)))


def mentor_no_match(options: MentorOptions) -> RewardSpec:
    """Ablation 3: R1 and R3; the teacher's tools do not matter."""
    return RewardSpec(gates=_gates(options), terms=(_r1(options), _r3(options)))


def mentor_f1(options: MentorOptions) -> RewardSpec:
    """Ablation 4, and what the paper's third version argues for: R2 is the F1 of the two sets."""
    return RewardSpec(gates=_gates(options), terms=(_r1(options), _r2("tool-f1", options), _r3(options)))


def sparse(options: SparseOptions) -> RewardSpec:
    """The baseline: 1.0 for a right answer, 0.1 for an episode that ended without one, 0.0 for the rest."""
    gates = (
        GateSpec(use="ended", otherwise=options.not_ended),
        GateSpec(use="correct", otherwise=options.wrong),
    )
    return RewardSpec(gates=gates, terms=(TermSpec(use="correct", weight=options.right),))


def _gates(options: MentorOptions) -> tuple[GateSpec, ...]:
    return (
        GateSpec(use="ended", otherwise=options.not_ended),
        GateSpec(use="answered", otherwise=options.no_answer),
    )


def _r1(options: MentorOptions) -> TermSpec:
    return TermSpec(use="correct", weight=options.right)


def _r2(term: str, options: MentorOptions) -> TermSpec:
    own = {} if options.excess == Excess() else {"excess": options.excess and options.excess.model_dump()}
    return TermSpec.model_validate(
        {
            "use": term,
            "with": own,
            "weight": options.tools,
            "when_wrong": options.when_wrong,
            "schedule": options.schedule,
        }
    )


def _r3(options: MentorOptions) -> TermSpec:
    return TermSpec(use="known-tools", weight=options.known)
