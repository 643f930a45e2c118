"""The writer of `trackio`: curves by step, and rollouts as traces with their messages.

A local run that is resumed is removed from Trackio's database and written anew from the run folder. At a Space or a
server the run of the same name is continued. What cannot be sent waits in the local database, until the run is resumed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import urlopen

from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks.tracker import Outcome
from mentor_kit_trackers.curves import Point
from mentor_kit_trackers.options import TrackioOptions
from mentor_kit_trackers.rollouts import TrackedRollout, openai_messages
from mentor_kit_trackers.writer import Level, Writer, set_secret

if TYPE_CHECKING:
    import trackio

#: The share of the time to begin that a server may take for its first answer.
_SHARE = 0.5


class TrackioWriter(Writer[TrackioOptions]):
    """Writes a run of a Trackio project."""

    OPTIONS = TrackioOptions
    ENVIRONMENT = {"HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    _run: trackio.Run

    def load(self) -> None:
        options = self.options
        if options.folder is not None:
            os.environ["TRACKIO_DIR"] = str(options.folder.expanduser().resolve())
        set_secret("TRACKIO_WRITE_TOKEN" if options.server_url is not None else "HF_TOKEN", options.token)
        import trackio  # noqa: F401 (the import is what takes time)

    def open(self) -> bool:
        import trackio

        options = self.options
        self._project, name = options.project or self.run.name, options.name or self.run.id
        space = options.space_id or (None if options.server_url else os.environ.get("TRACKIO_SPACE_ID"))
        server = None if space else options.server_url or os.environ.get("TRACKIO_SERVER_URL")
        if server is not None:
            # without an answer Trackio would begin another run of the same name
            _reach(server, options.timeout * _SHARE)
        if space is None and server is None:
            self._remove(name)
        self._run = trackio.init(
            self._project,
            name=name,
            group=options.group,
            space_id=options.space_id,
            server_url=options.server_url,
            private=options.private,
            config={"run": f"{self.run.name}/{self.run.id}", **self.run.recipe},
            resume="never" if space is None and server is None else "allow",
            embed=False,
            auto_log_gpu=None if options.system else False,
            auto_log_cpu=None if options.system else False,
        )
        if space is None and server is None:
            self.note(f"trackio: `trackio show --project {self._project}` shows the run{_variable(options)}")
            return False
        self._send_what_waits()
        self._note_first_warning()
        # the URL that Trackio prints has the token behind the question mark
        self.note(f"trackio: project {self._project} at {space or str(server).partition('?')[0]}")
        return True

    def point(self, point: Point) -> None:
        self._run.log(dict(point.values), step=point.step)

    def rollouts(self, series: str, step: int, rollouts: Sequence[TrackedRollout]) -> None:
        from trackio import Trace

        traces: list[Any] = []
        shown: set[str] = set()
        for rollout in rollouts:
            trajectory = rollout.scored.trajectory
            traces.append(Trace(openai_messages(trajectory.messages), metadata=_metadata(rollout)))
            taught, teacher = rollout.demonstrated, rollout.demonstration
            if taught is not None and teacher is not None and trajectory.problem_id not in shown:
                shown.add(trajectory.problem_id)
                metadata = {"agent": f"teacher {teacher.teacher}", **_facts(taught)}
                traces.append(Trace(openai_messages(taught.messages), metadata=metadata))
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

    def _send_what_waits(self) -> None:
        """Send what earlier processes could not send; of its own accord Trackio does so at a Space alone."""
        from trackio.sqlite_storage import SQLiteStorage

        if SQLiteStorage.has_pending_data(self._project):
            self._run._has_local_buffer = True

    def _note_first_warning(self) -> None:
        """Note the library's first warning: it reports a server that cannot be reached by warnings alone."""
        shown, noted = warnings.showwarning, [False]

        def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
            if issubclass(category, UserWarning) and not noted[0]:
                noted[0] = True
                self.note(f"trackio: {' '.join(str(message).split())}")
            shown(message, category, *rest)

        warnings.showwarning = show  # type: ignore[assignment]


def _reach(url: str, seconds: float) -> None:
    """Raise an `OSError` where no server answers at a URL within so many seconds."""
    with suppress(HTTPError):  # any answer is one
        urlopen(url, timeout=seconds).close()


def _metadata(rollout: TrackedRollout) -> dict[str, Any]:
    trajectory, reward = rollout.scored.trajectory, rollout.scored.reward
    return {
        "agent": trajectory.agent,
        **_facts(trajectory),
        "reward": reward.total,
        "advantage": rollout.scored.advantage,
        **{f"reward/{name}": term.value for name, term in reward.terms.items()},
    }


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
