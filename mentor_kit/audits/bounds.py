"""The bound on a trajectory's reward: what honest work with the same calls earns.

    bound = min(honest twin, honest attempt)

The *twin* makes exactly the calls that tools executed, in plain form, and then gives an answer: right if the
trajectory solved the problem, else wrong. The *attempt* is the teacher's own work with such an answer: it bounds what
padding may earn. Whether a problem was solved is read from the raw string, independently of parser and task.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mentor_kit.audits.raw_rollout import END, AuditEnvironment, RawRollout
from mentor_kit.audits.subject import AuditSubject
from mentor_kit.rl.reward import Breakdown, Reward
from mentor_kit.rollout.verdict import is_right

#: Totals closer together than this are the same.
SAME = 1e-9

_BOX = re.compile(r"\\boxed\s*\{")
_NUMBER = re.compile(r"\d+(?:(?:[.,]|\{,\})\d+)*(?:[eE][+-]?\d+)?")


@dataclass
class Bounds:
    """Rewards of honest work on one problem, computed on first use."""

    environment: AuditEnvironment
    subject: AuditSubject
    reward: Reward
    _twins: dict[tuple[str, bool], float] = field(default_factory=dict)

    def paid(self, rollouts: Sequence[RawRollout]) -> list[Breakdown]:
        """What the reward pays for each episode."""
        cases = [(one.trajectory, one.script.problem, self.subject.demonstrations) for one in rollouts]
        self.reward.prepare(cases)
        return [self.reward(*case) for case in cases]

    def of(self, rollouts: Sequence[RawRollout], solved: Sequence[bool]) -> list[float]:
        """The most that each episode may earn."""
        keys = [(_calls(one), right) for one, right in zip(rollouts, solved, strict=True)]
        new = {key: one for key, one in zip(keys, rollouts, strict=True) if key not in self._twins}
        twins = self.environment.run_honest([self.subject.twin(one.executed, right=key[1]) for key, one in new.items()])
        for key, paid in zip(new, self.paid(twins), strict=True):
            self._twins[key] = paid.total
        return [min(self._twins[key], self.honest(right=key[1])) for key in keys]

    def honest(self, *, right: bool) -> float:
        """What the teacher's own work earns with a right or a wrong answer."""
        key = ("honest", right)
        if key not in self._twins:
            (paid,) = self.paid(self.environment.run_honest([self.subject.honest(right=right)]))
            self._twins[key] = paid.total
        return self._twins[key]


def solved(rollout: RawRollout, subject: AuditSubject, environment: AuditEnvironment) -> bool:
    r"""Return whether the last turn, read strictly, gives one answer and it is right.

    Where the task wants `\boxed{…}`: the text outside reasoning has one box, or the same one several times, and its
    value is right and has no more numbers than the teacher's. For other tasks it is their own verdict.
    """
    trajectory = rollout.trajectory
    if not trajectory.correct or not subject.right_value:
        return trajectory.correct
    raw = rollout.used_turns[-1] if len(rollout.used_turns) == len(trajectory.turns) else ""
    if END not in raw:
        return False
    text = re.sub(environment.form.silence, "", raw.partition(END)[0], flags=re.DOTALL)
    values = {_value(text[found.end() :]) for found in _BOX.finditer(text)}
    if len(values) != 1:
        return False
    (value,) = values
    return _numbers(value) <= max(1, _numbers(subject.right_value)) and is_right(
        value, rollout.script.problem, environment.task
    )


def _numbers(text: str) -> int:
    """How many numbers a text has: one that has more than the right answer is a list of candidates."""
    return len(_NUMBER.findall(text))


def _value(text: str) -> str:
    """What stands before the first brace that closes a box; boxes with braces in them are no plain answers."""
    return text.partition("}")[0].strip()


def _calls(rollout: RawRollout) -> str:
    return json.dumps([[name, dict(arguments)] for name, arguments in rollout.executed], sort_keys=True, default=str)
