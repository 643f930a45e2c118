"""Reward terms, and presets of them: the reward of MENTOR (arXiv 2510.18383), its ablations, the sparse baseline."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.hooks import BuildContext, Register
    from mentor_kit.rl.reward import Term
    from mentor_kit_rewards.arguments import ToolArgumentsOptions
    from mentor_kit_rewards.judge import JudgeOptions


@hookimpl
def register_reward_terms(register: Register) -> None:
    """Gates and terms: about a trajectory alone, beside the teacher's, about its shape, and a judge's."""
    _register_terms(register)
    _register_comparisons(register)
    _register_shapes(register)


@hookimpl
def register_rewards(register: Register) -> None:
    """Presets; each is in `presets.py`."""
    from mentor_kit_rewards import presets

    mentor, sparse = presets.MentorOptions, presets.SparseOptions
    register("mentor", options=mentor, build=lambda o, _: presets.mentor(o), summary="MENTOR's reward, at most 1.1")
    register(
        "sparse",
        options=sparse,
        build=lambda o, _: presets.sparse(o),
        summary="1 for a right answer, 0.1 for a wrong one",
    )
    register(
        "mentor-overlap",
        options=presets.OverlapOptions,
        build=lambda o, _: presets.mentor_overlap(o),
        summary="R2 pays any overlap; no R3",
    )
    register("mentor-no-match", options=mentor, build=lambda o, _: presets.mentor_no_match(o), summary="R1 and R3 only")
    register(
        "mentor-f1",
        options=mentor,
        build=lambda o, _: presets.mentor_f1(o),
        summary="R2 is the F1 of the two sets of tools",
    )


def _register_terms(register: Register) -> None:
    from mentor_kit_rewards import terms

    register("ended", build=lambda _, __: terms.Ended(), summary="the assistant finished by itself")
    register("answered", build=lambda _, __: terms.Answered(), summary="there is one answer, and it is not empty")
    register("correct", build=lambda _, __: terms.Correct(), summary="the final answer is right (R1)")
    register("known-tools", build=lambda _, __: terms.KnownTools(), summary="no call names an unknown tool (R3)")
    register(
        "clean-calls",
        options=terms.CleanCallsOptions,
        build=lambda options, _: terms.CleanCalls(options),
        summary="no call is malformed, of an unknown tool, with invalid arguments, or failed",
    )


def _register_comparisons(register: Register) -> None:
    from mentor_kit_rewards import comparison
    from mentor_kit_rewards.arguments import ToolArgumentsOptions

    compared = {
        "tool-match": (comparison.ToolMatch, "the set of tools used is the teacher's (R2)"),
        "tool-overlap": (comparison.ToolOverlap, "the sets of tools used by student and teacher overlap"),
        "tool-f1": (comparison.ToolF1, "F1 of the sets of tools used by student and teacher"),
        "tool-multiset-f1": (comparison.ToolMultisetF1, "the same of the multisets: how often each was used counts"),
        "tool-order": (comparison.ToolOrder, "longest common subsequence of the tools used"),
    }
    for name, (term, summary) in compared.items():
        register(name, options=comparison.ToolUseOptions, build=_options_alone(term), summary=summary)
    register(
        "tool-arguments",
        options=ToolArgumentsOptions,
        build=_tool_arguments,
        summary="how well calls agree with the teacher's, by tool, argument names and values",
    )


def _register_shapes(register: Register) -> None:
    from mentor_kit_rewards import shape
    from mentor_kit_rewards.judge import JudgeOptions

    register(
        "call-economy",
        options=shape.CallEconomyOptions,
        build=lambda options, _: shape.CallEconomy(options),
        summary="no more calls than the teacher made",
    )
    register(
        "format",
        options=shape.FormatOptions,
        build=lambda options, context: shape.Format(options, context.registry),
        summary="every turn is orderly: reasoning, words and calls as they should be, no stray marks",
    )
    register(
        "length",
        options=shape.LengthOptions,
        build=lambda options, _: shape.Length(options),
        summary="1 up to so many tokens, then falling to 0",
    )
    register("judge", options=JudgeOptions, build=_judge, summary="a teacher's model scores by a rubric")


def _options_alone(term: Callable[[Any], Term]) -> Callable[[Any, BuildContext], Term]:
    """A `build` that needs no context."""
    return lambda options, _: term(options)


def _tool_arguments(options: ToolArgumentsOptions, context: BuildContext) -> Term:
    from mentor_kit_rewards.arguments import ToolArguments

    return ToolArguments(options, context.toolbox)


def _judge(options: JudgeOptions, context: BuildContext) -> Term:
    from mentor_kit_rewards.judge import judge

    return judge(options, context)
