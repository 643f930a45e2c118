"""Training engines: trainers outside of mentor-kit that a recipe is exported to, and whose results are imported.

recipe ──export──> folder: configuration, rows, launch script ──the engine trains──> results ──import──> run folder

The engine samples, updates and shards. Each of its episodes is mentor-kit's own: a row (`EpisodeRow`) is played by an
`EpisodePlayer` with the recipe's parser, tools, task, limits and reward, over a sampler that asks the engine's servers.
"""

from mentor_kit.recipe.engines.engine import STAGE_KEY, Cluster, EngineRun, TrainingEngine, common_faults, stage_options
from mentor_kit.recipe.engines.results import EngineResults, PlayedEpisode, TrainingStep
from mentor_kit.recipe.engines.rows import EpisodeRow, collect_rows

__all__ = [
    "STAGE_KEY",
    "Cluster",
    "EngineResults",
    "EngineRun",
    "EpisodeRow",
    "PlayedEpisode",
    "TrainingEngine",
    "TrainingStep",
    "collect_rows",
    "common_faults",
    "stage_options",
]
