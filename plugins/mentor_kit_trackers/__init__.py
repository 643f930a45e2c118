"""Trackers: Trackio, TensorBoard, Weights & Biases and MLflow, each in a process of its own.

    the run's process                        the tracker's process
    WorkerTracker ──messages──► pipe ──────► Session ──Point, …──► Writer ──► trackio, wandb, mlflow, tensorboardX
          ▲                                     │
          └──────── answers, notes ◄── pipe ◄───┘

Their libraries print, prompt, start threads, scan repositories, wait for servers and take seconds to import. In a
process of their own none of it reaches the terminal or the training: messages are queued, a tracker that does not
answer is switched off, and closing it takes `timeout` seconds at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl
from mentor_kit.hooks.references import missing_package

if TYPE_CHECKING:
    from collections.abc import Callable

    from mentor_kit.hooks import BuildContext, Register
    from mentor_kit.hooks.tracker import Tracker
    from mentor_kit_trackers.options import TrackerOptions


@hookimpl
def register_trackers(register: Register) -> None:
    """`trackio`, `tensorboard`, `wandb`, `mlflow`."""
    from mentor_kit_trackers import options

    register(
        "trackio",
        options=options.TrackioOptions,
        build=_builder("trackio", "mentor_kit_trackers.trackio:TrackioWriter"),
        summary="Trackio: curves, and rollouts as traces; local files, a Space, or a server of your own",
        available=lambda: missing_package("trackio", "trackio"),
    )
    register(
        "tensorboard",
        options=options.TensorBoardOptions,
        build=_builder("tensorboard", "mentor_kit_trackers.tensorboard:TensorBoardWriter"),
        summary="TensorBoard: curves and rollouts in event files of the run folder",
        available=lambda: missing_package("tensorboardX", "tensorboard"),
    )
    register(
        "wandb",
        options=options.WandbOptions,
        build=_builder("wandb", "mentor_kit_trackers.wandb:WandbWriter"),
        summary="Weights & Biases: curves, and rollouts as tables; online or offline",
        available=lambda: missing_package("wandb", "wandb"),
    )
    register(
        "mlflow",
        options=options.MlflowOptions,
        build=_builder("mlflow", "mentor_kit_trackers.mlflow:MlflowWriter"),
        summary="MLflow: curves, and rollouts as tables; a local database or a tracking server",
        available=lambda: missing_package("mlflow", "mlflow"),
    )


def _builder(name: str, writer: str) -> Callable[[TrackerOptions, BuildContext], Tracker]:
    def build(options: TrackerOptions, context: BuildContext) -> Tracker:
        from mentor_kit_trackers.tracker import WorkerTracker

        return WorkerTracker(name, writer, options)

    return build
