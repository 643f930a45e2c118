"""What goes wrong in training: for each condition its sign in the metrics of a step, the threshold, and the cure.

Every condition is a pure function of a stage's steps so far. docs/troubleshooting.md lists the same for people.

A condition may explain others: while episodes are cut, that nothing is right needs no words of its own, and its cure
would mislead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from mentor_kit.runs.stage_history import StageHistory

#: Steps in a row after which a condition is named: one step of few rollouts may look like anything.
STEPS = 3
#: Steps in a row without a right answer: hard problems may well give none in a few steps.
LONG = 10

#: The share of rollouts that makes "nearly all": the rest is too few to learn another behaviour from.
NEARLY_ALL = 0.8
#: The share of calls above which faulty calls are the rule.
HALF = 0.5
#: The share of groups without variance that stands for all of them, whatever the rounding.
ALL = 0.999
#: Calls a rollout below which there are none to speak of: one in fifty rollouts.
NO_CALLS = 0.02
#: Calls a rollout above which shares of calls mean something.
SOME_CALLS = 0.1
#: Sampled tokens a turn that are an empty turn: its end, and at most one token before it.
EMPTY_TURN = 2.0
#: Entropy of a whole rollout, in nats, below which two rollouts of a problem are the same nine times out of ten.
ROLLOUT_ENTROPY = 0.1
#: The share of its entropy in the first steps that is left when exploration is over.
ENTROPY_LEFT = 0.05
#: The accuracy of rollouts from which a student may be sure of itself, and equal rewards are success.
SOLVED = 0.9
#: The accuracy of a step that shows that a student could do the work.
ONCE_RIGHT = 0.05
#: Mean |log p - sampled log p| in nats a token: a hundred times what bfloat16 costs, and enough to bias every ratio.
MISMATCH = 0.1
#: The share of tokens whose ratio is clipped, above which most of an update is thrown away.
CLIPPED = 0.5
_TOO_STRICT = "sampling and training disagree by more than the loss allows"

#: Steps whose mean is compared with another.
WINDOW = 5
#: How many steps back the best window is looked for.
HORIZON = 200
#: The smallest fall of accuracy that is named.
FALL = 0.1
#: A fall must be as many standard errors of a window's mean, too, since the best window of many is chosen.
ERRORS = 5.0
#: The rise in similarity to the teacher that counts as up.
RISE = 0.02


@dataclass(frozen=True)
class Cure:
    """A setting to change, and how."""

    how: str
    """A phrase such as `raise`, with which a sentence begins."""
    setting: str = ""
    """A dotted key as `--set` takes it; empty for advice that is about no single setting."""
    more: str = ""
    """What follows the setting's name."""


@dataclass(frozen=True)
class Condition:
    """Something that goes wrong, and how it is recognised."""

    name: str
    holds: Callable[[StageHistory], bool]
    """Whether the last step shows it."""
    text: Callable[[StageHistory], str]
    """What it is, in one clause with the last step's numbers; when it was seen follows it."""
    cures: Callable[[StageHistory], Sequence[Cure]]
    """What to change, the likeliest first."""
    steps: int = STEPS
    """Steps in a row that must show it."""
    explains: frozenset[str] = frozenset()
    """Names of conditions that follow from it, and are not named while it holds."""
    in_evaluations: bool = False
    """Whether an evaluation after training shows it as well, by itself."""


def _percent(stage: StageHistory, name: str) -> str:
    return f"{100 * (stage.last(name) or 0.0):.0f} %"


def _is_broken(stage: StageHistory) -> bool:
    """Whether training has undone what the student could do: it was right at first, and is no more."""
    return max(stage.first("accuracy", WINDOW), default=0.0) >= ONCE_RIGHT and stage.below("accuracy", 0.0)


def _unless_broken(cures: Callable[[StageHistory], Sequence[Cure]]) -> Callable[[StageHistory], Sequence[Cure]]:
    """The cures; of a student that training has broken, a gentler training in their place."""
    return lambda stage: _steadier(stage) if _is_broken(stage) else cures(stage)


