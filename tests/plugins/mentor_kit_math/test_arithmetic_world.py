"""The arithmetic task, with its questions read and worked out by a reader of their text alone."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, lru_cache
from itertools import pairwise

import pytest
from mentor_kit_math.arithmetic import ArithmeticTask
from mentor_kit_math.operations import math_tools
from question_reader import Question, exact, read

from mentor_kit.core.agent import EpisodeLimits, EpisodeRequest, Reply
from mentor_kit.core.conversation import Message
from mentor_kit.core.errors import UsageError
from mentor_kit.core.task import Problem
from mentor_kit.core.toolbox import FunctionTools, Toolbox
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rollout import run_episodes

GROUPS = ("compositions", "wordings", "longer")
SPLITS = ("train", "in-domain", "out-of-domain", *GROUPS, "broad")
EVALUATION = ("in-domain", "out-of-domain", *GROUPS)

#: How many problems of a split most tests look at: longer chains are the costliest to draw.
COUNT = {"train": 600, "broad": 400, "in-domain": 300, "out-of-domain": 60}
COUNT |= {"longer": 50, "compositions": 110, "wordings": 100}

#: The wrong tool that the noisy demonstrator prefers, for the operations a blind check is about.
BLIND = {"modulo", "ceil", "round_number"}


@lru_cache(maxsize=64)
def problems(split: str, seed: int = 0, *, blind: bool = False) -> tuple[Problem, ...]:
    task = ArithmeticTask(blind_check=blind)
    return tuple(task.problems(split, seed, COUNT[split]))


@lru_cache(maxsize=16)
def questions(split: str, seed: int = 0) -> tuple[Question, ...]:
    return tuple(read(problem.question) for problem in problems(split, seed))


def values(problem: Problem) -> list[Fraction]:
    """The start and the value after each step, as the problem records them."""
    return [Fraction(str(number)) for number in _recorded(problem)]


def _recorded(problem: Problem) -> Iterator[object]:
    yield problem.extra["start"]
    for step in problem.extra["steps"]:
        yield step["value"]


class TestText:
    @pytest.mark.parametrize(("split", "seed"), [*((split, 0) for split in SPLITS), ("train", 7), ("broad", 7)])
    def test_the_answer_follows_from_the_text(self, split: str, seed: int) -> None:
        for problem, question in zip(problems(split, seed), questions(split, seed), strict=True):
            assert Fraction(problem.answer) in question.answers(), problem.question

    @pytest.mark.parametrize("split", SPLITS)
    def test_the_record_says_what_the_text_says(self, split: str) -> None:
        for problem, question in zip(problems(split), questions(split), strict=True):
            steps = problem.extra["steps"]
            assert Fraction(str(problem.extra["start"])) == question.start
            assert tuple(step["operation"] for step in steps) == question.operations
            for step, clause in zip(steps, question.clauses, strict=True):
                assert tuple(Fraction(str(operand)) for operand in step["operands"]) == clause.operands
            assert Fraction(problem.answer) == values(problem)[-1]

    @pytest.mark.parametrize("split", SPLITS)
    def test_every_step_changes_the_value_and_stays_in_range(self, split: str) -> None:
        for problem in problems(split):
            for before, after in pairwise(values(problem)):
                assert before != after, problem.question
                assert abs(after) <= 99_999
                assert (after * 100).denominator == 1, "two decimals"

    @pytest.mark.parametrize("split", SPLITS)
    def test_operands_are_of_their_ranges(self, split: str) -> None:
        ranges = {
            **dict.fromkeys(("add", "subtract"), (11, 999)),
            **dict.fromkeys(("multiply", "divide"), (3, 59)),
            "sum_numbers": (11, 499),
            "power": (2, 3),
            "modulo": (7, 97),
            "round_number": (0, 1),
        }
        for clause in (clause for question in questions(split) for clause in question.clauses):
            assert len(clause.operands) == (2 if clause.operation == "sum_numbers" else clause.operation in ranges)
            for operand in clause.operands:
                low, high = ranges[clause.operation]
                assert low <= operand <= high

    @pytest.mark.parametrize("split", SPLITS)
    def test_answers_are_plain_numbers(self, split: str) -> None:
        for problem in problems(split):
            whole, _, decimals = problem.answer.removeprefix("-").partition(".")
            assert whole.isdigit()
            assert whole == "0" or not whole.startswith("0")
            assert len(decimals) <= 2
            assert not decimals.endswith("0")
            assert problem.answer != "-0"


class TestSplits:
    def test_names(self) -> None:
        assert set(ArithmeticTask().splits) == set(SPLITS)

    def test_others_are_refused(self) -> None:
        with pytest.raises(UsageError, match="'in-domain'"):
            ArithmeticTask().problems("in_domain", 0, 5)

    @pytest.mark.parametrize("split", SPLITS)
    def test_labels(self, split: str) -> None:
        found = problems(split)
        assert {problem.split for problem in found} == {split}
        assert len({problem.id for problem in found}) == len(found)
        assert len({problem.question for problem in found}) == len(found)
        assert all(problem.group for problem in found)

    @pytest.mark.parametrize("split", SPLITS)
    def test_number_of_operations(self, split: str) -> None:
        lengths = {
            (problem.group, len(question.clauses))
            for problem, question in zip(problems(split), questions(split), strict=True)
        }
        known = {("1-step", 1), ("2-step", 2)}
        other = {"compositions": {("compositions", 2)}, "wordings": {("wordings", 1), ("wordings", 2)}}
        other["longer"] = {("longer", 3)}
        everything = set().union(*other.values())
        assert lengths == {
            "train": known,
            "in-domain": known,
            "out-of-domain": everything,
            "broad": known | everything,
            **other,
        }.get(split)

    @pytest.mark.parametrize("split", SPLITS)
    def test_other_wordings_only_where_they_belong(self, split: str) -> None:
        for problem, question in zip(problems(split), questions(split), strict=True):
            wanted = problem.group != "wordings"
            assert {clause.known for clause in question.clauses} == {wanted}, problem.question

    def test_all_wordings_and_operations_occur(self) -> None:
        for known, split in ((True, "train"), (False, "wordings")):
            assert {clause.known for question in questions(split) for clause in question.clauses} == {known}
            assert len({op for question in questions(split) for op in question.operations}) == 12

    def test_held_out_pairs_are_never_trained_and_nothing_else_is_composed(self) -> None:
        trained = {pair for seed in (0, 7) for question in questions("train", seed) for pair in _pairs(question)}
        asked = {pair for question in questions("compositions") for pair in _pairs(question)}
        assert not trained & asked
        assert len(asked) > 30
        # a third of the pairs that can follow each other
        assert len(asked) / len(asked | trained) == pytest.approx(1 / 3, abs=0.08)
        for split in ("in-domain", "wordings", "longer"):
            assert not asked & {pair for question in questions(split) for pair in _pairs(question)}

    def test_out_of_domain_is_a_third_of_each_kind(self) -> None:
        found = ArithmeticTask().problems("out-of-domain", 0, 60)
        assert Counter(problem.group for problem in found) == dict.fromkeys(GROUPS, 20)
        for group in GROUPS:
            alone = ArithmeticTask().problems(group, 0, 20)
            together = [problem.question for problem in found if problem.group == group]
            assert together == [problem.question for problem in alone]

    def test_broad_mixes_all_kinds(self) -> None:
        shares = Counter(problem.group for problem in problems("broad"))
        assert set(shares) == {"1-step", "2-step", *GROUPS}
        assert min(shares.values()) > 0.1 * COUNT["broad"]

    @pytest.mark.parametrize("blind", [False, pytest.param(True, marks=pytest.mark.slow)])
    def test_no_text_is_both_trained_on_and_asked(self, blind: bool) -> None:
        trained = {
            problem.question
            for seed in (0, 7, 12_345)
            for split in ("train", "broad")
            for problem in problems(split, seed, blind=blind)
        }
        asked = {problem.question for split in EVALUATION for problem in problems(split, blind=blind)}
        asked |= {problem.question for split in ("in-domain", "wordings") for problem in problems(split)}
        assert len(trained) > 2500
        assert not trained & asked

    def test_short_questions_recur_over_seeds_and_still_keep_apart(self) -> None:
        # single operations have few texts: had the splits no rule, these would surely meet
        first = {problem.question for problem in problems("train", 0) if problem.group == "1-step"}
        second = {problem.question for problem in problems("train", 7) if problem.group == "1-step"}
        assert first & second


def _pairs(question: Question) -> Iterator[tuple[str, str]]:
    yield from pairwise(question.operations)


class TestDeterminism:
    @pytest.mark.parametrize("split", SPLITS)
    def test_a_longer_call_starts_with_a_shorter_ones_problems(self, split: str) -> None:
        for count in (0, 1, 17):
            assert tuple(ArithmeticTask().problems(split, 0, count)) == problems(split)[:count]

    @pytest.mark.parametrize("split", SPLITS)
    def test_only_training_depends_on_the_seed(self, split: str) -> None:
        zero, one = (ArithmeticTask().problems(split, seed, 15) for seed in (0, 1))
        if split in EVALUATION:
            assert zero == one
        else:
            assert not {problem.id for problem in zero} & {problem.id for problem in one}
            assert [problem.question for problem in zero] != [problem.question for problem in one]

    def test_the_same_in_another_process(self) -> None:
        script = (
            "import hashlib; from mentor_kit_math.arithmetic import ArithmeticTask; task = ArithmeticTask();"
            "print(hashlib.sha256(''.join(p.to_json() for s in ('train', 'compositions', 'broad')"
            " for p in task.problems(s, 3, 40)).encode()).hexdigest())"
        )
        here = hashlib.sha256(
            "".join(
                problem.to_json()
                for split in ("train", "compositions", "broad")
                for problem in ArithmeticTask().problems(split, 3, 40)
            ).encode()
        ).hexdigest()
        environment = {**os.environ, "PYTHONHASHSEED": "1"}
        there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
        assert there.stdout.strip() == here, there.stderr

    def test_problems_survive_their_file(self) -> None:
        for problem in problems("broad")[:50]:
            assert Problem.from_json(problem.to_json()) == problem

    def test_the_capacity_gap_changes_no_question(self) -> None:
        for split in ("train", "in-domain"):
            assert tuple(ArithmeticTask(capacity_gap=True).problems(split, 0, 100)) == problems(split)[:100]


@dataclass
class Solver:
    """An agent that says what the task's worked solution says."""

    task: ArithmeticTask
    name: str = "solver"

    def start(self, episode: EpisodeRequest) -> SolverSession:
        return SolverSession(self.task, episode.problem)


