"""A warning about rollouts that are sampled with top-p or top-k, and trained on."""

from __future__ import annotations

from mentor_kit.stages.context import StageContext
from mentor_kit.stages.experiment import Experiment


def warn_of_filtered_sampling(experiment: Experiment, context: StageContext) -> None:
    """Emit a note where rollouts are filtered.

    Log-probabilities are of the full distribution, which is not the one that filtered samples are drawn from.
    """
    if experiment.sampling.top_p < 1 or experiment.sampling.top_k > 0:
        text = (
            "rollouts are sampled with top-p or top-k, so that training on them is biased: set top_p to 1, top_k to 0"
        )
        context.emit("note", text=text)
