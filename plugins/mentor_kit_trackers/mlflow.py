"""The writer of `mlflow`: metrics by step, the recipe as parameters, and rollouts as tables.

MLflow cannot forget a metric's value. A resumed run continues the same MLflow run, and steps that it has already
are not sent again.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.tracker import Outcome
from mentor_kit_trackers.curves import Point
from mentor_kit_trackers.options import MlflowOptions
from mentor_kit_trackers.rollouts import COLUMNS, TrackedRollout
from mentor_kit_trackers.writer import Level, Writer, set_secret

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: The tag by which a run's MLflow run is found again.
TAG = "mentor_kit.run"
#: What MLflow takes at most: parameters of one request, characters of a parameter and of a tag.
_PARAMETERS, _PARAMETER_CHARACTERS, _TAG_CHARACTERS = 100, 6000, 5000
#: How runs end, in MLflow's words.
_STATUS: Mapping[Outcome, str] = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
#: Retries of a request, and seconds of one: few until the server has answered, so that a dead one is named soon.
_RETRIES, _SECONDS = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"


class MlflowWriter(Writer[MlflowOptions]):
    """Writes a run of an MLflow experiment."""

    OPTIONS = MlflowOptions
    ENVIRONMENT = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    _client: MlflowClient

    def load(self) -> None:
        set_secret("MLFLOW_TRACKING_TOKEN", self.options.token)
        import mlflow  # noqa: F401 (the import is what takes time)

    def open(self) -> bool:
        options = self.options
        users = {name: os.environ.get(name) for name in (_RETRIES, _SECONDS)}
        os.environ[_RETRIES], os.environ[_SECONDS] = "1", str(max(1, round(options.timeout / 3)))
        from mlflow import MlflowClient, get_tracking_uri

        uri = options.tracking_uri or get_tracking_uri()
        self._client = MlflowClient(uri)
        experiment = self._experiment()
        found = self._find(experiment)
        if found is None:
            self._id = self._begin(experiment)
        else:
            self._id = found
            self._client.update_run(self._id, status="RUNNING")
        self._client.log_text(self._id, (self.run.folder / "recipe.yaml").read_text(encoding="utf-8"), "recipe.yaml")
        for name, value in users.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        if uri.startswith("http"):
            self.note(f"mlflow: {uri.rstrip('/')}/#/experiments/{experiment}/runs/{self._id}")
        else:
            self.note(f"mlflow: `mlflow ui --backend-store-uri {uri}` shows the run, {self._id}")
        return found is not None

    def point(self, point: Point) -> None:
        from mlflow.entities import Metric

        time = round(point.time * 1000)
        metrics = [Metric(_name(name), value, time, point.step) for name, value in point.values.items()]
        self._client.log_batch(self._id, metrics=metrics, synchronous=True)

    def rollouts(self, series: str, step: int, rollouts: Sequence[TrackedRollout]) -> None:
        table = {"columns": list(COLUMNS), "data": [rollout.row() for rollout in rollouts]}
        self._client.log_dict(self._id, table, f"rollouts/{_name(series)}/step-{step:06d}.json")

    def message(self, title: str, text: str, step: int | None, time: float, level: Level) -> None:
        if level == "warning":
            place = "" if step is None else f"step {step}: "
            self._client.set_tag(self._id, _name(f"diagnosis.{title}"), f"{place}{text}"[:_TAG_CHARACTERS])

    def close(self, outcome: Outcome) -> None:
        self._client.set_terminated(self._id, _STATUS[outcome])

    def _experiment(self) -> str:
        """The id of the experiment, which is made where it does not exist."""
        name = self.options.experiment or self.run.name
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id) if found is not None else str(self._client.create_experiment(name))

    def _find(self, experiment: str) -> str | None:
        """The id of the run's MLflow run; None where there is none."""
        runs = self._client.search_runs([experiment], f"tags.`{TAG}` = '{self._tag}'", max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def _begin(self, experiment: str) -> str:
        """Make the MLflow run, with the recipe as its parameters; its id."""
        from mlflow.entities import Param

        tags = {**self.options.tags, TAG: self._tag, "mlflow.source.name": "mentorkit"}
        run = self._client.create_run(experiment, run_name=self.options.name or self.run.id, tags=tags)
        parameters = [Param(_name(key), value[:_PARAMETER_CHARACTERS]) for key, value in _flat(self.run.recipe)]
        for start in range(0, len(parameters), _PARAMETERS):
            self._client.log_batch(run.info.run_id, params=parameters[start : start + _PARAMETERS], synchronous=True)
        return str(run.info.run_id)

    @property
    def _tag(self) -> str:
        return f"{self.run.name}/{self.run.id}" + (f"/{self.options.name}" if self.options.name else "").replace(
            "'", ""
        )


def _flat(values: Mapping[str, Json] | Sequence[Json], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested data as names joined by dots, as `--set` has them, with values as strings."""
    pairs = values.items() if isinstance(values, Mapping) else ((str(index), item) for index, item in enumerate(values))
    for key, value in pairs:
        if isinstance(value, Mapping | list | tuple) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


def _name(name: Any) -> str:
    """A name as MLflow takes it: letters, digits, and some other characters; 250 at most."""
    return re.sub(r"[^\w\-. :/]", "_", str(name), flags=re.ASCII)[:250]
