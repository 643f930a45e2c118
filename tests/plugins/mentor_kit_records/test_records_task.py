"""The task `records`, with its questions read and worked out from their text and tables alone."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from collections import Counter
from functools import lru_cache
from itertools import pairwise

import pytest
from mentor_kit_records.records_task import RecordsTask
from mentor_kit_records.tools import RecordToolSource
from mentor_kit_teachers.scripted import ScriptedAgent
from records_reader import Question, read

from mentor_kit.core.agent import EpisodeLimits, EpisodeRequest
from mentor_kit.core.conversation import CallState
from mentor_kit.core.errors import UsageError
from mentor_kit.core.task import Problem
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.rollout import run_episodes

GROUPS = ("compositions", "wordings", "longer")
EVALUATION = ("in-domain", "out-of-domain", *GROUPS)
SPLITS = ("train", "broad", *EVALUATION)
COUNT = 300


@lru_cache(maxsize=32)
def problems(split: str, seed: int = 0) -> tuple[Problem, ...]:
    return tuple(RecordsTask().problems(split, seed, COUNT))


@lru_cache(maxsize=32)
def questions(split: str, seed: int = 0) -> tuple[Question, ...]:
    return tuple(read(problem.question) for problem in problems(split, seed))


@pytest.mark.parametrize("split", SPLITS)
def test_the_answer_follows_from_the_text_and_the_tables(split: str) -> None:
    for problem, question in zip(problems(split), questions(split), strict=True):
        assert question.answer(problem.extra["records"]) == problem.answer, problem.question


@pytest.mark.parametrize("split", SPLITS)
def test_each_step_leads_somewhere_new(split: str) -> None:
    for problem, question in zip(problems(split), questions(split), strict=True):
        values = [question.start]
        for end in range(1, len(question.clauses) + 1):
            values.append(Question(question.start, question.clauses[:end]).answer(problem.extra["records"]))
        assert len(set(values)) == len(values), problem.question
        assert all(clause.operand not in ("", before) for clause, before in zip(question.clauses, values, strict=False)
                   if clause.tool == "compare_rows")  # fmt: skip


@pytest.mark.parametrize("split", SPLITS)
def test_labels_lengths_and_wordings(split: str) -> None:
    found = problems(split)
    assert {problem.split for problem in found} == {split}
    assert len({problem.id for problem in found}) == len(found)
    for problem, question in zip(found, questions(split), strict=True):
        wanted = {"1-step": 1, "2-step": 2, "compositions": 2, "longer": 3}.get(problem.group)
        assert len(question.clauses) in ({wanted} if wanted else {1, 2})
        assert {clause.known for clause in question.clauses} == {problem.group != "wordings"}
    kinds = {"train": {"1-step", "2-step"}, "in-domain": {"1-step", "2-step"}, "out-of-domain": set(GROUPS)}
    kinds |= {group: {group} for group in GROUPS} | {"broad": {"1-step", "2-step", *GROUPS}}
    assert {problem.group for problem in found} == kinds[split] or split == "wordings"


def test_held_out_pairs_are_never_trained_and_nothing_else_is_composed() -> None:
    def pairs(split: str, seed: int = 0) -> set[tuple[int, int]]:
        return {pair for question in questions(split, seed) for pair in pairwise(question.kinds)}

    trained, asked = pairs("train") | pairs("train", 7), pairs("compositions")
    assert not trained & asked
    assert len(asked) / len(trained | asked) == pytest.approx(1 / 3, abs=0.05)
    for split in ("in-domain", "wordings", "longer"):
        assert not asked & pairs(split)


def test_every_operation_and_every_tool_is_trained() -> None:
    assert {kind for question in questions("train") for kind in question.kinds} == set(range(14))
    tools = Counter(clause.tool for question in questions("train") for clause in question.clauses)
    assert set(tools) == {"look_up", "filter_rows", "count_rows", "compare_rows", "join_rows"}


def test_no_text_is_both_trained_on_and_asked() -> None:
    trained = {p.question for seed in (0, 7, 12_345) for split in ("train", "broad") for p in problems(split, seed)}
    asked = {p.question for split in EVALUATION for p in problems(split)}
    assert len(trained) > 500
    assert not trained & asked


def test_the_tables_differ_and_the_text_alone_does_not_answer() -> None:
    found = RecordsTask().problems("train", 0, 3000)
    by_text: dict[str, set[str]] = {}
    for problem in found:
        by_text.setdefault(problem.question, set()).add(problem.answer)
    again = [answers for text, answers in by_text.items() if sum(p.question == text for p in found) > 3]
    assert len(again) > 20
    assert sum(len(answers) > 1 for answers in again) > 0.9 * len(again)


def test_out_of_domain_is_a_third_of_each_kind() -> None:
    assert Counter(p.group for p in problems("out-of-domain")) == dict.fromkeys(GROUPS, COUNT // 3)


def test_a_longer_list_begins_with_a_shorter_one_and_seeds_differ() -> None:
    assert tuple(RecordsTask().problems("train", 3, 20)) == problems("train", 3)[:20]
    assert RecordsTask().problems("train", 4, 20) != RecordsTask().problems("train", 3, 20)
    assert RecordsTask().problems("in-domain", 4, 20) == RecordsTask().problems("in-domain", 3, 20)


def test_other_splits_are_refused() -> None:
    with pytest.raises(UsageError, match="'in-domain'"):
        RecordsTask().problems("in_domain", 0, 5)


def test_problems_are_the_same_in_every_process() -> None:
    code = (
        "import hashlib; from mentor_kit_records.records_task import RecordsTask\n"
        "found = RecordsTask().problems('out-of-domain', 0, 30)\n"
        "print(hashlib.sha256(repr([p.model_dump_json() for p in found]).encode()).hexdigest())"
    )
    mine = repr([p.model_dump_json() for p in RecordsTask().problems("out-of-domain", 0, 30)])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(mine.encode()).hexdigest()


@pytest.mark.parametrize("split", ["train", "out-of-domain"])
def test_worked_solutions_are_right_when_played_with_the_tools(split: str) -> None:
    task, toolbox = RecordsTask(), Toolbox([RecordToolSource()])
    found = problems(split)[:60]
    requests = [EpisodeRequest(id=p.id, problem=p, tools=toolbox.tools(p), seed=0) for p in found]
    played = asyncio.run(
        run_episodes(ScriptedAgent(task), requests, task=task, toolbox=toolbox, limits=EpisodeLimits(max_turns=4))
    )
    for problem, question, trajectory in zip(found, questions(split), played, strict=False):
        calls = [call for turn in trajectory.turns for call in turn.tool_calls]
        assert {call.state for call in calls} == {CallState.EXECUTED}
        assert tuple(call.name for call in calls) == tuple(clause.tool for clause in question.clauses)
        answer = task.answer(trajectory)
        assert answer is not None
        assert task.check(answer, problem)


@pytest.mark.parametrize(
    ("key", "answer", "right"),
    [
        ("Anna", "anna", True),
        ("Anna", " Anna. ", True),
        ("Anna", "Anna, Boris", False),
        ("Anna, Boris", "Boris and Anna", True),
        ("Anna, Boris", "Boris, Anna", True),
        ("Anna, Boris", "Anna", False),
        ("three", "3", True),
        ("three", "Three", True),
        ("three", "4", False),
        ("three", "²", False),
        ("blue", "", False),
        ("blue", "99999999999999999999", False),
    ],
)
def test_answers_are_checked_exactly(key: str, answer: str, right: bool) -> None:
    problem = Problem(id="x", question="?", answer=key)
    assert RecordsTask().check(answer, problem) is right
