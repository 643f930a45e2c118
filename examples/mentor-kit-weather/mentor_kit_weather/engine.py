"""The training engine `weather`: rows and settings as two JSON files, for a trainer of one's own.

That trainer plays each row by `mentor_kit.recipe.engines.episodes.EpisodePlayer`, over a sampler that asks its servers,
and appends what it gets to `episodes.jsonl`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from mentor_kit.core.errors import DataError
from mentor_kit.recipe.engines import Cluster, EngineResults, EngineRun, EpisodeRow, PlayedEpisode, TrainingEngine
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.source import Path_
from mentor_kit.stages.grpo_options import GRPOOptions


class WeatherEngine(TrainingEngine):
    """Trains on one machine, without a reference policy."""

    def faults(self, loaded: LoadedRecipe, options: GRPOOptions, cluster: Cluster) -> Iterator[tuple[Path_, str]]:
        """Yield the settings that the trainer does not know, with their places in the recipe."""
        if options.objective.kl > 0:
            yield ("train", 0, "with", "objective", "kl"), "this engine has no reference policy; use 0"
        if cluster.nodes > 1:
            yield (), f"this engine runs on one machine, not on {cluster.nodes}"

    def write(self, run: EngineRun, rows: Sequence[EpisodeRow], folder: Path) -> list[str]:
        """Write rows and settings."""
        (folder / "rows.jsonl").write_text("".join(f"{row.to_json()}\n" for row in rows), encoding="utf-8")
        settings = {"model": run.student.model, "steps": run.options.steps, "lr": run.options.optimizer.lr}
        (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        return ["The learning rate is constant."]

    def read(self, folder: Path) -> EngineResults:
        """Return the episodes that the trainer left."""
        file = folder / "episodes.jsonl"
        if not file.is_file():
            raise DataError(f"{file} is not there: nothing was trained yet")
        lines = file.read_text(encoding="utf-8").splitlines()
        return EngineResults(steps=(), episodes=[PlayedEpisode.from_json(line) for line in lines])
