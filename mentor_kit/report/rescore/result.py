"""The result of rescoring a run, as data, tables and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from mentor_kit.core.frozen_model import Json
from mentor_kit.report.tables import Sheet, percent, wrapped

METHOD = (
    "Zero variance: groups whose rewards are all equal, from which nothing is learned. With right: the correlation of "
    "the reward with the answer being right. Sign changed: rollouts that the run's own estimator pushes the other way."
)


@dataclass(frozen=True)
class EpisodeChange:
    """An episode that another reward pays more or less, and where it stands in the run."""

    stage: str
    step: int
    evaluation: str
    """The name of the evaluation; empty for a training rollout."""
    problem: str
    attempt: int
    """The position among the step's or evaluation's episodes of the problem, from 0; texts count from 1."""
    correct: bool
    before: float
    """The reward that is recorded."""
    after: float
    advantage_before: float | None
    """The run's advantage; None where nothing was learned from the episode."""
    advantage_after: float | None

    @property
    def place(self) -> str:
        """The episode's place, such as `0-grpo step 12, train-0-7, attempt 4`."""
        where = f"evaluation {self.evaluation}" if self.evaluation else f"{self.stage} step {self.step}"
        return f"{where}, {self.problem}, attempt {self.attempt + 1}"

    @property
    def text(self) -> str:
        """The place, and what changes."""
        pay = f"{self.before:.3f} -> {self.after:.3f}"
        if self.advantage_before is not None and self.advantage_after is not None:
            pay += f", advantage {self.advantage_before:+.2f} -> {self.advantage_after:+.2f}"
        return f"{self.place}: {'right' if self.correct else 'wrong'}, {pay}"


@dataclass(frozen=True)
class RewardOutcome:
    """What one reward pays for the same episodes."""

    name: str
    own: bool
    """Whether it is what the run recorded."""
    episodes: int
    mean: float | None
    groups: int
    """Groups of rollouts; 0 in evaluations, where no advantages are estimated."""
    zero_variance: float | None
    """The share of groups whose rewards are all equal; the other groups have spread."""
    correlation: float | None
    """Pearson's correlation of the reward with the answer being right; None where one of the two never varies."""
    compared: int
    """Rollouts whose advantages were compared with the run's."""
    sign_changed: float | None
    """The share of these whose advantage has the opposite sign."""
    to_zero: float | None
    """The share whose advantage is 0 and was not."""
    from_zero: float | None
    """The share whose advantage was 0 and is not."""
    gained: tuple[EpisodeChange, ...] = ()
    """The episodes that it pays most above the run's reward, one a group, the largest difference first."""
    lost: tuple[EpisodeChange, ...] = ()

    @property
    def spread(self) -> float | None:
        """The share of groups that have spread."""
        return None if self.zero_variance is None else 1.0 - self.zero_variance

    @property
    def label(self) -> str:
        """Its name in tables."""
        return f"{self.name} (own)" if self.own else self.name


@dataclass(frozen=True)
class Reproduction:
    """Whether the run's own reward, computed anew, gives every episode exactly what is recorded."""

    checked: int
    equal: int
    first: str = ""
    """The first episode that differs, with both rewards; empty where none does."""
    reason: str = ""
    """Why nothing was checked; empty where it was."""

    @property
    def exact(self) -> bool:
        """Whether every episode was checked and is equal."""
        return not self.reason and self.equal == self.checked

    @property
    def text(self) -> str:
        """The check in a sentence."""
        if self.reason:
            return f"the run's own reward was not computed anew: {self.reason}"
        if self.exact:
            return f"the run's own reward, computed anew, gives all {self.checked:,} episodes exactly what they earned"
        return (
            f"the run's own reward, computed anew, differs for {self.checked - self.equal:,} of {self.checked:,} "
            f"episodes; the first: {self.first}. A plugin, the task's data or the demonstrations have changed since"
        )


