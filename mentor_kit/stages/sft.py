"""SFT: maximum likelihood of the teacher's demonstrations, on the assistant's own tokens (the masks of RL).

problems ──teacher──> demonstrations ──chat format──> token groups ──log-likelihood──> new weights
"""

from __future__ import annotations

from dataclasses import dataclass

from mentor_kit.core.frozen_model import Json
from mentor_kit.rl.objective import ObjectiveSpec
from mentor_kit.rl.update_metrics import LossMetrics, StepMetrics
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.demonstration_stream import DemonstrationStream
from mentor_kit.stages.evaluation_plan import EvaluationPlan
from mentor_kit.stages.experiment import Experiment
from mentor_kit.stages.schedule import learning_rate
from mentor_kit.stages.sft_options import SFTOptions
from mentor_kit.stages.stage import Stage
from mentor_kit.stages.stopwatch import Stopwatch
from mentor_kit.stages.training_loop import begin, finish_step
from mentor_kit.stages.workload import SplitUse, Workload, teacher_uses


@dataclass(frozen=True)
class SFTStage(Stage):
    """The stage `sft`."""

    options: SFTOptions

    def run(self, experiment: Experiment, context: StageContext) -> None:
        options, policy = self.options, experiment.policy
        done = begin(experiment, context, options.optimizer.spec)
        objective = experiment.build_objective(ObjectiveSpec(preset="sft"))
        stream = DemonstrationStream(experiment, context, options, self._position(context, done))
        for step in range(done + 1, options.steps + 1):
            stopwatch = Stopwatch()
            demonstrations = stream.take()
            loss = policy.forward_backward(demonstrations, objective)
            update = policy.optimizer_step(learning_rate(options.optimizer, step, options.steps))
            seconds = stopwatch.lap("step")
            metrics = sft_metrics(len(demonstrations), stream.left_out, loss, update, seconds)
            context.emit("step", step=step, steps=options.steps, **metrics)
            finish_step(experiment, context, step, options.steps, {"position": stream.position})

    def workload(self, evaluation: EvaluationPlan) -> Workload:
        """A batch of demonstrations for each step; the student generates nothing but in evaluations."""
        return Workload(
            steps=self.options.steps,
            problems=self.options.batch,
            demonstrations=self.options.teacher is None,
            own_teachers=teacher_uses(self.options.teacher),
            optimizer=self.options.optimizer.spec,
            splits=(SplitUse(split=self.options.split, option=("split",)),),
            adjustable=("steps",),
        )

    def _position(self, context: StageContext, done: int) -> int:
        """How many problems of the stream the last checkpoint has passed."""
        return int((context.resumed() or {}).get("position", done * self.options.batch))


def sft_metrics(
    demonstrations: int, left_out: int, loss: LossMetrics, update: StepMetrics, seconds: float
) -> dict[str, Json]:
    """The metrics of a step.

    Args:
        demonstrations: how many were trained on.
        left_out: how many could not be trained on.
        loss: the result of the update.
        update: the result of the optimizer's step.
        seconds: of the whole step.
    """
    return {
        "loss": loss.loss,
        "tokens": loss.tokens,
        "demonstrations": demonstrations,
        **({"left_out": left_out} if left_out else {}),
        "gradient_norm": update.gradient_norm,
        "clipped_gradient": update.clipped,
        "learning_rate": update.learning_rate,
        "tokens_per_second": loss.tokens / seconds,
        "seconds": seconds,
    }
