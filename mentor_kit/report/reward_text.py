"""A reward as its equation in plain lines."""

from __future__ import annotations

from mentor_kit.rl.reward import RewardSpec, Schedule


def reward_text(reward: RewardSpec | None) -> str:
    """The gates and weighted terms of a reward, a line each."""
    if reward is None:
        return "reward: none"
    lines = ["reward, as it is computed:"]
    for gate in reward.gates:
        lines.append(f"  unless {gate.name or gate.use}: {gate.otherwise:g}, and nothing else counts")
    for term in reward.terms:
        wrong = "" if term.when_wrong == 1 else f" ({term.weight * term.when_wrong:g} when the answer is wrong)"
        options = f" with {term.options}" if term.options else ""
        lines.append(f"  {term.weight:+g} x {term.name or term.use}{options}{wrong}{_schedule(term.schedule)}")
    return "\n".join(lines)


def _schedule(schedule: Schedule | None) -> str:
    if schedule is None:
        return ""
    first, last = (f"{share:.0%}" for share in schedule.over)
    return f", times {schedule.start:g} to {schedule.end:g} from {first} to {last} of a stage ({schedule.shape})"
