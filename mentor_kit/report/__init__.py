"""Reports on runs: evaluations, before and after training, learning curves, comparisons of several runs."""

from mentor_kit.report.before_after import BeforeAfter, before_after
from mentor_kit.report.compare import compare
from mentor_kit.report.comparison import Comparison
from mentor_kit.report.curve import plot_run
from mentor_kit.report.evaluated import Evaluated, evaluated
from mentor_kit.report.paired import Paired, paired
from mentor_kit.report.parquet import write_outcomes

__all__ = [
    "BeforeAfter",
    "Comparison",
    "Evaluated",
    "Paired",
    "before_after",
    "compare",
    "evaluated",
    "paired",
    "plot_run",
    "write_outcomes",
]
