r"""Honest work earns the published numbers: raw text through the real parser, tools and rollout, numbers by hand.

The numbers are worked out from the paper's table and its ablations: 0.7 for a right answer, 0.3 for the teacher's tools
(0.06 when wrong), 0.1 for no invented tool; 0.1 without an answer, 0 without an end. None stands where the published
code is at fault (see docs/rewards.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mentor_kit.audits import END, AuditEnvironment, RawRollout, Script
from mentor_kit.audits.audit import completion
from mentor_kit.audits.published import published_reward
from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.task import Problem
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.hooks import BuildContext, default_registry
from mentor_kit.recipe.assembly import build_reward, tool_source

PRESETS = ("mentor", "sparse", "mentor-overlap", "mentor-no-match", "mentor-f1")
Number = float | None


@dataclass(frozen=True)
class Row:
    what: str
    turns: tuple[str, ...]
    published: tuple[Number, Number, Number, Number, Number]


def tool(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


ADD, MULTIPLY = tool("add", '{"a": 2, "b": 3}'), tool("multiply", '{"a": 5, "b": 4}')
SQRT, INVENTED = tool("sqrt", '{"number": 400}'), tool("calculator", '{"text": "(2 + 3) * 4"}')
DIVIDE_BY_ZERO, TOO_MANY = tool("divide", '{"a": 1, "b": 0}'), tool("add", '{"a": 2, "b": 3, "c": 4}')
RIGHT, WRONG = r"The result is \boxed{20}", r"The result is \boxed{19}"
THOUGHT = "<think>\nFirst the sum.\n</think>\n"


def turns(*texts: str) -> tuple[str, ...]:
    return tuple(text + END for text in texts)


# (2 + 3) * 4, for which the teacher used add and multiply:        mentor, sparse, overlap, no-match, f1
TABLE = [
    Row("right, the same tools", turns(ADD, MULTIPLY, RIGHT), (1.1, 1.0, 1.0, 0.8, 1.1)),
    Row("both calls in one turn", turns(ADD + MULTIPLY, RIGHT), (1.1, 1.0, 1.0, 0.8, 1.1)),
    Row("in another order", turns(MULTIPLY, ADD, RIGHT), (1.1, 1.0, 1.0, 0.8, 1.1)),
    Row("one of them twice", turns(ADD, ADD, MULTIPLY, RIGHT), (1.1, 1.0, 1.0, 0.8, 1.1)),
    Row("with reasoning", turns(THOUGHT + ADD, MULTIPLY, THOUGHT + RIGHT), (1.1, 1.0, 1.0, 0.8, 1.1)),
    Row("with words beside the calls", turns("Let me add." + ADD, MULTIPLY, RIGHT), (1.1, 1.0, 1.0, 0.8, 1.1)),
    Row("the answer boxed twice", turns(ADD, MULTIPLY, RIGHT + RIGHT), (1.1, 1.0, 1.0, 0.8, 1.1)),
    Row("the answer in another form", turns(ADD, MULTIPLY, r"\boxed{20.0}"), (1.1, 1.0, 1.0, 0.8, 1.1)),
    Row("a call that was wrong, then mended", turns(TOO_MANY, ADD, MULTIPLY, RIGHT), (1.1, 1.0, 1.0, 0.8, 1.1)),
    Row("right, one of the two", turns(ADD, RIGHT), (0.8, 1.0, 1.0, 0.8, 1.0)),
    Row("right, one too many", turns(ADD, MULTIPLY, SQRT, RIGHT), (0.8, 1.0, 1.0, 0.8, 1.04)),
    Row("right, one of the two and another", turns(ADD, SQRT, RIGHT), (0.8, 1.0, 1.0, 0.8, 0.95)),
    Row("right, another tool", turns(SQRT, RIGHT), (0.8, 1.0, 0.7, 0.8, 0.8)),
    Row("right, no tool", turns(RIGHT), (0.8, 1.0, 0.7, 0.8, 0.8)),
    Row("right, an invented tool alone", turns(INVENTED, RIGHT), (0.7, 1.0, 0.7, 0.7, 0.7)),
    Row("wrong, the same tools", turns(ADD, MULTIPLY, WRONG), (0.16, 0.1, 0.06, 0.1, 0.16)),
    Row("wrong, one of the two", turns(ADD, WRONG), (0.1, 0.1, 0.06, 0.1, 0.14)),
    Row("wrong, one too many", turns(ADD, MULTIPLY, SQRT, WRONG), (0.1, 0.1, 0.06, 0.1, 0.148)),
    Row("wrong, another tool", turns(SQRT, WRONG), (0.1, 0.1, 0.0, 0.1, 0.1)),
    Row("wrong, no tool", turns(WRONG), (0.1, 0.1, 0.0, 0.1, 0.1)),
    Row("wrong, an invented tool alone", turns(INVENTED, WRONG), (0.0, 0.1, 0.0, 0.0, 0.0)),
    Row("no box", turns(ADD, MULTIPLY, "It is 20."), (0.1, 0.1, None, 0.1, 0.1)),
    Row("an empty box", turns(ADD, MULTIPLY, r"\boxed{}"), (0.1, 0.1, None, 0.1, 0.1)),
    Row("cut in the answer", (*turns(ADD, MULTIPLY), RIGHT), (0.0, 0.0, 0.0, 0.0, 0.0)),
    Row("cut in a call", (*turns(ADD), MULTIPLY[:40]), (0.0, 0.0, 0.0, 0.0, 0.0)),
    Row("a call that failed counts as use there", turns(DIVIDE_BY_ZERO, ADD, MULTIPLY, RIGHT),
        (None, 1.0, 1.0, 0.8, None)),
    Row("and so does an invented tool", turns(INVENTED, ADD, MULTIPLY, RIGHT), (None, 1.0, 1.0, 0.7, None)),
]  # fmt: skip

REGISTRY = default_registry()
PROBLEM = Problem(id="p", question="What is (2 + 3) * 4?", answer="20", extra={"start": 2, "steps": []})
SHOWN = [Demonstration(problem_id="p", teacher="t", tools_used=("add", "multiply"))]


def _world() -> AuditEnvironment:
    context = BuildContext(REGISTRY)
    task = REGISTRY.build("tasks", ComponentSpec(use="arithmetic"), context)
    tools = tool_source(REGISTRY.build("tools", ComponentSpec(use="math"), context), "math")
    return AuditEnvironment(task, Toolbox([tools]), EpisodeLimits(max_turns=5))


WORLD = _world()
REWARDS = {name: build_reward(ComponentSpec(use=name), REGISTRY, BuildContext(REGISTRY)) for name in PRESETS}


def play(row: Row) -> RawRollout:
    (played,) = WORLD.run([Script(PROBLEM, row.turns)])
    return played


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what)
def test_the_presets_give_the_published_numbers(row: Row) -> None:
    trajectory = play(row).trajectory
    for name, number in zip(PRESETS, row.published, strict=True):
        if number is not None:
            assert REWARDS[name](trajectory, PROBLEM, SHOWN).total == pytest.approx(number, abs=1e-12), name


@pytest.mark.parametrize("row", [row for row in TABLE if row.published[0] is not None], ids=lambda row: row.what)
def test_so_does_the_rule_that_attacks_are_compared_with(row: Row) -> None:
    found = published_reward(
        PROBLEM.question,
        completion(play(row)),
        ended=END in row.turns[-1],
        is_right=lambda text: WORLD.task.check(text, PROBLEM),
        known=WORLD.toolbox.tools(PROBLEM),
        shown=SHOWN[0].tools_used,
    )
    assert found == pytest.approx(row.published[0], abs=1e-12)


def test_where_ours_differs_only_what_was_carried_out_is_use() -> None:
    (failed, invented) = (REWARDS["mentor"](play(row).trajectory, PROBLEM, SHOWN).total for row in TABLE[-2:])
    assert (failed, invented) == pytest.approx((1.1, 1.0))


def test_where_ours_differs_silence_earns_no_more_than_an_honest_wrong_attempt() -> None:
    overlap = REWARDS["mentor-overlap"]
    silent, wrong = (
        overlap(play(row).trajectory, PROBLEM, SHOWN).total for row in TABLE if row.what in ("no box", "wrong, no tool")
    )
    assert (silent, wrong) == (0.0, 0.0)
    published = build_reward(
        ComponentSpec(use="mentor-overlap", options={"no_answer": 0.1}), REGISTRY, BuildContext(REGISTRY)
    )
    assert published(play(TABLE[21]).trajectory, PROBLEM, SHOWN).total == pytest.approx(0.1)
