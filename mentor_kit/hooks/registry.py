"""What the plugins offer, by kind and name; and how a recipe's slot becomes an object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from mentor_kit.actor import EpisodeLimits
from mentor_kit.errors import MentorKitError, MissingError, PluginError, RecipeError, did_you_mean
from mentor_kit.hooks.loader import Plugins, load_plugins
from mentor_kit.hooks.strictness import default_faults, lenient_faults
from mentor_kit.slot import Kind, Slot
from mentor_kit.task import Task
from mentor_kit.tool import Toolbox

if TYPE_CHECKING:
    from pluggy import HookImpl

KINDS: tuple[Kind, ...] = get_args(Kind)


class NoOptions(BaseModel):
    """Of a part that takes none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class BuildContext:
    """What a part may know when it is built. Fields are None while that part of the recipe is not built yet.

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
        """The task, for parts that cannot do without."""
        if self.task is None:
            raise PluginError("this part needs the recipe's task, and none is built yet")
        return self.task

    def need_toolbox(self) -> Toolbox:
        """The tools, for parts that cannot do without."""
        if self.toolbox is None:
            raise PluginError("this part needs the recipe's tools, and none are built yet")
        return self.toolbox


Build = Callable[[Any, BuildContext], Any]

#: Options to what is wrong with them on this machine: places inside the options, each with a message.
Look = Callable[[Any, BuildContext], Iterable[tuple[tuple[str | int, ...], str]]]


@dataclass(frozen=True)
class Part:
    """Something a plugin registered."""

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
        """Why the part cannot be used on this machine; empty if it can."""
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


class SlotError(RecipeError):
    """A slot's name or options are wrong; `faults` has places, relative to the slot, with messages."""

    def __init__(self, faults: list[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, place))}: {text}" for place, text in faults))
        self.faults = faults


class Registry:
    """All parts by kind and name. Kinds are asked for when first needed, plugin by plugin, in isolation."""

    def __init__(self, plugins: Plugins) -> None:
        self.plugins = plugins
        self.faults: list[tuple[str, str]] = []
        """(plugin, what went wrong) for hooks that failed while registering."""
        self._parts: dict[Kind, dict[str, Part]] = {}
        self._clashes: dict[tuple[Kind, str], set[str]] = {}
        self._whole: set[type[BaseModel]] = set()
        """Options whose defaults were looked at."""

    def parts(self, kind: Kind) -> Mapping[str, Part]:
        """The parts of a kind by name, sorted; clashing names are listed under their first owner."""
        if kind not in self._parts:
            self._parts[kind] = {}
            caller = getattr(self.plugins.manager.hook, f"register_{kind}")
            for implementation in sorted(caller.get_hookimpls(), key=lambda found: str(found.plugin_name)):
                self._ask(kind, implementation)
            self._parts[kind] = dict(sorted(self._parts[kind].items()))
        return self._parts[kind]

    def clashes(self, kind: Kind) -> dict[str, set[str]]:
        """Names of a kind that several plugins registered, with the plugins."""
        self.parts(kind)
        return {name: owners for (of, name), owners in self._clashes.items() if of == kind}

    def part(self, kind: Kind, name: str) -> Part:
        """The part of that name.

        Raises:
            SlotError: there is none; the message lists failed plugins that might have had it.
            PluginError: two plugins register the name.
        """
        parts = self.parts(kind)
        if owners := self._clashes.get((kind, name)):
            first, *others = sorted(owners)
            if not others:
                raise PluginError(f"{_noun(kind)} {name!r} is registered twice by the plugin {first!r}")
            second = others[0]
            raise PluginError(
                f"{_noun(kind)} {name!r} is registered by two plugins: {first!r} and {second!r}",
                hint=f"disable one of them: MENTORKIT_DISABLE_PLUGINS={second}",
            )
        if name not in parts:
            raise SlotError([(("use",), self._unknown(kind, name))])
        return parts[name]

    def check(self, kind: Kind, slot: Slot) -> BaseModel:
        """The slot's options, checked; nothing is built or imported.

        Raises:
            SlotError: the name is unknown or an option is wrong.
            PluginError: the part's own defaults are.
        """
        part = self.part(kind, slot.use)
        options, found = validated(part.options, slot.options)
        if options is None or found:
            raise SlotError([(("with", *place), text) for place, text in found])
        self._check_defaults(part)
        return options

    def look(self, kind: Kind, slot: Slot, context: BuildContext) -> None:
        """Look at what a slot's options name on this machine, such as files and modules; nothing is built.

        A part that cannot be used on this machine is not looked at: that is said when it is built.

        Raises:
            SlotError: an option names something that is not there, or not of the right form.
            PluginError: the plugin's own look failed.
        """
        options = self.check(kind, slot)
        part = self.part(kind, slot.use)
        if part.look is None or part.unavailable():
            return
        try:
            found = [(("with", *place), text) for place, text in part.look(options, context)]
        except MentorKitError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise PluginError(
                f"plugin {part.owner!r} could not look at {_noun(kind)} {slot.use!r}: {reason}"
            ) from error
        if found:
            raise SlotError(found)

    def build(self, kind: Kind, slot: Slot, context: BuildContext) -> Any:
        """The object that a slot describes.

        Raises:
            SlotError: the name is unknown or an option is wrong.
            MissingError: the part cannot be used on this machine.
            PluginError: the plugin could not build it, for a reason of its own.
        """
        options = self.check(kind, slot)
        part = self.part(kind, slot.use)
        if reason := part.unavailable():
            problem, _, hint = reason.partition("\n")
            raise MissingError(f"{_noun(kind)} {slot.use!r} cannot be used here: {problem}", hint=hint or None)
        try:
            return part.build(options, context)
        except MentorKitError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise PluginError(
                f"plugin {part.owner!r} could not build the {_noun(kind)} {slot.use!r}: {reason}",
                hint="this is a fault of the plugin, or of a package it needs",
            ) from error

    def _check_defaults(self, part: Part) -> None:
        """Raises `PluginError` for a default that the option itself would refuse; each part is looked at once."""
        if part.options in self._whole:
            return
        for place, text in default_faults(part.options):
            raise PluginError(
                f"plugin {part.owner!r}: {_noun(part.kind)} {part.name!r}, option {place[-1]!r}: {text}",
                hint="this is a fault of the plugin",
            )
        self._whole.add(part.options)

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
            _check_part(name, build, options)
            part = Part(kind, name, owner, build, options or NoOptions, summary, available, look)
            first = self._parts[kind].setdefault(name, part)
            if first is not part:
                self._clashes.setdefault((kind, name), {first.owner}).add(owner)

        try:
            implementation.function(register)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 (a plugin's fault must stay its own)
            self.faults.append((owner, f"register_{kind} failed: {type(error).__name__}: {error}"))

    def _unknown(self, kind: Kind, name: str) -> str:
        text = f"no {_noun(kind)} is called {name!r}{did_you_mean(name, self.parts(kind))}; "
        text += f"`mentorkit plugins {kind}` lists them"
        broken = [info.name for info in self.plugins.failed] + [owner for owner, _ in self.faults]
        if broken:
            text += f" (these plugins failed, and may have had it: {', '.join(sorted(set(broken)))})"
        if disabled := [info.name for info in self.plugins.found if info.state == "disabled"]:
            text += f" (these plugins are disabled, and may have it: {', '.join(sorted(disabled))})"
        return text


def _check_part(name: Any, build: Any, options: Any) -> None:
    """Raises `PluginError` for what could only fail later, far from the plugin."""
    if not isinstance(name, str) or not name:
        raise PluginError(f"a part cannot be called {name!r}")
    if not callable(build):
        raise PluginError(f"part {name!r}: build is {build!r}, not a function of options and context")
    if options is not None and not (isinstance(options, type) and issubclass(options, BaseModel)):
        raise PluginError(f"part {name!r}: options is {options!r}, not a pydantic model")


M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], data: Any) -> tuple[M | None, list[tuple[tuple[str | int, ...], str]]]:
    """Data as a model, and what is wrong with it: what the model refuses, and what `lenient_faults` finds.

    Returns:
        The model, None where it refuses the data; and the faults, as places in the data with messages.
    """
    found: list[tuple[tuple[str | int, ...], str]] = []
    options = None
    try:
        options = model.model_validate(data)
    except ValidationError as error:
        found = explain(error, model)
    known = {place for place, _ in found}
    return options, [*found, *((place, text) for place, text in lenient_faults(model, data) if place not in known)]


