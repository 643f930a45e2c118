"""The registry of plugins' components by kind and name; it checks component specs and builds objects from them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args

from pydantic import BaseModel, ConfigDict

from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.component import ComponentSpec, Kind
from mentor_kit.core.data_format import DataFormat
from mentor_kit.core.errors import MentorKitError, MissingError, PluginError, RecipeError, did_you_mean, disk_error
from mentor_kit.core.explanation import shown
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.task import Task
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.hooks.options import validated
from mentor_kit.hooks.plugins import Plugins
from mentor_kit.hooks.strictness import default_faults
from mentor_kit.hooks.tracker import Tracker
from mentor_kit.rl.advantages.estimator import AdvantageEstimator
from mentor_kit.rl.losses.loss import Loss
from mentor_kit.rl.reward import RewardSpec, Term

if TYPE_CHECKING:
    from pluggy import HookImpl

KINDS: tuple[Kind, ...] = get_args(Kind)


#: The base class of what components of a kind build; those of later layers are given to `Registry.build`.
BASES: dict[Kind, type] = {
    "tasks": Task,
    "teachers": Teacher,
    "reward_terms": Term,
    "rewards": RewardSpec,
    "losses": Loss,
    "advantages": AdvantageEstimator,
    "trackers": Tracker,
    "formats": DataFormat,
}


class NoOptions(OptionModel):
    """The options of a component that has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class BuildContext:
    """The arguments of a component's `build` besides its options.

    Fields are None until that entry of the recipe is built.

    Built in this order: task, tools, teacher, reward, stages.
    """

    registry: Registry
    seed: int = 0
    recipe_folder: Path = field(default_factory=Path.cwd)
    """Relative paths in options are relative to this."""
    task: Task | None = None
    toolbox: Toolbox | None = None
    limits: EpisodeLimits = field(default_factory=EpisodeLimits)

    def need_task(self) -> Task:
        """Return the task; raises `PluginError` if it is not built yet."""
        if self.task is None:
            raise PluginError("this component needs the recipe's task, and none is built yet")
        return self.task

    def need_toolbox(self) -> Toolbox:
        """Return the tools; raises `PluginError` if they are not built yet."""
        if self.toolbox is None:
            raise PluginError("this component needs the recipe's tools, and none are built yet")
        return self.toolbox


Build = Callable[[Any, BuildContext], Any]

#: Returns the faults of options on this machine: places inside the options, each with a message.
Look = Callable[[Any, BuildContext], Iterable[tuple[tuple[str | int, ...], str]]]


@dataclass(frozen=True)
class Component:
    """A component that a plugin registered."""

    kind: Kind
    name: str
    owner: str
    """The plugin's name."""
    build: Build
    options: type[BaseModel] = NoOptions
    summary: str = ""
    available: Callable[[], str] | None = None
    look: Look | None = None

    def unavailable(self) -> str:
        """Return why the component cannot be used on this machine; empty if it can."""
        try:
            return self.available() if self.available is not None else ""
        except Exception as error:  # noqa: BLE001 (a plugin's fault must stay its own)
            return f"the check of plugin {self.owner!r} failed: {type(error).__name__}: {error}"


class Register(Protocol):
    """The function that `register_<kind>` hooks get; see `mentor_kit.hooks.specs`."""

    def __call__(
        self,
        name: str,
        *,
        build: Build,
        options: type[BaseModel] | None = None,
        summary: str = "",
        available: Callable[[], str] | None = None,
        look: Look | None = None,
    ) -> None: ...


class ComponentError(RecipeError):
    """A component spec has an unknown name or invalid options; `faults` has places in the spec, with messages."""

    def __init__(self, faults: list[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, place))}: {text}" for place, text in faults))
        self.faults = faults


