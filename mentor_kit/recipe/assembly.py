"""From a checked recipe to an experiment: its components are built in the order in which one needs another.

task, tools ──> teacher, reward                  (light: no model yet)
student ──> tokenizer and chat format ──> policy, with its sampler
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mentor_kit.backend.memory_plan import gib
from mentor_kit.backend.policy import Backend, Policy
from mentor_kit.backend.sampling_service import SamplingService
from mentor_kit.backend.served_policy import serve as serve_policy
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.chat import ChatFormat, load_chat_format
from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import BackendError, MissingError, PluginError, UsageError, did_you_mean
from mentor_kit.core.task import Task
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.toolbox import FunctionTools, Toolbox, ToolClash, ToolSource
from mentor_kit.hooks.objectives import build_objective
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.recipe.faults import RecipeFaults, faults_at
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.memory_shares import Guest, guests_of, set_aside
from mentor_kit.recipe.model import Recipe
from mentor_kit.recipe.other_formats import backend_writing
from mentor_kit.recipe.source import Path_
from mentor_kit.recipe.splits import split_faults
from mentor_kit.rl.reward import CONSTANT, Gate, Reward, RewardSpec, WeightedTerm
from mentor_kit.rollout import Sampling
from mentor_kit.stages import Experiment, LoadedStudent
from mentor_kit.stages.workload import Workload
from mentor_kit.utils.paths import expanded_path

logger = logging.getLogger("mentor_kit")


@dataclass(frozen=True)
class Components:
    """The components of a recipe that need no model."""

    task: Task
    toolbox: Toolbox
    teacher: Teacher | None
    reward: Reward | None
    limits: EpisodeLimits
    context: BuildContext
    built_teachers: dict[str, Teacher] = field(default_factory=dict)
    """The recipe's, and those that stages and evaluations name in their own options, by their specs in JSON."""
    services: list[SamplingService] = field(default_factory=list)
    """What samples for the student in the place of its backend's engine."""

    def close(self) -> None:
        """Free what tools, task, teachers and samplers hold, such as worker processes, when the run is over."""
        with ExitStack() as closing:
            teachers = {id(teacher): teacher for teacher in (self.teacher, *self.built_teachers.values())}
            for component in (self.task, self.toolbox, *teachers.values(), *self.services):
                if component is not None:
                    closing.callback(component.close)

    def guests(self, recipe: Recipe, works: Mapping[str, Workload], registry: Registry) -> list[Guest]:
        """The components with models of their own that stages with these workloads use."""
        return guests_of(recipe, self.teacher, self.reward, works, lambda spec: self.build_teacher(spec, registry))

    def build_teacher(self, spec: ComponentSpec, registry: Registry) -> Teacher:
        """A teacher that a stage's own options name, one for all that name the same; it is closed with the others."""
        key = spec.to_json()
        if key not in self.built_teachers:
            self.built_teachers[key] = registry.build("teachers", spec, self.context)
        return self.built_teachers[key]


def assemble(
    loaded: LoadedRecipe,
    registry: Registry,
    components: Components | None = None,
    works: Mapping[str, Workload] | None = None,
) -> Experiment:
    """The experiment that a recipe describes, its student loaded.

    Args:
        loaded: the recipe.
        registry: the plugins to use.
        components: those that need no model, where they are built already.
        works: the workload of each of the recipe's stages, also of those that are done; memory is set aside for the
            models that they use beside the student.

    Raises:
        MentorKitError: a component cannot be built here; the message names it.
    """
    recipe = loaded.recipe
    components = components or assemble_components(loaded, registry)
    student = student_spec(loaded, registry, components.context)
    chat_format = student_format(loaded, registry, student)
    backend = backend_of(recipe, registry, components.context)
    guests = components.guests(recipe, works or {}, registry)
    if guests and works:
        backend = _beside_guests(guests, recipe, works, backend, student)
    policy = backend.load(student, recipe.seed)
    if recipe.student.checkpoint is not None:
        policy.restore(loaded.folder / expanded_path(recipe.student.checkpoint) / "policy")
    policy = _served(recipe, registry, components, policy, student)
    context = components.context
    held = LoadedStudent(
        policy,
        chat_format,
        backend.export_formats,
        student,
        lambda wanted: backend_writing(wanted, backend, registry, context),
    )
    return _experiment(loaded, registry, components, held)


