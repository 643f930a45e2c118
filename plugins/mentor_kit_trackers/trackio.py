"""The writer of `trackio`: curves by step, and rollouts as traces with their messages.

A local run that is resumed is removed from Trackio's database and written anew from the run folder. A Space or a server
continues the run of the same name.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks.tracker import Outcome
from mentor_kit_trackers.curves import Point
from mentor_kit_trackers.options import TrackioOptions
from mentor_kit_trackers.rollouts import TrackedRollout, openai_messages
from mentor_kit_trackers.writer import Level, Writer, set_secret

if TYPE_CHECKING:
    import trackio


class TrackioWriter(Writer[TrackioOptions]):
    """Writes a run of a Trackio project."""

    OPTIONS = TrackioOptions
    ENVIRONMENT = {"HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    _run: trackio.Run

    def open(self) -> bool:
        options = self.options
        if options.folder is not None:
            os.environ["TRACKIO_DIR"] = str(options.folder.expanduser().resolve())
        set_secret("TRACKIO_WRITE_TOKEN" if options.server_url is not None else "HF_TOKEN", options.token)
        import trackio

        self._project, name = options.project or self.run.name, options.name or self.run.id
        is_remote = bool(
            options.space_id or options.server_url or {"TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"} & set(os.environ)
        )
        if is_remote:
            self._note_first_warning()
        else:
            self._remove(name)
        self._run = trackio.init(
            self._project,
            name=name,
            group=options.group,
            space_id=options.space_id,
            server_url=options.server_url,
            private=options.private,
            config={"run": f"{self.run.name}/{self.run.id}", **self.run.recipe},
            resume="allow" if is_remote else "never",
            embed=False,
            auto_log_gpu=None if options.system else False,
            auto_log_cpu=None if options.system else False,
        )
        if is_remote:
            self.note(f"trackio: the run is sent to {options.space_id or options.server_url or 'the server'}")
        else:
            self.note(f"trackio: `trackio show --project {self._project}` shows the run{_variable(options)}")
        return is_remote

    def point(self, point: Point) -> None:
        self._run.log(dict(point.values), step=point.step)

    def rollouts(self, series: str, step: int, rollouts: Sequence[TrackedRollout]) -> None:
        from trackio import Trace

        traces: list[Any] = []
        shown: set[str] = set()
        for rollout in rollouts:
            trajectory = rollout.scored.trajectory
            traces.append(Trace(openai_messages(trajectory.messages), metadata=_metadata(rollout)))
            teacher = rollout.demonstration
            if teacher is not None and teacher.trajectory is not None and trajectory.problem_id not in shown:
                shown.add(trajectory.problem_id)
                traces.append(Trace(openai_messages(teacher.trajectory.messages), metadata=_teacher_metadata(teacher)))
        self._run.log({f"{series}/rollouts": traces}, step=step)

    def message(self, title: str, text: str, step: int | None, time: float, level: Level) -> None:
        from trackio import AlertLevel

        if level == "warning":
            self._run.alert(title, text, level=AlertLevel.WARN, step=step or 0)

    def close(self, outcome: Outcome) -> None:
        self._run.finish()

    def _remove(self, name: str) -> None:
        """Remove the run of that name from the local database."""
        import trackio

        with suppress(ValueError):  # there is no such project yet
            for run in trackio.Api().runs(self._project):
                if run.name == name:
                    run.delete()

    def _note_first_warning(self) -> None:
        """Note the library's first warning: it reports a server that cannot be reached by warnings alone."""
        shown, noted = warnings.showwarning, [False]

        def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
            if issubclass(category, UserWarning) and not noted[0]:
                noted[0] = True
                self.note(f"trackio: {' '.join(str(message).split())}")
            shown(message, category, *rest)

        warnings.showwarning = show  # type: ignore[assignment]


def _metadata(rollout: TrackedRollout) -> dict[str, Any]:
    trajectory, reward = rollout.scored.trajectory, rollout.scored.reward
    return {
        "agent": trajectory.agent,
        **_facts(trajectory),
        "reward": reward.total,
        "advantage": rollout.scored.advantage,
        **{f"reward/{name}": term.value for name, term in reward.terms.items()},
    }


def _teacher_metadata(demonstration: Demonstration) -> dict[str, Any]:
    trajectory = demonstration.trajectory
    assert trajectory is not None
    return {"agent": f"teacher {demonstration.teacher}", **_facts(trajectory)}


def _facts(trajectory: Trajectory) -> dict[str, Any]:
    return {
        "rollout": trajectory.id,
        "problem": trajectory.problem_id,
        "answer": trajectory.answer,
        "correct": trajectory.correct,
        "ending": str(trajectory.ending),
    }


def _variable(options: TrackioOptions) -> str:
    return f", with TRACKIO_DIR={options.folder}" if options.folder is not None else ""