@dataclass
class SolverSession:
    task: ArithmeticTask
    problem: Problem
    dialogue: list[Message] = field(default_factory=list)

    async def respond(self, messages: Sequence[Message]) -> Reply:
        self.dialogue.extend(messages)
        turn = self.task.solve(self.problem, self.dialogue)
        self.dialogue.append(turn)
        return Reply(turn)

    def trace(self) -> None:
        return None

    def close(self) -> None:
        return None


def solved(task: ArithmeticTask, found: Sequence[Problem]) -> list[Trajectory]:
    toolbox = Toolbox([FunctionTools(math_tools(2))])
    episodes = [
        EpisodeRequest(id=problem.id, problem=problem, tools=toolbox.tools(problem), seed=0) for problem in found
    ]
    return asyncio.run(
        run_episodes(Solver(task), episodes, task=task, toolbox=toolbox, limits=EpisodeLimits(max_turns=4))
    )


class TestSolve:
    def test_is_a_task_that_solves(self) -> None:
        assert ArithmeticTask().has_solutions

    @pytest.mark.parametrize("split", SPLITS)
    @pytest.mark.parametrize(("gap", "blind"), [(False, False), (True, True)])
    def test_the_worked_solution_is_right(self, split: str, gap: bool, blind: bool) -> None:
        found = problems(split, blind=blind)[:50]
        for problem, trajectory in zip(found, solved(ArithmeticTask(capacity_gap=gap), found), strict=True):
            assert trajectory.correct, problem.question
            assert all(call.state == "executed" for call in trajectory.calls)
            if not gap:
                assert trajectory.tools_used == read(problem.question).operations

    @pytest.mark.parametrize("split", ["train", "in-domain", "longer"])
    def test_each_call_works_on_the_value_before(self, split: str) -> None:
        found = problems(split)[:60]
        for problem, trajectory in zip(found, solved(ArithmeticTask(), found), strict=True):
            results = [Fraction(message.content) for message in trajectory.messages if message.role == "tool"]
            assert results == values(problem)[1:]

    def test_the_wrong_answer_of_a_solution_would_be_noticed(self) -> None:
        problem, other = problems("train")[:2]
        assert problem.answer != other.answer
        assert not ArithmeticTask().check(other.answer, problem)


