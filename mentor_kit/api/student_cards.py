"""Gives the students that an experiment exports a card."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mentor_kit.backend.base_model import hub_model
from mentor_kit.backend.export_format import takes_pictures
from mentor_kit.backend.quantization_cost import read_cost
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import UsageError, did_you_mean
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.assembly import Components, reward_spec, student_spec
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.workloads import workloads_if_known
from mentor_kit.report.arms import plan_of
from mentor_kit.report.model_card import Benchmark
from mentor_kit.rl.reward import RewardSpec
from mentor_kit.runs import Checkpoint, Run
from mentor_kit.stages import Experiment
from mentor_kit.stages.workload import UNKNOWN

_log = logging.getLogger("mentor_kit")
#: Problems whose tools are looked at: those of a mixed task may offer different ones.
_LOOKED_AT = 16
#: https://huggingface.co/docs/hub/repositories-licenses
_LICENSE = re.compile(r"[a-z0-9]+([.+-][a-z0-9]+)*")


@dataclass(frozen=True)
class CardOptions:
    """What a card says beside what is known from the run."""

    name: str | None = None
    """The student's hub id, where it gets one."""
    license: str | None = None
    """The hub's identifier of a licence."""
    benchmarks: Mapping[str, Benchmark] = field(default_factory=dict)
    """The benchmarks on the hub that evaluations are of, by their plans' names."""
    chosen_by: str | None = None
    """The metric by which the checkpoint was chosen among others."""

    def __post_init__(self) -> None:
        if self.license is not None and not _LICENSE.fullmatch(self.license):
            raise UsageError(
                f"license: {self.license!r} is no identifier of a licence on the hub",
                hint="such as apache-2.0, mit, cc-by-4.0, llama3.2, or other",
            )


def benchmarks_of(run: Run, named: Mapping[str, str]) -> dict[str, Benchmark]:
    """The benchmarks of a run's evaluations, from `owner/dataset:task` by their plans' names.

    Raises:
        UsageError: the run has no such evaluation, or a benchmark has another form.
    """
    known = {plan_of(report) for report in run.evaluations}
    for plan in named:
        if plan not in known:
            raise UsageError(
                f"benchmarks: the run has no evaluation {plan!r}{did_you_mean(plan, known)}",
                hint=f"its evaluations are: {', '.join(sorted(known)) or 'none'}",
            )
    return {plan: Benchmark.parse(text) for plan, text in named.items()}


def card_writer(
    experiment: Experiment,
    loaded: LoadedRecipe,
    components: Components,
    registry: Registry,
    run: Run,
    *,
    checkpoint: Checkpoint | None = None,
    options: CardOptions = CardOptions(),
) -> Callable[[Path, str], None]:
    """A function that writes the card of an exported student, for `Experiment.describe_export`.

    A student is exported without a card, with a warning, where the card cannot be written.

    Args:
        experiment: with its student loaded.
        loaded: the run's recipe.
        components: the recipe's.
        registry: the plugins.
        run: the run.
        checkpoint: the checkpoint that is exported; the weights as they are if left out.
        options: what else a card says.
    """

    def describe(folder: Path, format: str) -> None:
        try:
            _write(folder, format)
        except ImportError:
            _log.warning("%s has no card: huggingface_hub is not installed", folder.name)
        except Exception as error:  # noqa: BLE001 (no fault of a card makes a run lose its student)
            _log.warning("%s has no card: %s", folder.name, error or type(error).__name__)

    def _write(folder: Path, format: str) -> None:
        from mentor_kit.chat.serving import served_export, serving_commands
        from mentor_kit.report.model_card import PLACEHOLDER, student_card, write_card, write_eval_results

        student = student_spec(loaded, registry, components.context)
        base, name = hub_model(student), options.name or PLACEHOLDER
        served = served_export(folder, format, place=name, base=None if base is None else base.id)
        card = student_card(
            run,
            student,
            format=format,
            tools=_tool_names(experiment),
            family=None if experiment.format.family is None else experiment.format.family.name,
            reward=_reward(loaded, registry, components),
            serving=serving_commands(served, experiment.format),
            name=name,
            at=None if checkpoint is None else (checkpoint.stage, checkpoint.step),
            chosen_by=options.chosen_by,
            quantization=read_cost(folder),
        )
        card = replace(card, takes_pictures=takes_pictures(folder))
        write_card(folder, card, license=options.license)
        write_eval_results(folder, card, options.benchmarks)

    return describe


def _reward(loaded: LoadedRecipe, registry: Registry, components: Components) -> RewardSpec | None:
    """The reward, if a stage learns from it or may do so."""
    reward: ComponentSpec | RewardSpec | None = loaded.recipe.reward
    learned = (
        work.reward or work is UNKNOWN for work in workloads_if_known(loaded.recipe, registry, components.context)
    )
    return None if reward is None or not any(learned) else reward_spec(reward, registry, components.context)


def _tool_names(experiment: Experiment) -> list[str]:
    """The tools of the recipe with which it trains; none where every problem brings its own."""
    names: dict[str, None] = {}
    for problem in experiment.problems(experiment.task.splits[0], experiment.seed, _LOOKED_AT):
        own = {tool.name for tool in problem.tools if not tool.bound}
        names |= dict.fromkeys(name for name in experiment.toolbox.tools(problem) if name not in own)
    return list(names)