def _cut(stage: StageHistory) -> Sequence[Cure]:
    return (
        Cure("raise", "rollout.max_turn_tokens"),
        Cure("raise", "rollout.max_response_tokens"),
        Cure("look at the end of a rollout: a student that never ends its turn needs a stage `sft` first"),
    )


def _out_of_turns(stage: StageHistory) -> float:
    return (stage.last("not_ended") or 0.0) - (stage.last("truncated") or 0.0)


def _is_empty(stage: StageHistory) -> bool:
    turns, tokens = stage.last("turns"), stage.last("sampled_tokens")
    return turns is not None and tokens is not None and tokens <= EMPTY_TURN * max(turns, 1.0)


def _steadier(stage: StageHistory) -> Sequence[Cure]:
    return (
        Cure("lower", stage.option("optimizer.lr")),
        Cure("raise", stage.option("objective.kl"), ", which holds the student at its start"),
        Cure("the best checkpoint is kept: `mentorkit evaluate RECIPE --run RUN --checkpoint best`"),
    )


def _no_answer(stage: StageHistory) -> Sequence[Cure]:
    return (
        Cure("say in", "rollout.system", " in which form the answer is asked for"),
        Cure("add a stage `sft` on the teacher's demonstrations before this one, in", "train"),
    )


def _no_calls(stage: StageHistory) -> bool:
    return stage.expects_calls and stage.below("calls_per_problem", NO_CALLS)


def _untaught(stage: StageHistory) -> Sequence[Cure]:
    return (
        Cure(
            "`mentorkit run RECIPE --dry-run` prints the prompt: if the tools are not in it, give another",
            "student.chat_template",
        ),
        Cure("add a stage `sft` on the teacher's demonstrations before this one, in", "train"),
    )


def _faulty(name: str) -> Callable[[StageHistory], bool]:
    return lambda stage: stage.above(name, HALF) and stage.above("calls_per_problem", SOME_CALLS)


def _malformed(stage: StageHistory) -> Sequence[Cure]:
    return (Cure("raise", "rollout.max_turn_tokens", " if calls are cut"), *_untaught(stage))


def _equal_rewards(stage: StageHistory) -> bool:
    return stage.learns_from_reward and stage.above("zero_variance_groups", ALL)


def _is_solved(stage: StageHistory) -> bool:
    return stage.above("accuracy", SOLVED)


def _no_spread(stage: StageHistory) -> Sequence[Cure]:
    if _is_solved(stage):
        return (Cure("the student has learned these problems: take harder ones, in", "task"),)
    sparse = stage.value("reward.use") == "sparse"
    denser = (Cure("pay for how the student works, too: `mentor` as", "reward"),) if sparse else ()
    return (
        *denser,
        Cure("raise", stage.option("group")),
        Cure("raise", "rollout.temperature"),
        Cure("`mentorkit rescore RUN` shows which reward has spread on these rollouts"),
    )


def _entropy_gone(stage: StageHistory) -> bool:
    entropy, tokens = stage.last("entropy"), stage.last("sampled_tokens")
    if entropy is None or _is_solved(stage) or stage.last("accuracy") is None:
        return False
    collapsed = len(stage.steps) > WINDOW and entropy < ENTROPY_LEFT * _mean(stage.first("entropy", WINDOW))
    return collapsed or (tokens is not None and entropy * tokens < ROLLOUT_ENTROPY)


