"""The engine `verl`: `mentor_kit.recipe.engines.TrainingEngine` over the parts of this package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mentor_kit.recipe.engines import Cluster, EngineResults, EngineRun, EpisodeRow, TrainingEngine
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.source import Path_
from mentor_kit.stages.grpo_options import GRPOOptions
from mentor_kit_verl.options import VerlOptions
from mentor_kit_verl.settings import differences, recipe_faults, recipe_settings


@dataclass(frozen=True)
class VerlEngine(TrainingEngine):
    """verl."""

    options: VerlOptions

    def faults(self, loaded: LoadedRecipe, options: GRPOOptions, cluster: Cluster) -> Iterator[tuple[Path_, str]]:
        return recipe_faults(loaded, options, cluster, self.options)

    def write(self, run: EngineRun, rows: Sequence[EpisodeRow], folder: Path) -> list[str]:
        from mentor_kit_verl import files

        files.write_configuration(folder, recipe_settings(run, self.options))
        files.write_rows(folder, rows)
        files.write_requirements(folder)
        files.write_launch_script(folder, run)
        found = list(differences(run))
        files.write_readme(folder, run, found)
        return found

    def read(self, folder: Path) -> EngineResults:
        from mentor_kit_verl.results import read_results

        return read_results(folder)
