"""Reward terms and presets: the reward of MENTOR (arXiv 2510.18383), its ablations, and the sparse baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.hooks import Register


@hookimpl
def register_reward_terms(register: Register) -> None:
    """Gates and terms; each is in `terms.py`."""
    from mentor_kit_rewards import terms

    register("ended", build=lambda _, __: terms.Ended(), summary="the assistant finished by itself")
    register("answered", build=lambda _, __: terms.Answered(), summary="there is one answer, and it is not empty")
    register("correct", build=lambda _, __: terms.Correct(), summary="the final answer is right (R1)")
    register(
        "tool-match",
        options=terms.ToolUseOptions,
        build=lambda options, _: terms.ToolMatch(options),
        summary="the set of tools used is the teacher's (R2)",
    )
    register(
        "tool-overlap",
        options=terms.ToolUseOptions,
        build=lambda options, _: terms.ToolOverlap(options),
        summary="the sets of tools used by student and teacher overlap",
    )
    register(
        "tool-f1",
        options=terms.ToolUseOptions,
        build=lambda options, _: terms.ToolF1(options),
        summary="F1 of the sets of tools used by student and teacher",
    )
    register("known-tools", build=lambda _, __: terms.KnownTools(), summary="no call names an unknown tool (R3)")


@hookimpl
def register_rewards(register: Register) -> None:
    """Presets; each is in `presets.py`."""
    from mentor_kit_rewards import presets

    register("mentor", build=lambda _, __: presets.mentor(), summary="MENTOR's reward, at most 1.1")
    register("sparse", build=lambda _, __: presets.sparse(), summary="1 for a right answer, 0.1 for a wrong one")
    register("mentor-overlap", build=lambda _, __: presets.mentor_overlap(), summary="R2 pays any overlap; no R3")
    register("mentor-no-match", build=lambda _, __: presets.mentor_no_match(), summary="R1 and R3 only")
    register("mentor-f1", build=lambda _, __: presets.mentor_f1(), summary="R2 is the F1 of the two sets of tools")
