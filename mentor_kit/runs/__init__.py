"""Run folders: what a run writes, how it is resumed after a kill, and how it is read again."""

from mentor_kit.runs.checkpoints import Checkpoint, Checkpoints, Keep
from mentor_kit.runs.context import RunContext
from mentor_kit.runs.events import read_events
from mentor_kit.runs.folder import RunFolder
from mentor_kit.runs.problems import RecordedProblem
from mentor_kit.runs.recorder import RecordOptions, RunRecorder
from mentor_kit.runs.run import Run, data_frame
from mentor_kit.runs.stop import StopSignal
from mentor_kit.runs.trackers import EventDispatcher

__all__ = [
    "Checkpoint",
    "Checkpoints",
    "EventDispatcher",
    "Keep",
    "RecordOptions",
    "RecordedProblem",
    "Run",
    "RunContext",
    "RunFolder",
    "RunRecorder",
    "StopSignal",
    "data_frame",
    "read_events",
]
