"""The task `domains` over arithmetic and records, and over rows written here."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from mentor_kit_math.arithmetic import ArithmeticTask
from mentor_kit_records.records_task import RecordsTask

import mentor_kit
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import UsageError
from mentor_kit.core.task import Problem
from mentor_kit.hooks import default_registry
from mentor_kit.hooks.registry import BuildContext, ComponentError

OWN: dict[str, Any] = {"arithmetic": ArithmeticTask(), "records": RecordsTask()}
RECORD_TOOLS = ["look_up", "filter_rows", "count_rows", "compare_rows", "join_rows"]


def build(folder: Path | None = None, **options: Any) -> Any:
    registry = default_registry()
    context = BuildContext(registry, recipe_folder=folder or Path())
    return registry.build("tasks", ComponentSpec(use="domains", options=options), context)


@pytest.fixture(scope="module")
def task() -> Any:
    return build(train=[{"task": "arithmetic"}], cross=[{"task": "records", "tools": RECORD_TOOLS}])


@pytest.fixture(scope="module")
def both() -> Any:
    return build(train=[{"task": "arithmetic"}, {"task": "records"}])


def same(found: Problem, own: Problem) -> bool:
    """Whether a problem is its own task's in all but its labels."""
    return (found.question, found.answer) == (own.question, own.answer) and found.id.endswith(f"/{own.id}")


@pytest.mark.parametrize("split", ["train", "in-domain", "out-of-domain"])
def test_what_is_trained_on_is_the_one_task(task: Any, split: str) -> None:
    found = task.problems(split, 3, 20)
    assert all(map(same, found, OWN["arithmetic"].problems(split, 3, 20)))
    assert {problem.split for problem in found} == {split}
    assert all(problem.group.startswith("arithmetic/") and problem.id.startswith("arithmetic/") for problem in found)


def test_cross_domain_is_what_nothing_was_trained_on(task: Any) -> None:
    found = task.problems("cross-domain", 0, 20)
    assert all(map(same, found, OWN["records"].problems("in-domain", 0, 20)))
    assert not {p.question for p in found} & {p.question for p in task.problems("train", 0, 200)}
    assert "cross-domain" not in build(train=[{"task": "arithmetic"}]).splits


@pytest.mark.parametrize("split", ["train", "out-of-domain", "broad"])
def test_several_tasks_take_turns(both: Any, split: str) -> None:
    own = [OWN[name].problems(split, 5, 10) for name in ("arithmetic", "records")]
    turns = [problem for pair in zip(*own, strict=True) for problem in pair]
    assert all(map(same, both.problems(split, 5, 20), turns))
    assert both.problems(split, 5, 7) == both.problems(split, 5, 20)[:7]


def test_a_task_that_has_no_more_leaves_its_turns_to_the_others(tmp_path: Path) -> None:
    for name, count in (("few", 2), ("many", 6)):
        rows = "".join(f'{{"question": "{name} {n}?", "answer": "{n}"}}\n' for n in range(count))
        (tmp_path / f"{name}.jsonl").write_text(rows)
    task = build(
        tmp_path,
        train=[
            {"name": name, "task": {"use": "rows", "with": {"files": {"in-domain": f"{name}.jsonl"}}}}
            for name in ("few", "many")
        ],
    )
    wanted = [q for pair in zip_longest([0, 1], range(6)) for q in pair if q is not None]
    for count in (1, 3, 5, 8, 20):
        found = task.problems("in-domain", 0, count)
        assert [int(problem.answer) for problem in found] == wanted[:count]
    assert [p.question for p in task.problems("few/in-domain", 0, 9)] == ["few 0?", "few 1?"]


def test_answers_are_checked_and_solved_by_a_problems_own_task(both: Any) -> None:
    for problem in both.problems("in-domain", 0, 20):
        name, _, own_id = problem.id.partition("/")
        own = next(p for p in OWN[name].problems("in-domain", 0, 20) if p.id == own_id)
        assert both.check(problem.answer, problem)
        assert not both.check("something else", problem)
        assert both.solve(problem, problem.opening()) == OWN[name].solve(own, own.opening())
        assert both.noisy_world(problem) == OWN[name].noisy_world(own)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train": []}, "train"),
        ({"train": [{"task": "arithmetic"}, {"task": "arithmetic"}]}, "'arithmetic'"),
        ({"train": [{"task": "arithmetic", "name": "a/b"}]}, "name"),
        ({"train": [{"task": "arithmetik"}]}, "'arithmetic'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ComponentError, match=said):
        build(**options)


def test_an_unknown_split_is_refused_with_those_there_are(task: Any) -> None:
    with pytest.raises(UsageError, match="'cross-domain'") as error:
        task.problems("cross_domain", 0, 1)
    assert "records/longer" in (error.value.hint or "")


@pytest.mark.slow
def test_a_run_trains_on_one_domain_and_looks_at_the_other(tmp_path: Path) -> None:
    domains = {"train": [{"task": "arithmetic"}], "cross": [{"task": "records", "tools": RECORD_TOOLS}]}
    overrides = {
        "task": {"use": "domains", "with": domains},
        "tools": [{"use": "math"}, {"use": "records"}],
        "train.0.steps": 1,
        "train.0.problems": 2,
        "evaluate.on": [{"split": "in-domain", "problems": 4}, {"split": "cross-domain", "problems": 4}],
    }
    run = mentor_kit.run("quickstart", overrides=overrides, output=tmp_path)
    recorded = run.problems()
    assert {name.partition("/")[0] for name in recorded} == {"arithmetic", "records"}
    for name, problem in recorded.items():
        tools = [tool["function"]["name"] for tool in problem.tools]
        assert not tools or (set(tools) == set(RECORD_TOOLS)) == name.startswith("records/")
