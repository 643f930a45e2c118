"""A side of `scale.py`: short runs of the quickstart in one of the ways to use more than one process."""

from __future__ import annotations

import selectors
import tempfile
import threading
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import slow_tools

from mentor_kit.core.event import Event
from mentor_kit.hooks.tracker import TrackedRun, Tracker
from mentor_kit.recipe.settings import parse_settings

#: A student that stays as it is; a step is 16 problems by 8 episodes, and one update.
ALIKE = {
    "train.0.optimizer.lr": 1e-9,
    "train.0.problems": 16,
    "train.0.minibatches": 1,
    "evaluate": {"on": [], "at_start": False, "at_end": False},
}
#: One that learns as the recipe says, and is evaluated once: tools are slow there, too.
LEARNING = {"evaluate.every": 0, "evaluate.at_start": False, "checkpoints.best": None}


class Moment(NamedTuple):
    """What the quiet clock shows, in seconds since some moment."""

    processor: float
    """That all threads have computed."""
    waited: float
    """That the thread of sampling and updates has waited for events."""


class QuietClock:
    """The time that this process would take on a machine of its own, as an upper bound.

    It is the processor time of all its threads, as though one worked at a time, and what this thread waits for events.
    Other programs make a processor's work take longer, and tools' calls not: the more of them run, the less is saved by
    not waiting for tools. This clock leaves them out. It knows nothing of waiting for other processes.
    """

    def __init__(self) -> None:
        self._waited, self._thread = 0.0, threading.get_ident()
        select = selectors.DefaultSelector.select

        def timed(selector: Any, timeout: float | None = None) -> Any:
            if threading.get_ident() != self._thread:
                return select(selector, timeout)
            began, busy = time.perf_counter(), time.thread_time()
            try:
                return select(selector, timeout)
            finally:
                self._waited += time.perf_counter() - began - (time.thread_time() - busy)

        selectors.DefaultSelector.select = timed  # type: ignore[method-assign]

    def __call__(self) -> Moment:
        """Seconds since some moment."""
        return Moment(time.process_time(), self._waited)


@dataclass
class StepTimes(Tracker):
    """A tracker that reads a clock at each step of a run."""

    clock: QuietClock
    last: Moment = field(default_factory=lambda: Moment(0.0, 0.0))
    processor: float = 0.0
    waited: float = 0.0
    """Seconds of all steps by the clock."""

    def start(self, run: TrackedRun) -> None:
        """The stage begins behind this."""
        self.last = self.clock()

    def event(self, event: Event) -> None:
        """A step is done."""
        now = self.clock()
        if event.kind == "step":
            self.processor += now.processor - self.last.processor
            self.waited += now.waited - self.last.waited
        self.last = now


@dataclass
class ScaleRun:
    """A run of some steps in each turn, without evaluations; the time of a step is the mean of all.

    Args:
        steps: of a turn.
        wait: seconds that a tool's call takes.
        processes: that the run starts and has, 1 for none beside its own.
        staleness: of the rollouts.
        servers: addresses of vLLM servers that sample; none for the backend's own engine.
        threads: of torch in all processes together.
        learn: as the recipe says, and with an evaluation at the end; without, all turns are alike.
        settings: of the recipe, which go over all others.
    """

    steps: int
    wait: float
    processes: int
    staleness: int
    servers: tuple[str, ...]
    threads: int
    learn: bool = False
    settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._clock = QuietClock()

    def __call__(self) -> dict[str, Any]:
        import mentor_kit
        from mentor_kit.hooks.loader import default_registry

        registry = default_registry()
        if not registry.plugins.manager.has_plugin("slow-tools"):
            registry.plugins.manager.register(slow_tools, name="slow-tools")
        before = self._summed()
        with tempfile.TemporaryDirectory() as folder:
            loaded = {"recipe": "quickstart", "overrides": self._overrides(), "registry": registry}
            planned = mentor_kit.plan(**loaded).memory
            times = StepTimes(self._clock)
            run = mentor_kit.run(**loaded, output=folder, trackers=[times])
            steps = run.steps
            accuracy = run.evaluations[-1]["greedy"] if self.learn else None
        return {
            "seconds": sum(step["seconds"] for step in steps) / len(steps),
            "processor": times.processor / len(steps),
            "waited": times.waited / len(steps),
            "quiet": (times.processor + times.waited) / len(steps),
            "rollout": sum(step["seconds_rollout"] for step in steps) / len(steps),
            "staleness": max(step.get("staleness_max", 0.0) for step in steps),
            "mismatch": max(step["mismatch_max"] for step in steps),
            "summed": (self._summed() - before) / len(steps),
            "accuracy": accuracy,
            "expected": planned.exchanged.get("gradients, a step", 0) if planned else 0,
        }

    def _overrides(self) -> dict[str, Any]:
        backend = {"device": "cpu", "threads": self.threads}
        if self.processes > 1:
            backend["processes"] = self.processes
        sampler = {"sampler": {"use": "vllm", "with": {"servers": list(self.servers), "untie": True}}}
        return {
            "train.0.steps": self.steps,
            "backend.with": backend,
            "rollout.staleness": self.staleness,
            "tools": [{"use": "slow-math", "with": {"seconds": self.wait}}],
            "report": False,
            "checkpoints.every": 0,
            **(LEARNING if self.learn else ALIKE),
            **(sampler if self.servers else {}),
            **parse_settings(self.settings),
        }

    def _summed(self) -> int:
        """Bytes of the arrays that this process has summed with others so far."""
        if self.processes == 1:
            return 0
        from mentor_kit_torch.launch import processes

        found = processes(self.processes)
        return 0 if found is None else found.traffic.summed_bytes
