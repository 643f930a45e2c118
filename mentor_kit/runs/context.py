"""The run as one stage sees it: `mentor_kit.stages.context.StageContext` over a run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError, Interrupted
from mentor_kit.core.event import CHECKPOINT
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem
from mentor_kit.rl.reward import Scored
from mentor_kit.runs.checkpoints import Checkpoint
from mentor_kit.runs.compression import SUFFIXES, compress
from mentor_kit.runs.files import remove_folder, write_bytes, write_text
from mentor_kit.runs.folder import OUTCOMES, RECORDED, check_name
from mentor_kit.runs.recorder import RunRecorder
from mentor_kit.runs.records import read_scored
from mentor_kit.utils.strict_json import to_json


class RunContext:
    """A stage's view of a running run.

    Args:
        recorder: of the run, started.
        key: the stage's key.
        is_first: whether no training stage comes before it.
    """

    def __init__(self, recorder: RunRecorder, key: str, *, is_first: bool) -> None:
        check_name(key)
        self._recorder = recorder
        self._key = key
        self._is_first = is_first
        self._unsaved = False
        """Whether a step is done that no checkpoint has yet."""
        self._postponed = 0
        """How often a stop was postponed for the sake of that step."""

    @property
    def key(self) -> str:
        return self._key

    @property
    def is_first(self) -> bool:
        return self._is_first

    def emit(self, kind: str, **values: Json) -> None:
        event = self._recorder.emit(kind, self._key, values)
        if kind == "step":
            self._unsaved = True
            metrics = {name: float(value) for name, value in event.values.items() if _is_number(value)}
            if "steps" in metrics:
                self.progress(event.step or 0, int(metrics["steps"]), **metrics)
        self._recorder.diagnose(event)

    def progress(self, done: int, total: int, **values: float) -> None:
        self._recorder.dispatcher.progress(self._key, done, total, values)

    def write_rollouts(self, step: int, scored: Sequence[Scored]) -> None:
        recorder = self._recorder
        every = recorder.options.rollouts_every
        if every and step % every == 0:
            self._write_scored(recorder.folder.rollouts_of(self._key, step), scored, sync=False)
        # those that were trained on again are recorded again
        recorder.folder.recorded_rollouts_of(self._key, step).unlink(missing_ok=True)
        recorder.dispatcher.rollouts(self._key, step, scored)

    def recorded_rollouts(self, step: int) -> Sequence[Scored]:
        try:
            return read_scored(self._recorder.folder.recorded_rollouts_of(self._key, step))
        except DataError:  # cut off in a power cut: sampled again
            return ()

    def forget_recorded_rollouts(self) -> None:
        remove_folder(self._recorder.folder.rollouts / self._key / RECORDED)

    def write_evaluation(
        self,
        name: str,
        report: Mapping[str, Json],
        scored: Sequence[Scored],
        outcomes: Sequence[Mapping[str, Json]] = (),
    ) -> None:
        check_name(name)
        folder = self._recorder.folder.evaluation
        self._write_scored(folder / f"{name}.jsonl", scored)
        if outcomes:
            write_text(folder / f"{name}{OUTCOMES}", "".join(f"{to_json(dict(row))}\n" for row in outcomes))
        # the report comes second: where there is one, its trajectories are there
        write_text(folder / f"{name}.json", to_json(dict(report), indent=2) + "\n")
        self._recorder.dispatcher.evaluated(name, int(report.get("step") or 0), scored)

    def write_problems(self, problems: Sequence[Problem]) -> None:
        self._recorder.problems.write(problems)

    def write_demonstrations(self, demonstrations: Sequence[Demonstration]) -> None:
        if demonstrations:
            self._recorder.demonstrations.append([item.to_json() for item in demonstrations], sync=True)

    def read_demonstrations(self) -> Sequence[Demonstration]:
        return self._recorder.read_demonstrations()

    def checkpoint(
        self,
        step: int,
        state: Mapping[str, Json],
        *,
        metrics: Mapping[str, float] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        recorder = self._recorder
        saved = recorder.checkpoints.latest()
        again = saved is not None and not self._unsaved and (saved.stage, saved.step) == (self._key, step)
        if saved is not None and again and metrics is not None and not saved.metrics:
            event = recorder.record(CHECKPOINT, self._key, {"step": step, "metrics": dict(metrics or {})})
            recorder.checkpoints.amend(saved, state, metrics or {}, recorder.offsets())
            recorder.dispatcher.event(event)
            return
        before = recorder.events.offset
        # the event goes first, so that a run resumed from this checkpoint has it as well
        event = recorder.record(CHECKPOINT, self._key, {"step": step, "metrics": dict(metrics or {})})
        try:
            recorder.checkpoints.save(
                self._key, step, recorder.policy, state, metrics or {}, recorder.offsets(), files or {}
            )
        except BaseException:
            recorder.events.truncate(before)
            raise
        self._unsaved, self._postponed = False, 0
        recorder.dispatcher.event(event)

    def resumed(self) -> Mapping[str, Json] | None:
        checkpoint = self._checkpoint()
        return None if checkpoint is None else checkpoint.state

    def resumed_file(self, name: str) -> str | None:
        checkpoint = self._checkpoint()
        return None if checkpoint is None else checkpoint.file(name)

    def _checkpoint(self) -> Checkpoint | None:
        """The stage's checkpoint that the run was resumed from."""
        checkpoint = self._recorder.resumed_from
        return checkpoint if checkpoint is not None and checkpoint.stage == self._key else None

    def check_stop(self) -> None:
        if not self._recorder.stop.requested:
            return
        if self._unsaved and self._postponed == 0:
            # the signal came after the stage had asked whether to save: the next step will be saved
            self._postponed += 1
            return
        folder = self._recorder.folder.path
        raise Interrupted(f"stopped; everything is in {folder}", hint=f"to resume: mentorkit run --resume {folder}")

    def checkpoint_due(self, step: int, steps: int) -> bool:
        every = self._recorder.options.checkpoint_every
        return step == steps or (every > 0 and step % every == 0) or self._recorder.stop.requested

    def write_folder(self, name: str, fill: Callable[[Path], object]) -> Path:
        return self._recorder.folder.write_folder(name, fill)

    def _write_scored(self, path: Path, scored: Sequence[Scored], *, sync: bool = True) -> None:
        """Write scored trajectories as the recipe wants them kept: with or without tokens, compressed or not."""
        options = self._recorder.options
        kept = scored if options.tokens else [_without_tokens(item) for item in scored]
        lines = "".join(f"{item.to_json()}\n" for item in kept).encode()
        write_bytes(
            path.with_name(path.name + SUFFIXES[options.compress]), compress(lines, options.compress), sync=sync
        )


def _without_tokens(item: Scored) -> Scored:
    return item.model_copy(update={"trajectory": item.trajectory.model_copy(update={"tokens": None})})


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float)