def _beside_guests(
    guests: Sequence[Guest], recipe: Recipe, works: Mapping[str, Workload], backend: Backend, student: StudentSpec
) -> Backend:
    """The student's backend with memory set aside for other models on its device, which are held to it.

    Raises:
        BackendError: what is left is too little for the student, or what another model may take is for its weights.
    """
    shares = set_aside(guests, recipe, works, backend, student, backend.usable_memory())
    if shares.short:
        raise BackendError(
            shares.short[0], hint="raise the `memory` in the options of its own backend, or leave it out"
        )
    if shares.left is not None and shares.left < shares.held and backend.memory_limit() is None:
        raise BackendError(
            f"{student.model} does not fit beside other models: it takes {gib(shares.held)} at least, and "
            f"{gib(shares.left)} are left by what is set aside ({shares.text()})",
            hint="train an adapter, take smaller models, or name another device or a `memory` in the options of the "
            "other model's backend",
        )
    shares.hold()
    for note in shares.notes:
        logger.info(note)
    if not shares.total or shares.left is None or backend.memory_limit() is not None:
        return backend
    return backend.held_to(shares.left)


def _served(recipe: Recipe, registry: Registry, components: Components, policy: Policy, student: StudentSpec) -> Policy:
    """The policy with the recipe's sampler, where it has one."""
    if recipe.sampler is None:
        return policy
    service: SamplingService = registry.build("samplers", recipe.sampler, components.context, base=SamplingService)
    components.services.append(service)
    return serve_policy(policy, service, student, recipe.sampler.use)


def assemble_without_student(loaded: LoadedRecipe, registry: Registry, components: Components) -> Experiment:
    """The experiment of stages that do not use the student: no model and no tokenizer is loaded."""
    return _experiment(loaded, registry, components, None)


def _experiment(
    loaded: LoadedRecipe, registry: Registry, components: Components, student: LoadedStudent | None
) -> Experiment:
    recipe = loaded.recipe
    return Experiment(
        name=recipe.name,
        seed=recipe.seed,
        student=student,
        task=components.task,
        toolbox=components.toolbox,
        limits=components.limits,
        sampling=sampling_of(recipe),
        evaluation=recipe.evaluate,
        teacher=components.teacher,
        reward=components.reward,
        deterministic=student is not None and _deterministic(recipe, student.policy.info.device),
        staleness=recipe.rollout.staleness,
        system=recipe.rollout.system or "",
        build_teacher=lambda spec: components.build_teacher(spec, registry),
        build_evaluation=lambda spec: registry.build("evaluations", spec, components.context),
        build_objective=lambda spec: build_objective(spec, components.context),
    )


def assemble_components(loaded: LoadedRecipe, registry: Registry) -> Components:
    """The components that need no model, for collecting, dry runs and `assemble`.

    Raises:
        RecipeError: the recipe names a split that its task does not have.
        MentorKitError: a component cannot be built here; the message names it.
    """
    recipe = loaded.recipe
    limits = EpisodeLimits(
        max_turns=recipe.rollout.max_turns,
        max_turn_tokens=recipe.rollout.max_turn_tokens,
        max_response_tokens=recipe.rollout.max_response_tokens,
        max_result_tokens=recipe.rollout.max_result_tokens,
    )
    context = BuildContext(registry=registry, seed=recipe.seed, recipe_folder=loaded.folder, limits=limits)
    context = replace(context, task=registry.build("tasks", recipe.task, context))
    if faults := split_faults(loaded, registry, tuple(context.need_task().splits)):
        raise RecipeFaults(faults)
    sources = [tool_source(registry.build("tools", spec, context), spec.use) for spec in recipe.tools]
    toolbox = Toolbox(sources, [f"tools.{index} ({spec.use})" for index, spec in enumerate(recipe.tools)])
    try:
        _check_tools(loaded, context.need_task(), toolbox)
    except BaseException:
        toolbox.close()
        raise
    context = replace(context, toolbox=toolbox)
    teacher = None if recipe.teacher is None else registry.build("teachers", recipe.teacher, context)
    reward = None if recipe.reward is None else build_reward(recipe.reward, registry, context)
    known = {} if teacher is None or recipe.teacher is None else {recipe.teacher.to_json(): teacher}
    return Components(context.need_task(), context.need_toolbox(), teacher, reward, limits, context, known)


def _check_tools(loaded: LoadedRecipe, task: Task, toolbox: Toolbox) -> None:
    """Make the tools of one problem, so that their faults are found before the first episode.

    Raises:
        RecipeError: two sources of the recipe have a tool of one name.
        PluginError: a source's tools cannot be used.
    """
    problems = task.problems(task.splits[0], loaded.recipe.seed, 1)
    try:
        for problem in problems:
            toolbox.tools(problem)
    except ToolClash as clash:
        place: Path_ = ("task",) if clash.source is None else ("tools", clash.source)
        raise RecipeFaults(faults_at(loaded.source, [(place, f"{clash.message}; {clash.hint}")])) from None


def tool_source(built: Any, name: str) -> ToolSource:
    """What a tools plugin built as a source: a list of functions and tools becomes one."""
    if isinstance(built, ToolSource):
        return built
    if isinstance(built, Sequence):
        return FunctionTools(built)
    raise PluginError(f"tools {name!r} built {built!r}; expected a ToolSource or a list of functions")