def explain(error: ValidationError, model: type[BaseModel]) -> list[tuple[tuple[str | int, ...], str]]:
    """A pydantic error in a user's words: places with messages, with a did-you-mean for unknown keys."""
    found = []
    for fault in error.errors(include_url=False):
        place = tuple(step for step in fault["loc"] if not str(step).startswith(("function-", "tagged-union")))
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            known = _keys(model, place[:-1])
            message = f"unknown key{did_you_mean(str(place[-1]), known)}; known keys: {', '.join(known) or 'none'}"
        elif fault["type"] == "missing":
            message = "this key is required"
        elif fault["type"] != "value_error":
            message = f"{message}, not {_shown(fault['input'])}"
        found.append((place, message))
    return found


def _keys(model: Any, place: tuple[str | int, ...]) -> list[str]:
    """The keys a model takes at a place inside it."""
    choices = [model]
    for step in place:
        if isinstance(step, int):
            continue
        # a step may also name the member of a union that the next steps are about
        if named := [choice for choice in choices if getattr(choice, "__name__", "") == step]:
            choices = named
            continue
        fields = [f for choice in choices for n, f in choice.model_fields.items() if step in (n, f.alias)]
        choices = [arg for f in fields for arg in _leaves(f.annotation) if hasattr(arg, "model_fields")]
    model = choices[0] if choices else None
    return [field.alias or name for name, field in getattr(model, "model_fields", {}).items()]


def _leaves(annotation: Any) -> list[Any]:
    args = get_args(annotation)
    return [leaf for arg in args for leaf in _leaves(arg)] if args else [annotation]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _noun(kind: Kind) -> str:
    return kind.removesuffix("s").replace("_", " ")


_default: Registry | None = None


def default_registry() -> Registry:
    """The registry of this environment's plugins, loaded once."""
    global _default
    if _default is None:
        _default = Registry(load_plugins())
    return _default