def _explore(stage: StageHistory) -> Sequence[Cure]:
    return (
        Cure("raise", "rollout.temperature"),
        Cure("lower", stage.option("optimizer.lr")),
        Cure("take", stage.option("objective.preset"), ": `dapo`, which clips rises less"),
        Cure("raise", stage.option("objective.kl")),
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / max(len(values), 1)


def _windows(stage: StageHistory) -> tuple[int, float] | None:
    """How many steps ago the window of the highest accuracy ended, and how far the last window is below it.

    None where the fall is within what chance makes of steps of so few rollouts: their noise is estimated from the
    differences of neighbouring steps (von Neumann, 1941).
    """
    values = stage.recent("accuracy", HORIZON)
    if len(values) < max(2 * WINDOW, min(HORIZON, len(stage.steps))):
        return None
    sums = [0.0, *accumulate(values)]
    means = [(sums[end] - sums[end - WINDOW]) / WINDOW for end in range(WINDOW, len(sums))]
    best = max(range(len(means)), key=means.__getitem__)
    squares = [(late - early) ** 2 for early, late in pairwise(values)]
    error = math.sqrt(_mean(squares) / 2) * math.sqrt(2 / WINDOW)
    fall = means[best] - means[-1]
    return (len(means) - 1 - best, fall) if fall >= max(FALL, ERRORS * error) else None


def _falls(stage: StageHistory) -> bool:
    return _windows(stage) is not None


def _falls_while_similar(stage: StageHistory) -> bool:
    found = _windows(stage)
    if found is None:
        return False
    ago, _ = found
    alike = stage.recent("similarity", ago + WINDOW)
    return len(alike) == ago + WINDOW and _mean(alike[-WINDOW:]) - _mean(alike[:WINDOW]) >= RISE


def _fall(stage: StageHistory) -> str:
    found = _windows(stage)
    ago, fall = found if found is not None else (0, 0.0)
    now = _mean(stage.recent("accuracy", WINDOW))
    return f"the accuracy of rollouts fell from {100 * (now + fall):.0f} % {ago} steps ago to {100 * now:.0f} %"


def _pay_for_answers(stage: StageHistory) -> Sequence[Cure]:
    known = [("raise", "reward.right"), ("lower", "reward.tools"), ("lower", "reward.when_wrong")]
    return (
        *(Cure(how, setting) for how, setting in known if stage.value(setting) is not None),
        Cure("`mentorkit audit RECIPE` shows what earns the reward without the work"),
    )


def _has_the_samplers_weights(stage: StageHistory) -> bool:
    """Not so for stale rollouts, later minibatches and epochs, as it should be."""
    updates = (stage.value(stage.option("minibatches")) or 1) * (stage.value(stage.option("epochs")) or 1)
    return updates == 1 and not stage.value("rollout.staleness")


def _clip_less(stage: StageHistory) -> tuple[Cure, ...]:
    if _has_the_samplers_weights(stage):
        cap = Cure("take training's own numbers before the update: 2 as", stage.option("objective.importance_cap"))
        return cap, Cure("set", "backend.dtype", " to float32, where the two differ less")
    return tuple(Cure("lower", stage.option(name)) for name in ("optimizer.lr", "epochs", "minibatches"))


#: All conditions, causes before what follows from them.
CONDITIONS: tuple[Condition, ...] = (
    Condition(
        name="episodes-cut",
        holds=lambda stage: stage.above("truncated", NEARLY_ALL),
        text=lambda stage: f"{_percent(stage, 'truncated')} of rollouts used up their tokens before they ended",
        cures=_unless_broken(_cut),
        explains=frozenset(
            {"malformed-calls", "no-calls", "no-answers", "empty-answers", "equal-rewards", "nothing-right"}
        ),
        in_evaluations=True,
    ),
    Condition(
        name="out-of-turns",
        holds=lambda stage: _out_of_turns(stage) >= NEARLY_ALL,
        text=lambda stage: f"{100 * _out_of_turns(stage):.0f} % of rollouts used up their turns before they answered",
        cures=lambda stage: (
            Cure("raise", "rollout.max_turns"),
            Cure("a student that repeats its calls needs a stage `sft` first, in", "train"),
        ),
        explains=frozenset({"no-answers", "equal-rewards", "nothing-right"}),
        in_evaluations=True,
    ),
    Condition(
        name="empty-answers",
        holds=_is_empty,
        text=lambda stage: f"turns are empty: {stage.last('sampled_tokens') or 0:.1f} tokens a rollout",
        cures=_steadier,
        explains=frozenset({"no-answers", "no-calls", "equal-rewards", "nothing-right", "entropy-gone"}),
        in_evaluations=True,
    ),
    Condition(
        name="no-answers",
        holds=lambda stage: stage.above("gate/answered", NEARLY_ALL),
        text=lambda stage: f"{_percent(stage, 'gate/answered')} of rollouts ended without an answer",
        cures=_unless_broken(_no_answer),
        explains=frozenset({"equal-rewards", "nothing-right"}),
    ),
    Condition(
        name="no-calls",
        holds=_no_calls,
        text=lambda stage: "the student calls no tools",
        cures=_unless_broken(_untaught),
        in_evaluations=True,
    ),
    Condition(
        name="malformed-calls",
        holds=_faulty("malformed_rate"),
        text=lambda stage: f"{_percent(stage, 'malformed_rate')} of calls are malformed",
        cures=_unless_broken(_malformed),
        in_evaluations=True,
    ),
    Condition(
        name="unknown-tools",
        holds=_faulty("unknown_tool_rate"),
        text=lambda stage: f"{_percent(stage, 'unknown_tool_rate')} of calls name a tool that does not exist",
        cures=_unless_broken(_untaught),
        in_evaluations=True,
    ),
    Condition(
        name="invalid-arguments",
        holds=_faulty("invalid_arguments_rate"),
        text=lambda stage: f"{_percent(stage, 'invalid_arguments_rate')} of calls have invalid arguments",
        cures=_unless_broken(_untaught),
        in_evaluations=True,
    ),
    Condition(
        name="failed-calls",
        holds=_faulty("failed_rate"),
        text=lambda stage: f"{_percent(stage, 'failed_rate')} of calls failed in the tool",
        cures=lambda stage: (
            Cure("look at the errors in a rollout's tool results; a tool may be broken, in", "tools"),
        ),
        in_evaluations=True,
    ),
    Condition(
        name="equal-rewards",
        holds=_equal_rewards,
        text=lambda stage: "the rewards of every group were equal, so that nothing is learned",
        cures=_no_spread,
        explains=frozenset({"entropy-gone", "no-gradient"}),
    ),
    Condition(
        name="no-gradient",
        holds=lambda stage: stage.below("gradient_norm", 0.0),
        text=lambda stage: "the gradient is exactly 0, so that nothing is learned",
        cures=lambda stage: (
            Cure("no token may be trained on: set to false", stage.option("mask_unended")),
            Cure("the model may have no parameters to train: look at", "student.adapter"),
        ),
    ),
    Condition(
        name="nothing-right",
        holds=lambda stage: stage.below("accuracy", 0.0),
        text=lambda stage: "not one rollout was right",
        cures=lambda stage: (
            Cure("check the answers' form with the teacher: `mentorkit evaluate RECIPE --agent teacher`"),
            Cure("add a stage `sft` on the teacher's demonstrations before this one, in", "train"),
            Cure("take easier problems, in", "task"),
        ),
        steps=LONG,
    ),
    Condition(
        name="entropy-gone",
        holds=_entropy_gone,
        text=lambda stage: (
            f"the student hardly explores any more: entropy {stage.last('entropy') or 0:.4f} nats a token, "
            f"{_percent(stage, 'accuracy')} right"
        ),
        cures=_explore,
    ),
    Condition(
        name="similarity-without-accuracy",
        holds=_falls_while_similar,
        text=lambda stage: f"{_fall(stage)}, while the tool use came closer to the teacher's",
        cures=_pay_for_answers,
        explains=frozenset({"accuracy-falls"}),
    ),
    Condition(name="accuracy-falls", holds=_falls, text=_fall, cures=_steadier),
    Condition(
        name="sampler-mismatch",
        holds=lambda stage: _has_the_samplers_weights(stage) and stage.above("mismatch", MISMATCH),
        text=lambda stage: (
            f"sampling and training disagree by {stage.last('mismatch') or 0:.2f} nats a token about the same weights"
        ),
        cures=lambda stage: (
            Cure("set", "backend.dtype", " to float32 to see whether precision is the cause"),
            Cure("limit what it costs: 2 as", stage.option("objective.importance_cap")),
        ),
    ),
    Condition(
        name="updates-clipped",
        holds=lambda stage: stage.above("clipped", CLIPPED),
        text=lambda stage: (
            f"{_percent(stage, 'clipped')} of tokens are clipped: "
            + (_TOO_STRICT if _has_the_samplers_weights(stage) else "updates are too large")
        ),
        cures=_clip_less,
    ),
)
