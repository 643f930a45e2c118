"""The built-in stages, losses, advantage estimators and families of models, registered as any plugin's are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.hooks import BuildContext, Register
    from mentor_kit.stages.grpo_options import GRPOOptions
    from mentor_kit.stages.stage import Stage


@hookimpl
def register_stages(register: Register) -> None:
    """Collect, sft, grpo, evaluate and export."""
    from mentor_kit.stages.collect import CollectOptions, CollectStage
    from mentor_kit.stages.evaluate import EvaluateOptions, EvaluateStage
    from mentor_kit.stages.export import ExportOptions, ExportStage
    from mentor_kit.stages.grpo_options import GRPOOptions
    from mentor_kit.stages.sft import SFTStage
    from mentor_kit.stages.sft_options import SFTOptions

    register(
        "collect",
        options=CollectOptions,
        build=lambda options, _: CollectStage(options),
        summary="the teacher demonstrates problems ahead of training",
    )
    register(
        "sft",
        options=SFTOptions,
        build=lambda options, _: SFTStage(options),
        summary="maximum likelihood of the teacher's demonstrations",
    )
    register(
        "grpo",
        options=GRPOOptions,
        build=_grpo,
        summary="RL on groups of the student's own rollouts (GRPO and its relatives)",
    )
    register(
        "evaluate",
        options=EvaluateOptions,
        build=lambda options, _: EvaluateStage(options),
        summary="greedy and sampled accuracy, tool use and similarity to the teacher",
    )
    register(
        "export",
        options=ExportOptions,
        build=lambda options, _: ExportStage(options),
        summary="write the student for transformers and others",
    )


def _grpo(options: GRPOOptions, context: BuildContext) -> Stage:
    """The stage `grpo`; a loss that does not go together with the rest of its objective is found here."""
    from mentor_kit.hooks.objectives import build_objective
    from mentor_kit.stages.grpo import GRPOStage

    build_objective(options.objective, context)
    return GRPOStage(options)


@hookimpl
def register_losses(register: Register) -> None:
    """PPO, GSPO, CISPO, REINFORCE and maximum likelihood."""
    from mentor_kit.rl.losses.cispo import CISPO, CISPOOptions
    from mentor_kit.rl.losses.gspo import GSPO, GSPOOptions
    from mentor_kit.rl.losses.likelihood import Likelihood
    from mentor_kit.rl.losses.ppo import PPO, PPOOptions
    from mentor_kit.rl.losses.reinforce import Reinforce

    register(
        "ppo",
        options=PPOOptions,
        build=lambda options, _: PPO(options),
        summary="the clipped surrogate of each token's ratio",
    )
    register(
        "gspo",
        options=GSPOOptions,
        build=lambda options, _: GSPO(options),
        summary="the clipped surrogate of one ratio a sequence",
    )
    register(
        "cispo",
        options=CISPOOptions,
        build=lambda options, _: CISPO(options),
        summary="REINFORCE weighed by a capped ratio without gradient",
    )
    register("reinforce", build=lambda *_: Reinforce(), summary="log-probabilities weighed by advantages")
    register("likelihood", build=lambda *_: Likelihood(), summary="maximum likelihood, whatever the advantages")


@hookimpl
def register_advantages(register: Register) -> None:
    """Baselines of the group and of the step."""
    from mentor_kit.rl.advantages.batch_mean_std import BatchMeanStd
    from mentor_kit.rl.advantages.group_mean import GroupMean
    from mentor_kit.rl.advantages.group_mean_std import GroupMeanStd
    from mentor_kit.rl.advantages.leave_one_out import LeaveOneOut

    register(
        "group_mean_std",
        build=lambda *_: GroupMeanStd(),
        summary="the reward less its group's mean, in standard deviations of the group (GRPO)",
    )
    register("group_mean", build=lambda *_: GroupMean(), summary="the reward less its group's mean (Dr. GRPO)")
    register(
        "leave_one_out",
        build=lambda *_: LeaveOneOut(),
        summary="the reward less the mean of the others in its group (RLOO)",
    )
    register(
        "batch_mean_std",
        build=lambda *_: BatchMeanStd(),
        summary="the reward less the step's mean, in standard deviations of the step (REINFORCE++)",
    )


@hookimpl
def register_families(register: Register) -> None:
    """The families of `mentor_kit.chat.families.BUILT_IN`, in their order."""
    from mentor_kit.chat.families import BUILT_IN, Family

    def builder(family: Family) -> Callable[..., Family]:
        return lambda options, context: family

    for family in BUILT_IN:
        register(family.name, build=builder(family), summary=family.models)
