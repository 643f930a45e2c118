"""Attributes an unexpected error to the plugin whose code raised it.

Components are called in many places, often thousands of times a step, so their calls are not wrapped. Instead the
frames of the error's traceback are compared with the objects that the registry has built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import PluginError
from mentor_kit.hooks.registry import Component, Registry, noun

#: Maps a component and the spec it was built from to its place in the recipe; empty if that is unknown.
Where = Callable[[Component, ComponentSpec], str]


def blamed(error: BaseException, registry: Registry, where: Where = lambda component, spec: "") -> PluginError | None:
    """Return the error as a `PluginError` of the plugin that raised it; None if that is no plugin, or a built-in one.

    Args:
        error: any exception that is not a `MentorKitError`.
        registry: the registry that built the run's components.
        where: returns a component's place in the recipe.
    """
    frames = list(_frames(error))[::-1]
    strangers = _strangers(registry)
    for index, (frame, _) in enumerate(frames):
        origin = registry.origin_of(_self(frame))
        owner = origin[0].owner if origin is not None else strangers.get(_package(frame))
        if owner is None:
            continue
        if registry.is_built_in(owner):
            return None
        origin = origin or _around(frames[index:], registry, owner) or registry.only_component_of(owner)
        return _error(error, owner, origin, _line(frames, strangers, owner), where)
    return None


def _error(
    error: BaseException, owner: str, origin: tuple[Component, ComponentSpec] | None, line: str, where: Where
) -> PluginError:
    subject = f"plugin {owner!r}"
    if origin is not None:
        component, spec = origin
        place = where(component, spec)
        subject = f"{place}: " * bool(place) + f"the {noun(component.kind)} {component.name!r} of plugin {owner!r}"
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return PluginError(
        f"{subject} failed: {reason} ({line})",
        hint="this is a fault of the plugin, or of a package it needs; MENTORKIT_DEBUG=1 shows the whole traceback",
    )


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """The frames that an error came through, each with its line, the outermost first."""
    step: TracebackType | None = error.__traceback__
    while step is not None:
        yield step.tb_frame, step.tb_lineno
        step = step.tb_next
    if isinstance(error, BaseExceptionGroup):
        yield from _frames(error.exceptions[0])


def _self(frame: FrameType) -> Any:
    """The object whose method a frame runs."""
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _strangers(registry: Registry) -> dict[str, str]:
    """The plugins that are not built in, by the packages they are in."""
    return {
        info.target.partition(":")[0].partition(".")[0]: info.name
        for info in registry.plugins.found
        if info.state == "loaded" and not info.is_built_in
    }


def _around(
    frames: list[tuple[FrameType, int]], registry: Registry, owner: str
) -> tuple[Component, ComponentSpec] | None:
    """Return the plugin's component whose method runs in one of the frames."""
    found = (registry.origin_of(_self(frame)) for frame, _ in frames)
    return next((origin for origin in found if origin is not None and origin[0].owner == owner), None)


def _line(frames: list[tuple[FrameType, int]], strangers: dict[str, str], owner: str) -> str:
    """The innermost line of the plugin's own code; the innermost of all where there is none."""
    own = (found for found in frames if strangers.get(_package(found[0])) == owner)
    frame, line = next(own, frames[0])
    return f"{frame.f_code.co_filename}:{line}"