@dataclass(frozen=True)
class StepSeries:
    """Means and shares of zero-variance groups by step, a list a reward, in the order of the outcomes."""

    stage: tuple[str, ...]
    step: tuple[int, ...]
    mean: tuple[tuple[float, ...], ...]
    zero_variance: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Rescored:
    """What rewards pay for the same episodes of a run; the first is the run's own, as recorded."""

    run: str
    """`name/id`."""
    source: str
    """`rollouts` or `evaluations`."""
    steps: int
    """Steps, or evaluations, whose episodes were scored."""
    rewards: tuple[RewardOutcome, ...]
    reproduction: Reproduction
    series: StepSeries | None = None
    """None for evaluations."""
    evaluations: tuple[tuple[str, tuple[float | None, ...]], ...] = ()
    """For each evaluation its name and each reward's mean."""
    notes: tuple[str, ...] = ()
    """What is missing or counted otherwise, in sentences."""

    @property
    def sheet(self) -> Sheet:
        """A row a reward."""
        if self.source == "evaluations":
            heads: tuple[str, ...] = ("reward", "mean", "with right")
            rows = [(each.label, share3(each.mean), share3(each.correlation)) for each in self.rewards]
            return Sheet("What rewards pay for the evaluated episodes", heads, tuple(rows))
        heads = ("reward", "mean", "zero variance", "spread", "with right", "sign changed", "to 0", "from 0")
        found = [
            (
                each.label,
                share3(each.mean),
                percent(each.zero_variance),
                percent(each.spread),
                share3(each.correlation),
                *("–" if each.own else percent(value) for value in (each.sign_changed, each.to_zero, each.from_zero)),
            )
            for each in self.rewards
        ]
        return Sheet("What rewards pay for the same rollouts", heads, tuple(found))

    @property
    def evaluations_sheet(self) -> Sheet:
        """A row an evaluation, a column a reward: the means."""
        heads = ("evaluation", *(each.label for each in self.rewards))
        rows = [(name, *map(share3, means)) for name, means in self.evaluations]
        return Sheet("Mean reward by evaluation", heads, tuple(rows))

    def text(self, width: int | None = None, show: int = 3) -> str:
        """The check, the tables, the episodes that change most, and the notes, as plain lines.

        Args:
            width: columns of the lines; as many as they need if left out.
            show: how many of the episodes that gain and lose most are listed for each reward.
        """
        count = self.rewards[0].episodes
        unit = "step" if self.source == "rollouts" else "evaluation"
        what = f"{count:,} {'rollouts' if self.source == 'rollouts' else 'episodes'}"
        lines = [
            wrapped(f"{self.run}: {what} of {self.steps} {unit}{'' if self.steps == 1 else 's'}", width),
            wrapped(f"{'check' if self.reproduction.exact else 'CHECK'}: {self.reproduction.text}", width),
            "",
            self.sheet.text(width).rstrip(),
        ]
        if self.evaluations:
            lines += ["", self.evaluations_sheet.text(width).rstrip()]
        for outcome in self.rewards:
            for word, changes in (("more", outcome.gained[:show]), ("less", outcome.lost[:show])):
                if changes:
                    lines += ["", f"{outcome.name} pays {word} than the run did:"]
                    lines += [wrapped(f"  {change.text}", width) for change in changes]
        lines += ["", wrapped(METHOD, width)] if self.source == "rollouts" else []
        return "\n".join([*lines, *(wrapped(f"note: {note}", width) for note in self.notes)]) + "\n"

    def with_note(self, note: str) -> Rescored:
        """The same with one more note."""
        return replace(self, notes=(*self.notes, note))

    def to_json(self) -> dict[str, Json]:
        """The same as JSON."""
        found = asdict(self)
        found["rewards"] = [asdict(each) | {"spread": each.spread} for each in self.rewards]
        found["reproduction"] |= {"exact": self.reproduction.exact}
        return found


def share3(value: float | None) -> str:
    """A number with three places."""
    return "–" if value is None else f"{value:.3f}"
