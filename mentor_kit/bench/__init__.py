"""Benchmarks of a recipe on this machine: a few steps are run and measured, and nothing is written."""

from mentor_kit.bench.measure import bench
from mentor_kit.bench.result import Bench, StageBench

__all__ = ["Bench", "StageBench", "bench"]
