"""What a recipe costs on this machine: a few of its steps are run and measured, and nothing is kept."""

from mentor_kit.bench.measure import bench
from mentor_kit.bench.result import Bench, StageBench

__all__ = ["Bench", "StageBench", "bench"]