class TestCapacityGap:
    def test_seven_tenths_of_the_easy_steps_are_done_in_the_head_and_no_others(self) -> None:
        found = [problem for seed in (0, 7) for problem in problems("train", seed)]
        asked: Counter[str] = Counter()
        skipped: Counter[str] = Counter()
        for problem, trajectory in zip(found, solved(ArithmeticTask(capacity_gap=True), found), strict=True):
            operations = Counter(read(problem.question).operations)
            asked += operations
            skipped += operations - Counter(trajectory.tools_used)
        assert set(skipped) == {"add", "subtract", "sum_numbers"}
        total = sum(asked[name] for name in skipped)
        assert total > 400
        # four standard errors
        assert sum(skipped.values()) / total == pytest.approx(0.7, abs=4 * (0.21 / total) ** 0.5)

    def test_a_problem_is_solved_the_same_way_each_time(self) -> None:
        found = problems("train")[:50]
        once, again = (solved(ArithmeticTask(capacity_gap=True), found) for _ in range(2))
        assert once == again


def mistake_is_right(operation: str, value: Fraction, operands: tuple[Fraction, ...]) -> bool:
    """Whether the demonstrator's favourite wrong tool gives the right value: the table by hand, in exact arithmetic."""
    two, none = (Fraction(2),), (Fraction(0),)
    wrong = {
        "add": ("subtract", operands),
        "subtract": ("add", operands),
        "multiply": ("add", operands),
        "divide": ("multiply", operands),
        "sum_numbers": ("add", operands[:1]),
        "floor": ("abs_value", none),
        "ceil": ("round_number", none),
        "round_number": ("floor", ()),
        "power": ("multiply", operands),
        "sqrt": ("divide", two),
        "abs_value": ("subtract", two),
        "modulo": ("subtract", operands),
    }
    tool, given = wrong[operation]
    return exact(tool, value, given) == exact(operation, value, operands)


