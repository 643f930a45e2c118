"""Known sets from files with the columns of those that are published; the problems are made up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_data.benchmarks import SETS, _problem
from mentor_kit_data.rows_task import read_problems

from mentor_kit import api
from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.conversation import Message, assistant, call
from mentor_kit.core.errors import DataError
from mentor_kit.core.task import Problem, Task
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks.loader import default_registry
from mentor_kit.recipe.assembly import assemble_components
from mentor_kit.recipe.faults import RecipeFaults
from mentor_kit.recipe.settings import parse_settings
from mentor_kit.rollout import run_async
from mentor_kit.runs.rows import DataRow

pytest.importorskip("mpmath")
pytest.importorskip("bm25s")

PARIS = ["Paris", ["Paris is the capital of France.", " It lies on the Seine."]]
SEINE = ["Seine", ["The Seine flows into the English Channel.", " Its source is in Burgundy."]]
ROME = ["Rome", ["Rome is the capital of Italy."]]
HOP = "Into which water does the river flow on which the capital of France lies?"

ROWS: dict[str, Sequence[Mapping[str, Any]]] = {
    "aime24.jsonl": [
        {
            "id": 60, "problem": "What is $30 + 3$?", "solution": r"It is $\boxed{033}$.", "answer": "033",
            "url": "https://example.org", "year": "2024",
        },
        {"ID": "2024-I-1", "Problem": "What is $400 + 4$?", "Solution": "Add.", "Answer": 404},
    ],
    "aime25.jsonl": [
        {"problem": "What is $7 \\cdot 10$?", "answer": "70", "id": "0"},
        {"question": "What is $5 - 5$?", "answer": "000"},
    ],
    "amc23.jsonl": [
        {"id": 0, "problem": "Half of $55$?", "answer": 27.5, "url": "x"},
        {"question": "What is $3^3$?", "answer": 27.0},
    ],
    "minerva.jsonl": [
        {
            "problem": "How many grams?", "type": "Introduction to Astronomy", "idx": 0,
            "solution": r"Not \boxed{1}, but $\boxed{2.5 \times 10^{3}}$ g.",
        },
        {"question": "Find $x$ with $2x = y$.", "answer": "\\frac{y}{2}"},
    ],
    "omni-math.jsonl": [
        {
            "domain": ["Mathematics -> Algebra -> Other"], "difficulty": 8.0, "problem": "Factor $x^2 - 1$.",
            "solution": "…", "answer": "(x-1)(x+1)", "source": "made_up",
        },
        {
            "domain": ["Mathematics -> Number Theory -> Primes", "Mathematics -> Algebra"], "difficulty": 4.5,
            "problem": "The set of primes below $6$?", "solution": "…", "answer": "\\{2, 3, 5\\}", "source": "made_up",
        },
    ],
    "hotpotqa.json": [
        {
            "_id": "5a8b57f25542995d1e6f1371", "question": HOP, "answer": "the English Channel", "type": "bridge",
            "level": "hard", "supporting_facts": [["Paris", 1], ["Seine", 0]], "context": [PARIS, SEINE, ROME],
        },
        {
            "_id": "5a8c7595554299585d9e36b6", "question": "Are Paris and Rome both capitals?", "answer": "yes",
            "type": "comparison", "level": "medium", "supporting_facts": [], "context": [PARIS, ROME],
        },
    ],
    "2wikimultihopqa.json": [
        {
            "_id": "13f5ad2c088c11ebbd6fac1f6bf848b6", "type": "compositional", "question": HOP,
            "context": [PARIS, SEINE], "supporting_facts": [["Paris", 1]], "answer": "English Channel",
            "evidences": [["France", "capital", "Paris"], ["Seine", "mouth", "English Channel"]],
        },
    ],
}  # fmt: skip
RIGHT = {
    "aime24": ["33", "404"], "aime25": ["70", "0"], "amc23": ["27.5", "27"], "minerva": ["2500", "y/2"],
    "omni-math": ["(x+1)(x-1)", "\\{5, 3, 2\\}"], "bamboogle": ["Georges Pompidou"],
    "hotpotqa": ["English channel.", "Yes"], "2wikimultihopqa": ["The English Channel"],
}  # fmt: skip
WRONG = {
    "aime24": "34", "aime25": "7", "amc23": "26", "minerva": "1", "omni-math": "x^2", "bamboogle": "Pompidou",
    "hotpotqa": "the Channel", "2wikimultihopqa": "English",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, rows in ROWS.items():
        whole = name.endswith(".json")
        text = json.dumps(rows) if whole else "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "bamboogle.csv").write_text('Question,Answer\n"Who was president, then?",Georges Pompidou\n')
    return tmp_path


def parts_of(recipe: str, folder: Path) -> Any:
    return assemble_components(api.check(recipe, overrides={"folder": str(folder)}), default_registry())


@pytest.mark.parametrize("recipe", ["paper/evaluate-maths", "paper/evaluate-search"])
def test_every_set_is_read_and_judged(recipe: str, folder: Path) -> None:
    task = parts_of(recipe, folder).task
    assert task.splits[0] == "train"
    assert task.problems("train", 0, 9) == ()
    for split in task.splits[1:]:
        problems = task.problems(split, 0, 100)
        assert len(problems) == len(RIGHT[split])
        assert len({problem.id for problem in problems}) == len(problems)
        for problem, right in zip(problems, RIGHT[split], strict=True):
            assert task.check(right, problem), (split, right, problem.answer)
            assert not task.check(WRONG[split], problem)


def test_groups_and_names(folder: Path) -> None:
    task = parts_of("paper/evaluate-maths", folder).task
    assert [problem.group for problem in task.problems("omni-math", 0, 9)] == ["Algebra", "Number Theory"]
    assert [problem.id for problem in task.problems("aime24", 0, 9)] == ["aime24/60", "aime24/2024-I-1"]
    task = parts_of("paper/evaluate-search", folder).task
    assert [problem.group for problem in task.problems("hotpotqa", 0, 9)] == ["bridge", "comparison"]
    assert task.problems("hotpotqa", 0, 1)[0].id == "hotpotqa/5a8b57f25542995d1e6f1371"


def test_several_right_answers(tmp_path: Path) -> None:
    row = {"id": "test_0", "question": "Who?", "golden_answers": ["Ada Lovelace", "Countess of Lovelace"]}
    (tmp_path / "b.jsonl").write_text(json.dumps(row))
    recipe = tmp_path / "r.yaml"
    task = "task: {use: benchmarks, with: {sets: {bamboogle: b.jsonl}}}"
    recipe.write_text(f"mentorkit: 1\nname: b\nstudent: {{model: tiny-student}}\n{task}\n")
    task = parts_of(str(recipe), tmp_path).task
    (problem,) = task.problems("bamboogle", 0, 9)
    assert task.check("the countess of Lovelace", problem)
    assert task.check("ADA LOVELACE", problem)
    assert not task.check("Lovelace", problem)


class Solved(Task):
    """Another task, solved with answers it was made with."""

    def __init__(self, task: Task, answers: Mapping[str, str]) -> None:
        self.task = task
        self.answers = answers

    def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
        return self.task.problems(split, seed, count)

    def answer(self, trajectory: Trajectory) -> str | None:
        return self.task.answer(trajectory)

    def check(self, answer: str, problem: Problem) -> bool:
        return self.task.check(answer, problem)


class Searcher(Solved):
    """Looks twice, then gives the answer."""

    def solve(self, problem: Problem, dialogue: Sequence[Message]) -> Message:
        turns = sum(message.role == "assistant" for message in dialogue)
        if turns < 2:
            return assistant(calls=[call("search", query=["capital of France", "Where does the Seine flow?"][turns])])
        return assistant(rf"\boxed{{{self.answers[problem.id]}}}")


def test_multi_hop_questions_with_search_from_end_to_end(folder: Path) -> None:
    from mentor_kit_teachers.scripted import ScriptedTeacher

    parts = parts_of("paper/evaluate-search", folder)
    problems = [problem for split in parts.task.splits[1:] for problem in parts.task.problems(split, 0, 9)]
    answers = dict(zip([p.id for p in problems], [a for s in parts.task.splits[1:] for a in RIGHT[s]], strict=True))
    teacher = ScriptedTeacher(Searcher(parts.task, answers), parts.toolbox, EpisodeLimits(), 0)
    played = run_async(teacher.rollouts(problems, 1))
    assert all(trajectory.correct for trajectory in played)
    first, second = (m.content for m in played[0].messages if m.role == "tool")
    assert first.startswith("[1] Paris: Paris is the capital of France. It lies on the Seine.")
    assert "Seine: The Seine flows into the English Channel. Its source is in Burgundy." in second
    # HotpotQA's paragraphs occur in several rows, and are one document each
    assert (first + second).count("Rome is the capital") <= 2
    wrong = ScriptedTeacher(Searcher(parts.task, dict.fromkeys(answers, "London")), parts.toolbox, EpisodeLimits(), 0)
    assert not any(trajectory.correct for trajectory in run_async(wrong.rollouts(problems, 1)))


class Adder(Solved):
    """Calls a tool of the maths recipe, then gives the answer."""

    def solve(self, problem: Problem, dialogue: Sequence[Message]) -> Message:
        if dialogue[-1].role == "tool":
            return assistant(rf"\boxed{{{self.answers[problem.id]}}}")
        return assistant(calls=[call("add", a=1, b=2)])


def test_maths_with_tools_from_end_to_end(folder: Path) -> None:
    from mentor_kit_teachers.scripted import ScriptedTeacher

    parts = parts_of("paper/evaluate-maths", folder)
    problems = [problem for split in parts.task.splits[1:] for problem in parts.task.problems(split, 0, 9)]
    answers = dict(zip([p.id for p in problems], [a for s in parts.task.splits[1:] for a in RIGHT[s]], strict=True))
    teacher = ScriptedTeacher(Adder(parts.task, answers), parts.toolbox, EpisodeLimits(), 0)
    played = run_async(teacher.rollouts(problems, 1))
    assert all(trajectory.correct and trajectory.tools_used == ("add",) for trajectory in played)
    wrong = ScriptedTeacher(Adder(parts.task, dict.fromkeys(answers, "0.125")), parts.toolbox, EpisodeLimits(), 0)
    assert not any(trajectory.correct for trajectory in run_async(wrong.rollouts(problems, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["paper/evaluate-maths", "paper/evaluate-search"])
def test_the_recipes_with_the_tiny_student(recipe: str, folder: Path, tmp_path: Path) -> None:
    settings = [f"folder={folder}", "student.model=tiny-student", "rollout.max_turn_tokens=16", "rollout.max_turns=2"]
    done = api.evaluate(
        recipe,
        overrides=parse_settings(settings),
        changes={"problems": 1, "samples": 2},
        output=tmp_path / "runs",
    )
    reports = {str(report["split"]): report for report in done.evaluations}
    assert sorted(reports) == sorted(parts_of(recipe, folder).task.splits[1:])
    assert all((r["problems"], r["sampled"]["episodes"], len(r["outcomes"])) == (1, 2, 1) for r in reports.values())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "Q"}, "row 1, column answer: there is none of golden_answers, answer, Answer"),
        ({"answer": "1"}, "row 1, column problem: there is none of problem, question"),
        ({"problem": "Q", "answer": [""]}, "row 1, column answer: expected an answer"),
        ({"problem": "Q", "answer": [None]}, "row 1, column answer: expected an answer"),
        ({"problem": "Q", "answer": float("nan")}, "row 1, column answer: expected an answer"),
        ({"problem": "Q", "answer": "NaN"}, "row 1, column answer: the key is missing"),
        ({"problem": "Q", "answer": "1 + 1 = 2\n#### 2"}, "row 1, column answer: no answer can be"),
        ({"problem": "Q", "solution": "no box"}, r"row 1, column solution: expected an answer in a last \\boxed"),
        ({"problem": "", "answer": "1"}, "row 1, column problem: expected a text"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, row: Mapping[str, Any], message: str) -> None:
    (tmp_path / "amc.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=message):
        api.evaluate(
            "paper/evaluate-maths",
            overrides=parse_settings(
                [
                    f"folder={tmp_path}",
                    "task.sets={amc23: amc.jsonl}",
                    "student.model=tiny-student",
                    "evaluate={on: [{split: amc23}]}",
                ]
            ),
            output=tmp_path,
        )


def test_an_unknown_set_is_said() -> None:
    with pytest.raises(RecipeFaults, match=r"'aime42'.*'aime2"):
        api.check("paper/evaluate-maths", overrides={"task.sets": {"aime42": "a.jsonl"}})


def squad(text: str) -> str:
    """The comparison of SQuAD in other words: words without articles, letters without punctuation."""
    kept = "".join(c for c in text.lower() if not (c.isascii() and not c.isalnum() and not c.isspace()))
    return " ".join(word for word in kept.split() if word not in ("a", "an", "the"))


@given(st.lists(st.sampled_from(["The", "a", "an", "cat", "Cat's", "U.S.", "1,000", "—", "theatre", "-"]), max_size=6))
def test_phrases_are_compared_as_squad_compares_them(words: list[str]) -> None:
    from mentor_kit_data.checking import PhraseChecker

    text = " ".join(words)
    for other in ("cat", "the cat", "US", "1000 cats", "theatre cat", ""):
        expected = squad(text) == squad(other) if squad(text) else text.strip() == other.strip()
        assert PhraseChecker().check(text, other) is expected


SHORT = st.text(max_size=4)
CELLS = st.none() | st.booleans() | st.integers() | st.floats() | SHORT | st.just(r"\boxed{2}")
CELLS |= st.lists(SHORT, max_size=2) | st.dictionaries(SHORT, SHORT, max_size=1)
COLUMNS = ("problem", "question", "Question", "answer", "golden_answers", "solution", "domain", "type", "_id", "id")


@given(st.sampled_from(list(SETS)), st.lists(st.dictionaries(st.sampled_from(COLUMNS), CELLS), max_size=3))
def test_every_row_becomes_a_problem_or_is_named(name: str, rows: list[dict[str, Any]]) -> None:
    made = partial(_problem, SETS[name], "Q: {question}")
    fault = ""
    found: Sequence[Problem] = ()
    try:
        found = read_problems([DataRow("f.json", n, row) for n, row in enumerate(rows, start=1)], name, made, "fail")
    except DataError as error:
        fault = error.message
    assert fault.startswith("f.json, row ") or len(found) == len(rows)
    assert all(p.question.startswith("Q: ") and p.answer and p.extra["keys"][0] == p.answer for p in found)