class Registry:
    """Components of all plugins by kind and name.

    A kind's hooks are called when first needed, each plugin in isolation.
    """

    def __init__(self, plugins: Plugins) -> None:
        self.plugins = plugins
        self.faults: list[tuple[str, str]] = []
        """(plugin, what went wrong) for hooks that failed while registering."""
        self._components: dict[Kind, dict[str, Component]] = {}
        self._all: dict[Kind, list[Component]] = {}
        """Every component that was registered, those whose names clash too."""
        self._built: dict[int, tuple[weakref.ref[Any], Component, ComponentSpec]] = {}
        """What was built and is still there, by identity."""
        self._whole: set[type[BaseModel]] = set()
        """Options whose defaults were looked at."""

    def components(self, kind: Kind) -> Mapping[str, Component]:
        """The components of a kind by name, sorted; those whose names clash are listed under their first owner."""
        if kind not in self._components:
            self._all[kind] = []
            caller = getattr(self.plugins.manager.hook, f"register_{kind}")
            # those that come with mentor-kit are the first owners of their names
            for implementation in sorted(
                caller.get_hookimpls(), key=lambda found: (not self.is_built_in(found.plugin_name), found.plugin_name)
            ):
                self._ask(kind, implementation)
            first = {component.name: component for component in reversed(self._all[kind])}
            self._components[kind] = dict(sorted(first.items()))
        return self._components[kind]

    def in_order(self, kind: Kind) -> Sequence[Component]:
        """The components of a kind in the order in which they were registered, those of built-in plugins first."""
        return tuple(self._all_of(kind))

    def clashes(self, kind: Kind) -> dict[str, set[str]]:
        """Names of a kind that were registered several times, with the plugins that did."""
        names = [component.name for component in self._all_of(kind)]
        twice = {name for name in names if names.count(name) > 1}
        return {name: {component.owner for component in self._named(kind, name)} for name in twice}

    def has(self, kind: Kind, name: str) -> bool:
        """Whether there is a component of that name."""
        return bool(self._named(kind, name))

    def component(self, kind: Kind, name: str) -> Component:
        """The component of that name; `plugin:name` says whose it is.

        Raises:
            ComponentError: there is none; the message lists failed plugins that might have had it.
            PluginError: two plugins register the name, and it does not say which is meant.
        """
        found = self._named(kind, name)
        if not found:
            raise ComponentError([(("use",), self._unknown(kind, name))])
        if len(found) == 1:
            return found[0]
        first, second, *_ = found
        if first.owner == second.owner:
            raise PluginError(f"{noun(kind)} {first.name!r} is registered twice by the plugin {first.owner!r}")
        raise PluginError(
            f"{noun(kind)} {name!r} is registered by two plugins: {first.owner!r} and {second.owner!r}",
            hint=f"say which is meant: `use: {first.owner}:{name}` or `use: {second.owner}:{name}`; "
            f"or leave one out: MENTORKIT_DISABLE_PLUGINS={second.owner}",
        )

    def _named(self, kind: Kind, name: str) -> list[Component]:
        owner, colon, bare = name.rpartition(":")
        return [
            component
            for component in self._all_of(kind)
            if component.name == bare and (not colon or component.owner == owner)
        ]

    def _all_of(self, kind: Kind) -> list[Component]:
        self.components(kind)
        return self._all[kind]

    def check(self, kind: Kind, spec: ComponentSpec) -> BaseModel:
        """Return the spec's validated options; nothing is built or imported.

        Raises:
            ComponentError: the name is unknown or an option is wrong.
            PluginError: the component's own defaults are invalid.
        """
        component = self.component(kind, spec.use)
        options, found = validated(component.options, spec.options)
        if options is None or found:
            raise ComponentError([(("with", *place), text) for place, text in found])
        self._check_defaults(component)
        return options

    def look(self, kind: Kind, spec: ComponentSpec, context: BuildContext) -> None:
        """Check what a spec's options refer to on this machine, such as files and modules; nothing is built.

        A component that cannot be used on this machine is not looked at: that is said when it is built.

        Raises:
            ComponentError: an option names something that is not there, or not of the right form.
            PluginError: the plugin's own look failed.
        """
        options = self.check(kind, spec)
        component = self.component(kind, spec.use)
        if component.look is None or component.unavailable():
            return
        try:
            found = [(("with", *place), text) for place, text in component.look(options, context)]
        except MentorKitError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise PluginError(
                f"plugin {component.owner!r} could not look at {noun(kind)} {spec.use!r}: {reason}"
            ) from error
        if found:
            raise ComponentError(found)

    def build(self, kind: Kind, spec: ComponentSpec, context: BuildContext, base: type = object) -> Any:
        """Return the object that a spec describes.

        Args:
            kind: of the component.
            spec: its name and options.
            context: for its `build`.
            base: the base class of what it builds, for kinds that are not in `BASES`.

        Raises:
            ComponentError: the name is unknown or an option is wrong.
            MissingError: the component cannot be used on this machine.
            PluginError: the plugin could not build it, for a reason of its own, or built something else.
        """
        options = self.check(kind, spec)
        component = self.component(kind, spec.use)
        if reason := component.unavailable():
            problem, _, hint = reason.partition("\n")
            raise MissingError(f"{noun(kind)} {spec.use!r} cannot be used here: {problem}", hint=hint or None)
        try:
            built = component.build(options, context)
        except MentorKitError:
            raise
        except Exception as error:
            if (disk := disk_error(error)) is not None:
                raise disk from error
            reason = f"{type(error).__name__}: {error}"
            raise PluginError(
                f"plugin {component.owner!r} could not build the {noun(kind)} {spec.use!r}: {reason}",
                hint="this is a fault of the plugin, or of a package it needs",
            ) from error
        base = BASES.get(kind, base)
        if not isinstance(built, base):
            raise PluginError(
                f"plugin {component.owner!r} built {shown(built)} for the {noun(kind)} {component.name!r}: "
                f"expected a `{base.__module__}.{base.__name__}`",
                hint=f"derive its class from `{base.__name__}`; this is a fault of the plugin",
            )
        self._remember(built, component, spec)
        return built

    def origin_of(self, built: Any) -> tuple[Component, ComponentSpec] | None:
        """Return the component that built an object, and its spec; None if this registry did not build it."""
        reference, component, spec = self._built.get(id(built), (None, None, None))
        return (component, spec) if reference is not None and reference() is built and component and spec else None

    def only_component_of(self, owner: str) -> tuple[Component, ComponentSpec] | None:
        """Return the plugin's component in use and its spec, if there is exactly one."""
        found = [
            (component, spec)
            for reference, component, spec in list(self._built.values())
            if component.owner == owner and reference()
        ]
        return found[0] if len(found) == 1 else None

    def is_built_in(self, owner: str) -> bool:
        """Whether a plugin comes with mentor-kit."""
        return any(info.name == owner and info.is_built_in for info in self.plugins.found)

    def _remember(self, built: Any, component: Component, spec: ComponentSpec) -> None:
        key = id(built)
        try:
            # a weak reference: models and connections must not live longer for this
            self._built[key] = (weakref.ref(built, lambda _: self._built.pop(key, None)), component, spec)
        except TypeError:
            self._built.pop(key, None)

    def _check_defaults(self, component: Component) -> None:
        """Raises `PluginError` for a default that the option itself would refuse; each component is looked at once."""
        if component.options in self._whole:
            return
        for place, text in default_faults(component.options):
            raise PluginError(
                f"plugin {component.owner!r}: {noun(component.kind)} {component.name!r}, option {place[-1]!r}: {text}",
                hint="this is a fault of the plugin",
            )
        self._whole.add(component.options)

    def _ask(self, kind: Kind, implementation: HookImpl) -> None:
        owner = implementation.plugin_name

        def register(
            name: str,
            *,
            build: Build,
            options: type[BaseModel] | None = None,
            summary: str = "",
            available: Callable[[], str] | None = None,
            look: Look | None = None,
        ) -> None:
            _check_component(name, build, options)
            self._all[kind].append(Component(kind, name, owner, build, options or NoOptions, summary, available, look))

        try:
            implementation.function(register)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 (a plugin's fault must stay its own)
            self.faults.append((owner, f"register_{kind} failed: {type(error).__name__}: {error}"))

    def _unknown(self, kind: Kind, name: str) -> str:
        text = f"no {noun(kind)} is called {name!r}{did_you_mean(name, self.components(kind))}; "
        text += f"`mentorkit plugins {kind}` lists them"
        broken = [info.name for info in self.plugins.failed] + [owner for owner, _ in self.faults]
        if broken:
            text += f" (these plugins failed, and may have had it: {', '.join(sorted(set(broken)))})"
        if disabled := [info.name for info in self.plugins.found if info.state == "disabled"]:
            text += f" (these plugins are disabled, and may have it: {', '.join(sorted(disabled))})"
        return text


def _check_component(name: Any, build: Any, options: Any) -> None:
    """Raises `PluginError` for what could only fail later, far from the plugin."""
    if not isinstance(name, str) or not name or ":" in name:
        raise PluginError(f"a component cannot be called {name!r}; expected a name without ':'")
    if not callable(build):
        raise PluginError(f"component {name!r}: build is {build!r}, not a function of options and context")
    if options is not None and not (isinstance(options, type) and issubclass(options, BaseModel)):
        raise PluginError(f"component {name!r}: options is {options!r}, not a pydantic model")


def noun(kind: Kind) -> str:
    """Return the name of a kind in messages, singular."""
    return _NOUNS.get(kind) or kind.removesuffix("s").replace("_", " ")


#: Of the kinds whose name is no noun's plural in -s.
_NOUNS: dict[Kind, str] = {
    "losses": "loss",
    "advantages": "advantage estimator",
    "families": "family",
    "formats": "data format",
}
