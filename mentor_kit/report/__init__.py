"""What runs show: before and after, learning curves, and several runs side by side."""

from mentor_kit.report.before_after import BeforeAfter, before_after
from mentor_kit.report.compare import Comparison, compare
from mentor_kit.report.curve import plot_run

__all__ = ["BeforeAfter", "Comparison", "before_after", "compare", "plot_run"]
