"""The writer of `wandb`: curves over each stage's steps, and rollouts as tables.

Online, a resumed run continues the run of the same id at the server. Offline, it is written anew from the run folder,
and the files of earlier processes are removed: `wandb sync` sends each step once. Where the server cannot be reached
at the start, the run is tracked offline.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mentor_kit.hooks.tracker import Outcome
from mentor_kit_trackers.curves import Point
from mentor_kit_trackers.options import WandbOptions
from mentor_kit_trackers.rollouts import COLUMNS, TrackedRollout
from mentor_kit_trackers.writer import Level, Writer, set_secret

if TYPE_CHECKING:
    import wandb

#: The shares of `timeout` that wandb itself may wait: at its start, where an offline run may have to follow, and at its
#: end, so that it says what is wrong before it is killed.
_START_SHARE, _END_SHARE = 0.5, 0.7


class WandbWriter(Writer[WandbOptions]):
    """Writes a run of a project at Weights & Biases."""

    OPTIONS = WandbOptions
    ENVIRONMENT = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_CONSOLE": "off"}
    _run: wandb.Run

    def load(self) -> None:
        set_secret("WANDB_API_KEY", self.options.key)
        set_secret("WANDB_BASE_URL", self.options.base_url)
        import wandb  # noqa: F401 (the import is what takes time)

    def open(self) -> bool:
        import wandb

        self._defined: set[str] = set()
        mode = self.options.mode or os.environ.get("WANDB_MODE")
        self._is_offline = mode in ("offline", "dryrun")
        if mode == "disabled":
            self._run = self._init("disabled")
            self.note("wandb: nothing is tracked, since WANDB_MODE is `disabled`")
            return False
        if self._is_offline:
            self._run = self._init("offline")
            self.note(f"wandb: offline; `{self._sync()}` sends the run")
            return False
        try:
            self._run = self._init("online")
        except wandb.Error as error:
            reason = " ".join(str(error).split())
            # the attempt holds the run's id until wandb's own process ends
            wandb.teardown()
            self._run = self._init("offline")
            self.note(f"wandb: offline, since the server cannot be used ({reason}); `{self._sync()}` sends the run")
            return True
        self.note(f"wandb: {self._run.url}")
        return bool(self._run.resumed)

    def point(self, point: Point) -> None:
        self._log(point.series, point.step, point.values, point.time)

    def rollouts(self, series: str, step: int, rollouts: Sequence[TrackedRollout]) -> None:
        import wandb

        table = wandb.Table(columns=list(COLUMNS), data=[rollout.row() for rollout in rollouts])
        self._run.log({f"{series}/rollouts": table, f"{series}/step": step})

    def message(self, title: str, text: str, step: int | None, time: float, level: Level) -> None:
        import wandb

        if level == "warning":
            self._run.alert(title, text if step is None else f"step {step}: {text}", level=wandb.AlertLevel.WARN)

    def replayed(self) -> None:
        if self._is_offline:
            written = Path(self._run.settings.sync_dir).resolve()
            for folder in written.parent.glob(f"offline-run-*-{self._id}"):
                if folder.resolve() != written:
                    shutil.rmtree(folder, ignore_errors=True)

    def close(self, outcome: Outcome) -> None:
        try:
            self._run.finish(exit_code=0 if outcome == "done" else 1)
        except TimeoutError:
            raise TimeoutError(f"the server took too long; `{self._sync()}` sends what it does not have") from None

    @property
    def _id(self) -> str:
        """The run's id at the server: letters, digits and dashes."""
        own = f"{self.run.name}-{self.run.id}" + (f"-{self.options.name}" if self.options.name else "")
        return re.sub(r"[^\w-]+", "-", own)[:128]

    def _init(self, mode: Literal["online", "offline", "disabled"]) -> wandb.Run:
        import wandb

        options = self.options
        folder = (options.folder or Path()).expanduser().resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=options.project or self.run.name,
            entity=options.entity,
            id=self._id,
            name=options.name or self.run.id,
            group=options.group,
            job_type=options.job_type,
            tags=options.tags or None,
            notes=options.notes,
            config={"run": f"{self.run.name}/{self.run.id}", **self.run.recipe},
            dir=str(folder),
            mode=mode,
            resume="allow",
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_code=True,
                disable_git=True,
                disable_job_creation=True,
                init_timeout=options.timeout * _START_SHARE,
                login_timeout=options.timeout * _START_SHARE,
                finish_timeout=options.timeout * _END_SHARE,
                finish_timeout_raises=True,
                x_disable_stats=not options.system,
                # what is measured is the process that trains, not this one
                x_stats_pid=self.run.process,
            ),
        )

    def _log(self, series: str, step: int, values: Any, time: float) -> None:
        axis = f"{series}/step"
        for name in values:
            if name not in self._defined:
                self._defined.add(name)
                self._run.define_metric(name, step_metric=axis)
        # without a step of its own, each row is a step of wandb's: its steps must grow, those of stages begin again
        self._run.log({**values, axis: step, "_timestamp": time})

    def _sync(self) -> str:
        folder = Path(self._run.settings.sync_dir).resolve()
        return f"wandb sync {os.path.relpath(folder)}"
