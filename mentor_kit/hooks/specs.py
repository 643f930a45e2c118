"""The hooks a plugin may implement, all of them optional.

A plugin is a module with functions of these names, marked `@hookimpl`, and an entry point in the group
`mentorkit` that names the module. Built-in components come through the same hooks. `mentorkit new plugin` writes a
package with samples. A smallest plugin:

    from mentor_kit.hooks import hookimpl

    @hookimpl
    def register_tools(register):
        register("coin", build=lambda options, context: [flip])

    def flip() -> str:
        '''Flip a coin.'''
        return "heads"

Every `register_<kind>` hook gets a function

    register(name, *, build, options=None, summary="", available=None, look=None)

name:      the name in `use:`, without colons; where two plugins register the same name, a recipe says `plugin:name`.
build:     called as `build(options, context)` when a recipe uses the component; import heavy packages inside it.
options:   a pydantic model that checks the recipe's `with:` before anything heavy is imported; None for a component
           without options. Whatever the model accepts, these are faults: unknown keys, true and strings for numbers,
           numbers that are not finite or out of range, and a default of the wrong type.
summary:   one line for `mentorkit plugins`.
available: returns "" if the component can be used on this machine, or the reason and the command that changes it.
look:      called as `look(options, context)` by `mentorkit check` and before every run; gives what is wrong with what
           the options name, such as a file that is not there, as pairs of a place inside the options and a message.
           Must be quick and import nothing heavy; `mentor_kit.hooks.references` has the usual looks at files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from typer import Typer

    from mentor_kit.hooks.registry import Register

hookspec = pluggy.HookspecMarker("mentorkit")
hookimpl = pluggy.HookimplMarker("mentorkit")

#: A plugin may set `MENTORKIT_API = 1` in its module to say which version of these hooks it was written for.
API_VERSION = 1


@hookspec
def register_backends(register: Register) -> None:
    """Offer backends. `build` gives a `mentor_kit.backend.policy.Backend`, and imports as little as it can.

    Its optional methods give the formats that its policies export, its device's memory, and which of its options save
    memory: `check` and dry runs ask them before anything is loaded.
    """


@hookspec
def register_samplers(register: Register) -> None:
    """Offer samplers. `build` gives a `mentor_kit.backend.sampling_service.SamplingService`.

    It samples in the place of the backend's own engine, and is given the weights again after every update;
    `mentor_kit.testing.samplers.SamplerContract` checks one.
    """


@hookspec
def register_students(register: Register) -> None:
    """Offer named students. `build` gives the folder of a model in transformers' format, as a path."""


@hookspec
def register_tools(register: Register) -> None:
    """Offer tools. `build` returns a `mentor_kit.core.toolbox.ToolSource`, or a list of typed functions and `Tool`s.

    A source is closed when the run is over, however it ends; so is a task. With options that
    are `mentor_kit.core.options.ToolOptions`, two tools of one name are found by `mentorkit check`.
    """


@hookspec
def register_tasks(register: Register) -> None:
    """Offer tasks. `build` gives a `mentor_kit.core.task.Task`.

    With options that are `mentor_kit.core.options.TaskOptions`, a recipe that names a split that the task does not have
    is refused by `mentorkit check`; else when the run begins.
    """


@hookspec
def register_teachers(register: Register) -> None:
    """Offer teachers. `build` gives a `mentor_kit.core.teacher.Teacher`.

    One that can be distilled from is a `mentor_kit.stages.distillation.TokenTeacher`, too.
    """


@hookspec
def register_reward_terms(register: Register) -> None:
    """Offer reward terms. `build` gives a `mentor_kit.rl.reward.Term`."""


@hookspec
def register_rewards(register: Register) -> None:
    """Offer reward presets. `build` gives a `mentor_kit.rl.reward.RewardSpec`: data, so that it can be shown."""


@hookspec
def register_losses(register: Register) -> None:
    """Offer losses. `build` gives a `mentor_kit.rl.losses.loss.Loss`, which `objective.loss` of a stage names.

    `mentor_kit.testing.losses.LossContract` checks one against a loop twin and finite differences, on every backend.
    """


@hookspec
def register_advantages(register: Register) -> None:
    """Offer advantage estimators. `build` gives a `mentor_kit.rl.advantages.estimator.AdvantageEstimator`.

    `objective.advantage` of a stage names it; `mentor_kit.testing.advantages.AdvantageContract` checks one.
    """


@hookspec
def register_stages(register: Register) -> None:
    """Offer stages. `build` gives a `mentor_kit.stages.Stage`.

    One that overrides `workload` is counted in dry runs and memory estimates, and can be benchmarked and lengthened;
    where no stage uses the student, none is loaded.
    """


@hookspec
def register_evaluations(register: Register) -> None:
    """Offer evaluations. `build` gives a `mentor_kit.stages.Evaluation`."""


@hookspec
def register_families(register: Register) -> None:
    """Offer families of models, each with a parser of its calls. `build` returns a `mentor_kit.chat.families.Family`.

    A chat template's family is the first whose parser reads the template's calls back; those of other plugins are
    tried before the built-in ones.
    """


@hookspec
def register_formats(register: Register) -> None:
    """Offer formats of tool-use data. `build` gives a `mentor_kit.core.data_format.DataFormat`.

    It reads the rows of files and data sets as dialogues, writes them, or both. The task `conversations` finds the
    format of its files out among all that recognise their rows, those of other plugins before the built-in ones.
    """


@hookspec
def register_trackers(register: Register) -> None:
    """Offer trackers. `build` gives a `mentor_kit.hooks.Tracker`, which gets events, rollouts and evaluations."""


@hookspec
def register_engines(register: Register) -> None:
    """Offer training engines. `build` gives a `mentor_kit.recipe.engines.TrainingEngine`, and imports nothing heavy.

    No recipe names one: `mentorkit export-run RECIPE --engine NAME` writes the recipe's run for it.
    """


@hookspec
def register_recipes(register: Register) -> None:
    """Offer recipes. `build` gives the path of a recipe file; `mentorkit run NAME` finds it."""


@hookspec
def register_commands(app: Typer) -> None:
    """Add commands to `mentorkit`; import nothing heavy before a command runs."""


@hookspec
def doctor_checks() -> Sequence[tuple[str, bool, str]]:  # type: ignore[empty-body]
    """Checks for `mentorkit doctor`: what was checked, whether it is well, and a detail or a command that helps."""