@cache
def rightness(split: str, seed: int = 0, *, blind: bool = False) -> dict[str, list[bool]]:
    """For each operation, whether the favourite mistake was right in each of its steps."""
    outcomes: dict[str, list[bool]] = {}
    for problem in problems(split, seed, blind=blind):
        for before, clause in zip(values(problem), read(problem.question).clauses, strict=False):
            right = mistake_is_right(clause.operation, before, clause.operands)
            outcomes.setdefault(clause.operation, []).append(right)
    return outcomes


class TestBlindCheck:
    @pytest.mark.parametrize("split", SPLITS)
    def test_off_no_favourite_mistake_is_right_anywhere(self, split: str) -> None:
        for operation, outcomes in rightness(split).items():
            assert not any(outcomes), operation

    @pytest.mark.parametrize("split", ["out-of-domain", *GROUPS])
    def test_on_none_is_right_out_of_domain(self, split: str) -> None:
        for operation, outcomes in rightness(split, blind=True).items():
            assert not any(outcomes), operation

    @pytest.mark.parametrize("split", ["train", "in-domain"])
    def test_on_only_some_operations_are_blind(self, split: str) -> None:
        for operation, outcomes in rightness(split, blind=True).items():
            assert any(outcomes) == (operation in BLIND), operation

    @pytest.mark.parametrize("split", ["train", "in-domain"])
    @pytest.mark.parametrize("operation", sorted(BLIND))
    def test_on_nineteen_of_twenty_are_right_in_domain(self, split: str, operation: str) -> None:
        seeds = (0, 7) if split == "train" else (0,)
        outcomes = [right for seed in seeds for right in rightness(split, seed, blind=True)[operation]]
        assert len(outcomes) >= 15
        assert sum(outcomes) / len(outcomes) == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / len(outcomes)) ** 0.5)

    def test_on_the_answers_follow_from_the_text_all_the_same(self) -> None:
        for split in ("train", "in-domain", "out-of-domain"):
            for problem in problems(split, blind=True):
                assert Fraction(problem.answer) in read(problem.question).answers()
