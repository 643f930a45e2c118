"""What other rewards would have paid for the episodes that a run folder has; nothing is sampled again.

rollouts, evaluated episodes ──other rewards──> totals ──the run's own estimator──> advantages, compared with the run's
"""

from mentor_kit.report.rescore.rescoring import rescore
from mentor_kit.report.rescore.result import EpisodeChange, Reproduction, Rescored, RewardOutcome

__all__ = ["EpisodeChange", "Reproduction", "Rescored", "RewardOutcome", "rescore"]
