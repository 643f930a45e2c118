"""Benchmarks of a recipe on this machine: a few steps are run and measured, and nothing is written."""

from mentor_kit.benchmark.measure import bench
from mentor_kit.benchmark.result import Bench, StageBench

__all__ = ["Bench", "StageBench", "bench"]
