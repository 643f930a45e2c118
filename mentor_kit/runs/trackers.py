"""Everyone who is told what happens in a run: the display, trackers and plugins, each in isolation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mentor_kit.core.secret import hide
from mentor_kit.hooks.plugins import Plugins
from mentor_kit.runs.events import Event

OnEvent = Callable[[Event], None]


class OnProgress(Protocol):
    """Shows how far a stage is."""

    def __call__(self, stage: str, done: int, total: int, values: Mapping[str, float]) -> None: ...


class Tracker(Protocol):
    """Sends events elsewhere. Built by a trackers plugin."""

    def log(self, event: Event) -> None:
        """Take an event; called with every one, in order."""
        ...


@dataclass
class Watchers:
    """Calls everyone who watches. What one of them raises is kept in `faults`, and costs nobody else anything."""

    plugins: Plugins | None = None
    trackers: Sequence[Tracker] = ()
    on_event: OnEvent | None = None
    on_progress: OnProgress | None = None
    on_stop: Callable[[], None] | None = None
    """Called once, when the user has asked the run to stop; from a signal handler, so it must be short."""
    faults: list[str] = field(default_factory=list)
    """What went wrong since `new_faults` was asked last; each watcher's first fault of each kind only."""
    _known: set[str] = field(default_factory=set)

    def event(self, event: Event) -> None:
        """Show and track an event."""
        if self.on_event is not None:
            self._call("on_event", self.on_event, event)
        for tracker in self.trackers:
            self._call(f"tracker {type(tracker).__name__}", tracker.log, event)

    def progress(self, stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        """Show progress."""
        if self.on_progress is not None:
            self._call("on_progress", self.on_progress, stage, done, total, values)

    def stopping(self) -> None:
        """Show that the run ends after the step in hand."""
        if self.on_stop is not None:
            self._call("on_stop", self.on_stop)

    def hook(self, name: str, **values: Any) -> None:
        """Call a hook of all plugins, in the order in which pluggy would, going on past those that fail."""
        if self.plugins is None:
            return
        for implementation in reversed(getattr(self.plugins.manager.hook, name).get_hookimpls()):
            wanted = {argument: values[argument] for argument in implementation.argnames}
            self._call(f"plugin {implementation.plugin_name!r}: {name}", implementation.function, **wanted)

    def new_faults(self) -> Iterator[str]:
        """What went wrong since the last time."""
        while self.faults:
            yield self.faults.pop(0)

    def _call(self, who: str, function: Callable[..., Any], *values: Any, **named: Any) -> None:
        try:
            function(*values, **named)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 (a watcher may even call sys.exit)
            if who not in self._known:
                self._known.add(who)
                reason = hide(f"{type(error).__name__}: {error}")
                self.faults.append(f"{who} failed: {reason}; it is told of no more such faults")
