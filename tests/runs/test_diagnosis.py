"""What goes wrong is named after some steps in a row, once a run, and healthy runs are left alone."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from run_helpers import Counter

from mentor_kit.core.event import DIAGNOSIS, Event
from mentor_kit.hooks.loader import default_registry
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.expanding import expanded
from mentor_kit.runs import Run, RunContext, RunFolder, RunRecorder
from mentor_kit.runs.conditions import CONDITIONS
from mentor_kit.runs.diagnosis import Diagnosis, diagnose

HEALTHY: dict[str, dict[str, list[float]]] = json.loads((Path(__file__).parent / "healthy_steps.json").read_text())

#: A step of a run in which all is well.
WELL = {
    "accuracy": 0.5,
    "similarity": 0.8,
    "entropy": 0.3,
    "truncated": 0.02,
    "not_ended": 0.03,
    "turns": 2.4,
    "sampled_tokens": 20.0,
    "calls_per_problem": 1.4,
    "malformed_rate": 0.01,
    "unknown_tool_rate": 0.01,
    "invalid_arguments_rate": 0.01,
    "failed_rate": 0.02,
    "zero_variance_groups": 0.2,
    "mismatch": 0.001,
    "clipped": 0.01,
    "gradient_norm": 0.3,
}

#: What a step shows of each condition that a single step can show, and the settings that its advice names first.
SICK: dict[str, tuple[dict[str, float], str]] = {
    "episodes-cut": ({"truncated": 1.0, "not_ended": 1.0, "accuracy": 0.0}, "rollout.max_turn_tokens"),
    "out-of-turns": ({"truncated": 0.0, "not_ended": 0.95, "accuracy": 0.0}, "rollout.max_turns"),
    "empty-answers": (
        {"sampled_tokens": 1.0, "turns": 1.0, "calls_per_problem": 0.0, "accuracy": 0.0, "zero_variance_groups": 1.0},
        "train.0.optimizer.lr",
    ),
    "no-answers": ({"gate/answered": 0.9, "accuracy": 0.0, "zero_variance_groups": 1.0}, "rollout.system"),
    "no-calls": ({"calls_per_problem": 0.0}, "student.chat_template"),
    "malformed-calls": ({"malformed_rate": 0.7}, "rollout.max_turn_tokens"),
    "unknown-tools": ({"unknown_tool_rate": 0.7}, "student.chat_template"),
    "invalid-arguments": ({"invalid_arguments_rate": 0.7}, "student.chat_template"),
    "failed-calls": ({"failed_rate": 0.9}, "tools"),
    "equal-rewards": ({"zero_variance_groups": 1.0}, "train.0.group"),
    "no-gradient": ({"gradient_norm": 0.0}, "train.0.mask_unended"),
    "nothing-right": ({"accuracy": 0.0}, "train"),
    "entropy-gone": ({"entropy": 0.001}, "rollout.temperature"),
    "sampler-mismatch": ({"mismatch": 0.4}, "backend.dtype"),
    "updates-clipped": ({"clipped": 0.8}, "train.0.objective.importance_cap"),
}
AFTER = {condition.name: condition.steps for condition in CONDITIONS}


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    registry = default_registry()
    one_update = {"train.0.minibatches": 1}  # else the sampler's mismatch is the update's, too
    return expanded(load_checked("quickstart", one_update, registry), registry)


def step(number: int, values: Mapping[str, Any], stage: str = "0-grpo") -> Event:
    return Event("step", "t", stage, number, dict(values))


def steps(*shown: Mapping[str, float], start: int = 1, stage: str = "0-grpo") -> list[Event]:
    return [step(number, WELL | dict(values), stage) for number, values in enumerate(shown, start=start)]


def places(found: Sequence[Diagnosis]) -> list[tuple[str, int | None]]:
    return [(each.name, each.step) for each in found]


@pytest.mark.parametrize("name", SICK)
def test_a_condition_is_named_once_it_has_held_for_some_steps(name: str, recipe: dict[str, Any]) -> None:
    sick, setting = SICK[name]
    after = AFTER[name]
    assert places(diagnose(steps(*[sick] * (after - 1)), recipe)) == []
    (found,) = diagnose(steps(*[sick] * (after + 40)), recipe)
    assert (found.name, found.step, found.stage, found.settings[0]) == (name, after, "0-grpo", setting)
    # a step in which all is well begins the count anew
    assert places(diagnose(steps(*[sick] * (after - 1), {}, *[sick] * (after - 1)), recipe)) == []


def test_stale_rollouts_are_no_fault_of_the_sampler(recipe: dict[str, Any]) -> None:
    stale = {**recipe, "rollout": {**recipe["rollout"], "staleness": 1}}
    assert places(diagnose(steps(*[{"mismatch": 0.4}] * 9), recipe)) != []
    assert places(diagnose(steps(*[{"mismatch": 0.4}] * 9), stale)) == []


def test_what_clips_later_updates_is_their_size(recipe: dict[str, Any]) -> None:
    (train, *rest) = recipe["train"]
    two = {**recipe, "train": [{**train, "minibatches": 2}, *rest]}
    (found,) = diagnose(steps(*[{"clipped": 0.8}] * 3), two)
    assert found.settings == ("train.0.optimizer.lr", "train.0.epochs", "train.0.minibatches")


def test_every_condition_is_tried() -> None:
    assert set(SICK) | {"accuracy-falls", "similarity-without-accuracy"} == set(AFTER)


@pytest.mark.parametrize("name", SICK)
def test_settings_are_ones_that_the_recipe_has(name: str, recipe: dict[str, Any]) -> None:
    (found,) = diagnose(steps(*[SICK[name][0]] * AFTER[name]), recipe)
    given = {"rollout.system": "Answer in a box.", "student.chat_template": "chatml"}
    for setting in found.settings:
        if setting in ("train", "task", "tools"):
            continue
        value = {
            "preset": "dapo",
            "mask_unended": True,
            "adapter": "lora",
            "importance_cap": 2.0,
            "dtype": "float32",
        }.get(setting.split(".")[-1])
        load_checked("quickstart", {setting: given.get(setting, value or 2)}, default_registry())


def test_advice_says_what_the_setting_is_now(recipe: dict[str, Any]) -> None:
    (found,) = diagnose(steps(*[SICK["episodes-cut"][0]] * 3), recipe)
    assert "`rollout.max_turn_tokens` (now 64)" in found.advice


def test_without_a_recipe_there_is_advice_too() -> None:
    (found,) = diagnose(steps(*[{"truncated": 1.0}] * 3), {})
    assert found.settings[0] == "rollout.max_turn_tokens"


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_runs_are_left_alone(name: str, recipe: dict[str, Any]) -> None:
    columns = HEALTHY[name]
    events = [
        step(number, dict(zip(columns, row, strict=True)))
        for number, row in enumerate(zip(*columns.values(), strict=True), 1)
    ]
    assert len(events) >= 40
    assert diagnose(events, recipe) == []


@pytest.mark.parametrize("rollouts", [8, 32, 128])
def test_chance_is_no_fall(rollouts: int, recipe: dict[str, Any]) -> None:
    chance = random.Random(rollouts)
    for _ in range(20):
        right = [sum(chance.random() < 0.4 for _ in range(rollouts)) / rollouts for _ in range(200)]
        events = steps(*({"accuracy": value, "similarity": 0.8 + chance.gauss(0, 0.03)} for value in right))
        assert [found for found in diagnose(events, recipe) if "accuracy" in found.name] == []


@pytest.mark.parametrize(
    ("similarity", "name"), [((0.7, 0.95), "similarity-without-accuracy"), ((0.9, 0.7), "accuracy-falls")]
)
def test_a_fall_of_accuracy(similarity: tuple[float, float], name: str, recipe: dict[str, Any]) -> None:
    chance = random.Random(3)
    before, after = similarity
    rising = [{"accuracy": 0.3 + 0.03 * n + chance.gauss(0, 0.03), "similarity": before} for n in range(12)]
    falling = [{"accuracy": 0.63 - 0.04 * n + chance.gauss(0, 0.03), "similarity": after} for n in range(12)]
    (found,) = diagnose(steps(*rising, *falling), recipe)
    assert found.name == name
    assert 14 <= (found.step or 0) <= 24


def test_a_student_that_training_has_broken_needs_gentler_training(recipe: dict[str, Any]) -> None:
    ruined = {"truncated": 1.0, "accuracy": 0.0}
    (found,) = diagnose(steps({"accuracy": 0.3}, *[ruined] * 3), recipe)
    assert (found.name, found.settings[0]) == ("episodes-cut", "train.0.optimizer.lr")
    assert "now 0.0008" in found.advice


def test_equal_rewards_of_a_solved_task_ask_for_harder_problems(recipe: dict[str, Any]) -> None:
    (found,) = diagnose(steps(*[{"zero_variance_groups": 1.0, "accuracy": 1.0}] * 3), recipe)
    assert (found.name, found.settings) == ("equal-rewards", ("task",))


def test_equal_rewards_do_not_matter_where_nothing_is_learned_from_them(recipe: dict[str, Any]) -> None:
    stage = recipe["train"][0]
    distilled = stage | {"with": stage["with"] | {"objective": stage["with"]["objective"] | {"reward": 0.0}}}
    assert diagnose(steps(*[{"zero_variance_groups": 1.0}] * 9), recipe | {"train": [distilled]}) == []


def evaluation(number: int, **values: Any) -> Event:
    found = {"plan": "in-domain", "agent": {"kind": "run"}, "problems": 100, "teacher_tools": {"add": 3}}
    return Event("evaluation", "t", "0-sft", number, WELL | found | values)


def test_no_calls_are_right_where_the_teacher_makes_none(recipe: dict[str, Any]) -> None:
    quiet = [{"calls_per_problem": 0.0}] * 5
    assert diagnose([evaluation(0, teacher_tools={}), *steps(*quiet)], recipe) == []
    assert diagnose(steps(*quiet), recipe | {"tools": []}) == []
    assert [found.name for found in diagnose([evaluation(0), *steps(*quiet)], recipe | {"tools": []})] == ["no-calls"]


def test_an_evaluation_after_training_shows_what_is_wrong_by_itself(recipe: dict[str, Any]) -> None:
    assert places(diagnose([evaluation(40, truncated=1.0)], recipe)) == [("episodes-cut", 40)]
    # not before training, not of somebody else, not of a handful of problems
    assert diagnose([evaluation(0, truncated=1.0)], recipe) == []
    assert diagnose([evaluation(40, truncated=1.0, agent={"kind": "agent"})], recipe) == []
    assert diagnose([evaluation(40, truncated=1.0, problems=5)], recipe) == []


def test_a_condition_is_named_once_a_run_whatever_the_stage(recipe: dict[str, Any]) -> None:
    cut = [{"truncated": 1.0}] * 4
    events = [*steps(*cut, stage="0-grpo"), *steps(*cut, stage="1-grpo"), evaluation(9, truncated=1.0)]
    assert places(diagnose(events, recipe)) == [("episodes-cut", 3)]


@pytest.mark.parametrize("values", [{}, {"accuracy": None}, {"accuracy": "high", "truncated": [1]}, {"steps": 3}])
def test_steps_of_other_stages_may_have_any_values(values: dict[str, Any], recipe: dict[str, Any]) -> None:
    events = [step(number, values, "0-mine") for number in range(1, 30)]
    assert diagnose(events, recipe) == []
    assert diagnose(events, {"train": "?", "tools": None, "rollout": 3}) == []


def test_a_resumed_run_names_nothing_again(folder: RunFolder, recipe: dict[str, Any]) -> None:
    def train(first: int, last: int) -> None:
        with RunRecorder(folder) as recorder:
            recorder.start(Counter(), recipe, ["0-grpo"])
            context = RunContext(recorder, "0-grpo", is_first=True)
            for number in range(first, last + 1):
                context.emit("step", step=number, steps=9, **WELL | {"truncated": 1.0})
                if number in (2, 4):
                    context.checkpoint(number, {"step": number})

    def named() -> list[tuple[str, int | None]]:
        return [(event.values["name"], event.step) for event in Run(folder).events if event.kind == DIAGNOSIS]

    train(1, 2)
    assert named() == []
    # the two steps before the resumption count
    train(3, 4)
    assert named() == [("episodes-cut", 3)]
    train(5, 9)
    assert named() == [("episodes-cut", 3)]
    # an event after the step's own, with what a reader needs
    events = Run(folder).events
    (place,) = [place for place, event in enumerate(events) if event.kind == DIAGNOSIS]
    assert (events[place - 1].kind, events[place - 1].step) == ("step", 3)
    assert set(events[place].values) == {"name", "text", "advice", "settings"}


def test_the_docs_list_every_condition() -> None:
    page = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()
    rows = {line.split("`")[1]: line.split("|")[3].strip() for line in page.splitlines() if line.startswith("| `")}
    assert rows == {name: str(after) for name, after in AFTER.items()}
    starred = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `") and "` * |" in line}
    assert starred == {condition.name for condition in CONDITIONS if condition.in_evaluations}
