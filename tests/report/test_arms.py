"""Who is compared with whom: runs of different agents are never one arm. Run folders as commands would leave them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from report_helpers import report, step

from mentor_kit.report import compare, evaluated, paired
from mentor_kit.report.arms import training_steps
from mentor_kit.runs import Run, RunFolder

IN = "in-domain"
TRAIN = "[{use: grpo, with: {steps: 3}}]"
ONLY_EVALUATES = "[{use: evaluate}]"


def write(
    root: Path,
    name: str,
    reports: Sequence[Mapping[str, Any]],
    *,
    train: str = TRAIN,
    seed: int = 0,
    steps: int = 0,
    second: int = 0,
) -> Run:
    """A run made in that second of a day."""
    from datetime import UTC, datetime

    made = datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)
    text = f"name: {name}\nseed: {seed}\nstudent: {{model: tiny}}\ntrain: {train}\n"
    folder = RunFolder.create(root, name, text, now=made)
    folder.evaluation.mkdir()
    for number, found in enumerate(reports):
        file = f"{found['stage']}-{found['step']:06d}-{found.get('plan', found['split'])}-{number}.json"
        (folder.evaluation / file).write_text(json.dumps(found))
    trains = ["0-grpo"] if train == TRAIN else []
    events: list[dict[str, Any]] = [{"kind": "run_start", "time": "t", "values": {"trains": trains}}]
    events += [{"kind": "step", "time": "t", **step(number)} for number in range(1, steps + 1)]
    events.append({"kind": "run_end", "time": "t", "values": {"outcome": "done"}})
    folder.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    return Run(folder)


def trained(root: Path, name: str = "lib", accuracy: float = 0.2, *, seed: int = 0, second: int = 0) -> Run:
    reports = [report(number, IN, accuracy if number else 0.0, stage="0-grpo") for number in (0, 3)]
    return write(root, name, reports, seed=seed, steps=3, second=second)


def by(agent: dict[str, Any] | None, accuracy: float = 1.0, **more: Any) -> dict[str, Any]:
    found = report(0, IN, accuracy, stage="0-evaluate") | more
    return found if agent is None else found | {"agent": agent}


SCRIPTED = {"kind": "agent", "name": "scripted"}
OPENAI = {"kind": "agent", "name": "openai big", "model": "big"}
UNTRAINED = {"kind": "model", "name": "tiny", "model": "tiny"}
OTHER = {
    "kind": "checkpoint", "name": "lib-other", "run": "lib-other/1", "checkpoint": "0-grpo-step-000007", "steps": 7,
    "seed": 4,
}  # fmt: skip
OWN = {"kind": "checkpoint", "name": "lib", "run": "lib/1", "checkpoint": "0-grpo-step-000002", "steps": 2, "seed": 0}


@pytest.mark.parametrize(
    ("evaluation", "name", "steps", "seed"),
    [
        (by(SCRIPTED), "lib: scripted", 0, 0),
        (by(OPENAI), "lib: openai big", 0, 0),
        (by(UNTRAINED), "lib: tiny", 0, 0),
        (by(OTHER), "lib: lib-other, step 7", 7, 4),
        (by(OWN), "lib: step 2", 2, 0),
        # older reports: the description under `who`, or the agent's name alone
        (by(None) | {"agent": "scripted"} | {"who": SCRIPTED}, "lib: scripted", 0, 0),
        (by(None) | {"agent": "student"} | {"who": OTHER}, "lib: lib-other, step 7", 7, 4),
        (by(None) | {"agent": "scripted"}, "lib: scripted", 0, 0),
        (by(None) | {"agent": "student"}, "lib: student", 0, 0),
        (by(None), "lib: student", 0, 0),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_an_evaluation_of_somebody_else_is_an_arm_of_its_own(
    tmp_path: Path, evaluation: dict[str, Any], name: str, steps: int, seed: int, order: int
) -> None:
    run = trained(tmp_path, second=1)
    other = write(tmp_path, "lib", [evaluation], train=ONLY_EVALUATES, second=2)
    found = compare([run, other][::order])
    arms = {result.arm: result for result in found.results}
    assert set(arms) == {"lib", name}
    own, played = arms["lib"], arms[name]
    assert own.greedy is not None
    assert played.greedy is not None
    assert (own.greedy.value, own.steps, own.seeds) == (0.2, 3, (0,))
    assert (played.greedy.value, played.steps, played.seeds) == (1.0, steps, (seed,))
    assert not any("left out" in note for note in found.notes)
    assert name in found.text()


def test_an_agent_evaluated_in_a_training_run_is_another_arm(tmp_path: Path) -> None:
    reports = [report(0, IN, 0.0), report(3, IN, 0.2), by(SCRIPTED, stage="1-evaluate")]
    run = write(tmp_path, "lib", reports, steps=3)
    arms = {result.arm: result.greedy for result in compare([run]).results}
    assert {name: mean and mean.value for name, mean in arms.items()} == {"lib": 0.2, "lib: scripted": 1.0}
    # what the student did between its evaluations is not what somebody else did afterwards
    outcomes: Any = {"p0": [0], "p1": [1]}
    reports = [item | {"outcomes": outcomes} for item in reports]
    (pair,) = paired([write(tmp_path / "again", "lib", reports, steps=3)]).pairs
    assert (pair.a, pair.b) == (0.5, 0.5)


def test_models_as_they_are_need_a_name_only_beside_others(tmp_path: Path) -> None:
    first = write(tmp_path, "lib", [by(UNTRAINED)], train=ONLY_EVALUATES, second=1)
    assert [result.arm for result in compare([first]).results] == ["lib"]
    second = write(
        tmp_path, "lib", [by(UNTRAINED | {"name": "large", "model": "a/large"})], train=ONLY_EVALUATES, second=2
    )
    assert [result.arm for result in compare([first, second]).results] == ["lib: tiny", "lib: large"]
    script = write(tmp_path, "lib", [by(SCRIPTED)], train=ONLY_EVALUATES, second=3)
    assert [result.arm for result in compare([script]).results] == ["lib: scripted"]


def test_students_of_several_seeds_are_one_arm_whatever_the_evaluations_seed(tmp_path: Path) -> None:
    runs = [
        write(tmp_path, "lib", [by(OWN | {"seed": seed}, 0.5 + seed / 10)], train=ONLY_EVALUATES, second=seed)
        for seed in range(3)
    ]
    (result,) = compare(runs).results
    assert (result.arm, result.seeds, result.steps) == ("lib: step 2", (0, 1, 2), 2)
    assert result.greedy is not None
    assert result.greedy.values == (0.5, 0.6, 0.7)


@pytest.mark.parametrize("order", [1, -1])
def test_the_newest_of_one_seed_counts_in_whatever_order_they_are_named(tmp_path: Path, order: int) -> None:
    old, new = trained(tmp_path, accuracy=0.3, second=1), trained(tmp_path, accuracy=0.6, second=2)
    found = compare([old, new][::order])
    (result,) = found.results
    assert result.greedy is not None
    assert result.greedy.value == 0.6
    assert found.notes == (f"{old.path} is left out: {new.path} is newer, with the same seed",)


def test_labels_leave_out_what_recipes_have_in_common(tmp_path: Path) -> None:
    runs = [
        trained(tmp_path, "small-mentor"),
        trained(tmp_path, "small-sparse"),
        write(tmp_path, "small-mentor", [by(OPENAI)], train=ONLY_EVALUATES, second=1),
    ]
    found = compare(runs)
    assert found.title == "small"
    assert [result.label for result in found.results] == ["mentor", "sparse", "mentor: openai big"]


def test_a_name_means_the_newest_run_that_trains(tmp_path: Path) -> None:
    outcomes: Any = {"p0": [0], "p1": [1]}
    a = write(tmp_path, "a", [report(3, IN, 0.5, outcomes=outcomes)], steps=3, second=1)
    write(tmp_path, "a", [by(SCRIPTED, outcomes={"p0": [1], "p1": [1]})], train=ONLY_EVALUATES, second=2)
    b = write(tmp_path, "b", [by(SCRIPTED, outcomes={"p0": [1], "p1": [1]})], train=ONLY_EVALUATES, second=2)
    found = paired(["a", "b"], root=tmp_path)
    assert (found.a, found.b) == (str(a.path), f"{b.path}, scripted")
    assert [(pair.a, pair.b) for pair in found.pairs] == [(0.5, 1.0)]


def test_evaluated_says_whom(tmp_path: Path) -> None:
    for second, (who, text) in enumerate(
        [
            (SCRIPTED, "scripted"),
            (OPENAI, "openai big"),
            (UNTRAINED, "tiny, untrained"),
            (OTHER, "lib-other/1, 0-grpo-step-000007"),
            ({"kind": "run", "name": "lib", "run": "lib/1"}, "the student of lib/1"),
        ]
    ):
        found = evaluated(write(tmp_path, "lib", [by(who)], train=ONLY_EVALUATES, second=second))
        assert found.text().startswith(f"Accuracy of {text}\n")
        assert found.to_json()[0]["agent"] == who


def test_two_plans_of_one_split_are_two_rows(tmp_path: Path) -> None:
    reports = [
        report(number, IN, accuracy, outcomes={"p0": [int(accuracy > 0.5)]}) | {"plan": plan}
        for number, plan, accuracy in ((0, IN, 0.0), (0, f"{IN}-2", 1.0), (3, IN, 0.9), (3, f"{IN}-2", 0.1))
    ]
    run = write(tmp_path, "lib", reports, steps=3)
    assert {result.split: result.greedy and result.greedy.value for result in compare([run]).results} == {
        IN: 0.9, f"{IN}-2": 0.1,
    }  # fmt: skip
    pairs = {pair.split: (pair.a, pair.b) for pair in paired([run]).pairs}
    assert pairs == {IN: (0.0, 1.0), f"{IN}-2": (1.0, 0.0)}


def test_rewards_over_some_of_the_problems_are_noted(tmp_path: Path) -> None:
    found = compare([write(tmp_path, "lib", [report(3, IN, 0.5, reward=0.9, reward_problems=40)], steps=3)])
    (note,) = found.notes
    assert note.startswith("in-domain: reward is over 40 problems")
    whole = compare([write(tmp_path, "all", [report(3, IN, 0.5, reward=0.9, reward_problems=100)], steps=3)])
    assert whole.notes == ()


def test_training_steps_over_stages(tmp_path: Path) -> None:
    run = write(tmp_path, "lib", [report(0, IN, 0.0, stage="1-sft"), report(2, IN, 0.0, stage="1-sft")], steps=3)
    assert training_steps(run) == 5
    assert training_steps(run, "1-sft", 2) == 5
    assert training_steps(run, "0-grpo", 2) == 2
