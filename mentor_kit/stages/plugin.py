"""The built-in stages, registered as any plugin's are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.hooks import Register


@hookimpl
def register_stages(register: Register) -> None:
    """Collect, sft, grpo, evaluate and export."""
    from mentor_kit.stages.collect import CollectOptions, CollectStage
    from mentor_kit.stages.evaluate import EvaluateOptions, EvaluateStage
    from mentor_kit.stages.export import ExportOptions, ExportStage
    from mentor_kit.stages.grpo import GRPOOptions, GRPOStage
    from mentor_kit.stages.sft import SFTOptions, SFTStage

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
        build=lambda options, _: GRPOStage(options),
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
