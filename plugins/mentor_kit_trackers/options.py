"""Options of the trackers: where a run is tracked, under which name, and which metrics and rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from mentor_kit.core.component import Number, Whole
from mentor_kit.core.frozen_model import FrozenModel, Json
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.secret import refuse_plain


class RolloutOptions(OptionModel, FrozenModel):
    """Which rollouts a tracker gets; each has its messages, reward, answer, and a demonstration of the problem."""

    every: Whole = Field(default=10, ge=0)
    """Those of a stage's first step and of every so many steps; 0 for none."""
    problems: Whole = Field(default=2, gt=0)
    """Of how many problems of such a step; all rollouts of each."""
    episodes: Whole = Field(default=8, ge=0)
    """How many episodes of each evaluation."""


class TrackerOptions(OptionModel):
    """Options of every tracker."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    #: The options that say where the run is tracked; with other values it is another run there.
    PLACE: ClassVar[tuple[str, ...]] = ()
    #: The options that are secrets.
    SECRETS: ClassVar[tuple[str, ...]] = ()

    exclude: tuple[str, ...] = ("*/groups/*", "*/tools/*", "*/teacher_tools/*")
    """Metrics that are left out, as patterns of their whole names, such as `*/seconds*`."""
    rollouts: RolloutOptions = RolloutOptions()
    """Which rollouts are tracked."""
    timeout: Number = Field(default=30.0, gt=0)
    """Seconds that the tracker may take to begin, and to close at the end of the run; then it is switched off. The run
    waits for it at its end alone."""

    def place(self) -> Mapping[str, Json]:
        """The options that say where the run is tracked."""
        found: dict[str, Json] = self.model_dump(mode="json", include=set(self.PLACE))
        return found


def _url(value: str | None) -> str | None:
    if value is not None and urlsplit(value).scheme not in ("http", "https"):
        raise ValueError("a URL begins with http:// or https://")
    return value


class TrackioOptions(TrackerOptions):
    """Options of `trackio`."""

    PLACE = ("project", "name", "folder", "space_id", "server_url")
    SECRETS = ("token",)

    project: str | None = Field(default=None, min_length=1)
    """The project; the recipe's name if left out."""
    name: str | None = Field(default=None, min_length=1)
    """The run's name; its id, such as `20261124-134501-a3f9`, if left out."""
    group: str | None = None
    """A group of runs that the dashboard shows together."""
    folder: Path | None = None
    """The folder of the database, relative to the working folder; Trackio's own if left out (`TRACKIO_DIR`)."""
    space_id: str | None = None
    """A Hugging Face Space that the run is sent to, such as `name/space`."""
    server_url: str | None = None
    """A Trackio server of your own that the run is sent to."""
    private: bool | None = None
    """Whether a Space that does not exist yet is made private."""
    token: str | None = None
    """The Space's or the server's write token, as `${env:NAME}`; the one that Trackio finds itself if left out."""
    system: bool = True
    """Whether the use of processor and GPU is tracked, where Trackio can measure it."""

    _token_is_secret = field_validator("token", mode="before")(refuse_plain)
    _server_is_url = field_validator("server_url")(_url)

    @model_validator(mode="after")
    def _one_place(self) -> TrackioOptions:
        if self.space_id is not None and self.server_url is not None:
            raise ValueError("a run is sent to `space_id` or to `server_url`, not to both")
        return self


class TensorBoardOptions(TrackerOptions):
    """Options of `tensorboard`."""

    PLACE = ("folder",)

    folder: Path | None = None
    """The folder of all runs' event files, relative to the working folder; `tensorboard` in the run folder if left out,
    where `tensorboard --logdir runs` finds it."""


class WandbOptions(TrackerOptions):
    """Options of `wandb`."""

    PLACE = ("project", "entity", "name", "mode", "folder", "base_url")
    SECRETS = ("key",)

    project: str | None = Field(default=None, min_length=1)
    """The project; the recipe's name if left out."""
    entity: str | None = None
    """The user or team; your default one if left out."""
    name: str | None = Field(default=None, min_length=1)
    """The run's name; its id, such as `20261124-134501-a3f9`, if left out."""
    group: str | None = None
    """A group of runs, such as the seeds of an experiment."""
    job_type: str | None = None
    """The kind of the run within its group."""
    tags: tuple[str, ...] = ()
    """Tags of the run."""
    notes: str | None = None
    """A description of the run."""
    mode: Literal["online", "offline"] | None = None
    """`offline` writes files that `wandb sync` sends later; as `WANDB_MODE` if left out, and online without it."""
    folder: Path | None = None
    """The folder in which wandb makes its folder `wandb`, relative to the working folder; that one if left out."""
    base_url: str | None = None
    """The server, if it is not wandb.ai; as `WANDB_BASE_URL` if left out."""
    key: str | None = None
    """The API key, as `${env:NAME}`; the one that `wandb login` stored, or `WANDB_API_KEY`, if left out."""
    system: bool = True
    """Whether the use of processor, memory and GPU is tracked."""

    _key_is_secret = field_validator("key", mode="before")(refuse_plain)
    _base_is_url = field_validator("base_url")(_url)


class MlflowOptions(TrackerOptions):
    """Options of `mlflow`."""

    PLACE = ("experiment", "name", "tracking_uri")
    SECRETS = ("token",)

    experiment: str | None = Field(default=None, min_length=1)
    """The experiment, which is made where it does not exist; the recipe's name if left out."""
    name: str | None = Field(default=None, min_length=1)
    """The run's name; its id, such as `20261124-134501-a3f9`, if left out."""
    tracking_uri: str | None = None
    """A tracking server (`http://…`) or a database (`sqlite:///mlflow.db`); as `MLFLOW_TRACKING_URI` if left out, and
    `mlflow.db` in the working folder without it."""
    tags: dict[str, str] = {}
    """Tags of the run."""
    token: str | None = None
    """The tracking server's token, as `${env:NAME}`; as `MLFLOW_TRACKING_TOKEN` if left out."""

    _token_is_secret = field_validator("token", mode="before")(refuse_plain)