def reward_spec(reward: ComponentSpec | RewardSpec, registry: Registry, context: BuildContext) -> RewardSpec:
    """The gates and terms of a recipe's reward: those it lists, or those of its preset."""
    if isinstance(reward, RewardSpec):
        return reward
    spec: RewardSpec = registry.build("rewards", reward, context)
    return spec


def build_reward(reward: ComponentSpec | RewardSpec, registry: Registry, context: BuildContext) -> Reward:
    """The reward with all its terms built.

    Raises:
        PluginError: two terms, or two gates, have the same name.
    """
    spec = reward_spec(reward, registry, context)
    gates = tuple(
        Gate(gate.name or gate.use, registry.build("reward_terms", gate, context), gate.otherwise, gate.threshold)
        for gate in spec.gates
    )
    terms = tuple(
        WeightedTerm(
            name=term.name or term.use,
            term=registry.build("reward_terms", term, context),
            weight=term.weight,
            when_wrong=term.when_wrong,
            schedule=term.schedule or CONSTANT,
        )
        for term in spec.terms
    )
    for names in ([gate.name for gate in gates], [term.name for term in terms]):
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"the reward has two terms called {name!r}", hint="give one of them a `name:`")
    return Reward(gates, terms)


def student_spec(loaded: LoadedRecipe, registry: Registry, context: BuildContext) -> StudentSpec:
    """The student with its model found: a registered name, a folder, or a hub id.

    Raises:
        MissingError: it is none of the three.
    """
    student = loaded.recipe.student
    model = find_model(student.model, loaded.folder, registry, context)
    if student.adapter is None:
        return StudentSpec(model, student.revision)
    options = student.adapter.options
    adapter = AdapterSpec(
        rank=options.rank,
        alpha=options.alpha,
        dropout=options.dropout,
        targets=tuple(options.targets),
        path=None if options.path is None else loaded.folder / expanded_path(options.path),
    )
    return StudentSpec(model, student.revision, adapter)


def student_format(loaded: LoadedRecipe, registry: Registry, student: StudentSpec) -> ChatFormat:
    """The student's chat format; of the model only the tokenizer is loaded.

    Raises:
        MissingError: the tokenizer is not on this machine.
        ChatError: its chat template cannot be used.
    """
    options = loaded.recipe.student
    return load_chat_format(
        student.model,
        chat_template=options.chat_template,
        folder=loaded.folder,
        revision=student.revision,
        variables=options.template_variables,
        registry=registry,
    )


def find_model(
    name: str, folder: Path, registry: Registry, context: BuildContext, *, key: str = "student.model"
) -> str:
    """The folder or hub id of a model that a recipe names under `key`.

    Raises:
        MissingError: it is neither a registered name, nor a folder, nor a hub id.
    """
    students = registry.components("students")
    if registry.has("students", name):
        return str(registry.build("students", ComponentSpec(use=name), context))
    for place in (folder / name, Path(name)):
        if place.expanduser().is_dir():
            return str(place.expanduser().resolve())
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    known = ", ".join(students)
    raise MissingError(
        f"{key}: there is no student, and no folder, {name!r}{did_you_mean(name, students)}",
        hint=f"use a folder with a model in transformers' format, a hub id (owner/name), or one of: {known}",
    )


def backend_of(recipe: Recipe, registry: Registry, context: BuildContext) -> Backend:
    """The recipe's backend."""
    backend: Backend = registry.build("backends", recipe.backend, context, base=Backend)
    return backend


def serve(loaded: LoadedRecipe, registry: Registry) -> bool:
    """In a process that is not the first of several: work for the first one until it ends, and return True.

    Returns False at once in the first process, or in the only one. Of the recipe only the backend is built.
    """
    context = BuildContext(registry=registry, seed=loaded.recipe.seed, recipe_folder=loaded.folder)
    try:
        backend = backend_of(loaded.recipe, registry, context)
    except MissingError:
        # a recipe whose stages do not use the student runs without its backend; the others fail when they load it
        return False
    return backend.serve()


def sampling_of(recipe: Recipe) -> Sampling:
    """Temperature, top-p and top-k of training rollouts."""
    rollout = recipe.rollout
    return Sampling(temperature=rollout.temperature, top_p=rollout.top_p, top_k=rollout.top_k)


def _deterministic(recipe: Recipe, device: str) -> bool:
    """Whether rollouts are deterministic; `auto` means on CPU, where a batch always gives the same bits.

    Those of a sampler of its own are not.
    """
    if recipe.sampler is not None:
        return False
    wanted = recipe.rollout.deterministic
    return device.startswith("cpu") if wanted == "auto" else bool(wanted)
