"""Rescoring a run: what is recorded reproduces itself, and other rewards are counted by hand from the JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rescore_helpers import KINDS, lines_of, write_run

from mentor_kit import api
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import DataError, RecipeError, UsageError
from mentor_kit.rl.reward import GateSpec, RewardSpec, TermSpec
from mentor_kit.runs import Run

NAMES = list(KINDS)
STEPS = [
    [
        ["as the teacher", "right with other tools", "wrong", "not ended"],
        ["right with other tools", "as the teacher", "as the teacher", "as the teacher"],
    ],
    [["wrong", "wrong with the teacher's tools", "invents a tool", "no answer"], ["not ended"] * 4],
    [["as the teacher"] * 4, ["no answer", "not ended", "wrong", "right with other tools"]],
]
steps = st.integers(1, 3).flatmap(
    lambda groups: st.lists(
        st.lists(st.lists(st.sampled_from(NAMES), min_size=4, max_size=4), min_size=groups, max_size=groups),
        min_size=1,
        max_size=3,
    )
)


def sparse_by_hand(line: dict[str, Any]) -> float:
    if line["trajectory"]["ending"] != "answered":
        return 0.0
    return 1.0 if line["trajectory"].get("correct") else 0.1


def zero_variance_by_hand(totals: list[list[float]]) -> float:
    groups = [step[start : start + 4] for step in totals for start in range(0, len(step), 4)]
    return sum(len(set(group)) == 1 for group in groups) / len(groups)


@pytest.mark.slow
@settings(max_examples=50)
@given(steps)
def test_any_run(tmp_path_factory: pytest.TempPathFactory, made: Any) -> None:
    run = write_run(tmp_path_factory.mktemp("runs"), made)
    check_own_reward(run)
    check_sparse(run)


def test_the_runs_own_reward_changes_nothing(tmp_path: Path) -> None:
    check_own_reward(write_run(tmp_path, STEPS))


def test_sparse_is_what_counting_by_hand_gives(tmp_path: Path) -> None:
    check_sparse(write_run(tmp_path, STEPS))


def check_own_reward(run: Run) -> None:
    found = api.rescore(run, rewards=["mentor"])
    own, again = found.rewards
    assert found.reproduction.exact
    assert (found.reproduction.checked, found.reproduction.first) == (sum(map(len, lines_of(run))), "")
    assert (own.mean, own.zero_variance, own.correlation) == (again.mean, again.zero_variance, again.correlation)
    assert (again.sign_changed, again.to_zero, again.from_zero, again.gained, again.lost) == (0, 0, 0, (), ())
    totals = [[line["reward"]["total"] for line in step] for step in lines_of(run)]
    assert own.zero_variance == zero_variance_by_hand(totals)


def check_sparse(run: Run) -> None:
    _, sparse = api.rescore(run, rewards=["sparse"]).rewards
    totals = [[sparse_by_hand(line) for line in step] for step in lines_of(run)]
    flat = [total for step in totals for total in step]
    assert sparse.mean == pytest.approx(sum(flat) / len(flat), abs=1e-12)
    assert sparse.zero_variance == zero_variance_by_hand(totals)
    assert sparse.spread == pytest.approx(1 - zero_variance_by_hand(totals))
    right = [float(line["trajectory"].get("correct", False)) for step in lines_of(run) for line in step]
    if len(set(flat)) > 1 and len(set(right)) > 1:
        assert sparse.correlation == pytest.approx(np.corrcoef(flat, right)[0, 1], abs=1e-9)
    else:
        assert sparse.correlation is None


def advantages_by_hand(rewards: list[float]) -> list[int]:
    """The signs of GRPO's advantages in a group: those of the reward less the group's mean."""
    mean = sum(rewards) / len(rewards)
    return [0 if abs(reward - mean) < 1e-9 else 1 if reward > mean else -1 for reward in rewards]


def test_signs_of_advantages_are_those_of_the_estimator(tmp_path: Path) -> None:
    run = write_run(tmp_path, STEPS)
    _, sparse = api.rescore(run, rewards=["sparse"]).rewards
    pairs = []
    for step in lines_of(run):
        for start in range(0, len(step), 4):
            group = step[start : start + 4]
            before = advantages_by_hand([line["reward"]["total"] for line in group])
            pairs += zip(before, advantages_by_hand([sparse_by_hand(line) for line in group]), strict=True)
    assert sparse.compared == len(pairs) == 24
    assert sparse.sign_changed == sum(a * b < 0 for a, b in pairs) / 24
    assert sparse.to_zero == sum(a != 0 and b == 0 for a, b in pairs) / 24
    assert sparse.from_zero == sum(a == 0 and b != 0 for a, b in pairs) / 24


def test_the_episodes_that_change_most_have_their_places(tmp_path: Path) -> None:
    run = write_run(tmp_path, STEPS)
    _, sparse = api.rescore(run, rewards=["sparse"]).rewards
    best = sparse.gained[0]
    assert (best.stage, best.correct) == ("0-grpo", True)
    assert (best.before, best.after) == (pytest.approx(0.8), 1.0)
    for change in (*sparse.gained, *sparse.lost):
        step = lines_of(run)[change.step - 1]
        (line,) = [line for line in step if line["trajectory"]["id"] == f"{change.problem}#{change.attempt}"]
        assert (change.before, change.after) == (line["reward"]["total"], pytest.approx(sparse_by_hand(line)))
    assert all(change.after > change.before for change in sparse.gained)
    assert all(change.after < change.before for change in sparse.lost)


def test_a_rollout_that_another_version_would_pay_otherwise_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path, STEPS)
    file = run.path / "rollouts" / "0-grpo" / "step-000002.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for place in (1, 3):
        lines[place]["reward"]["total"] += 0.25
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = api.rescore(run, rewards=["sparse"]).reproduction
    assert (found.exact, found.checked, found.equal) == (False, 24, 22)
    assert "0-grpo step 2" in found.first
    assert lines[1]["trajectory"]["id"] in found.first


def test_schedules_are_those_of_the_step_at_that_time(tmp_path: Path) -> None:
    schedule = {"start": 1.0, "end": 0.0, "over": [0.0, 1.0]}
    group = [["as the teacher", "wrong with the teacher's tools", "wrong", "not ended"]]
    # three steps of five that there were then; the run has been lengthened to nine since
    factors = [1.0, 0.75, 0.5]
    run = write_run(
        tmp_path,
        [group, group, group],
        overrides={"reward": {"use": "mentor", "with": {"schedule": schedule}}, "train.0.steps": 9},
        factors=factors,
        steps_then=5,
    )
    found = api.rescore(run, rewards=[{"use": "mentor", "with": {"tools": 0.6, "schedule": schedule}}])
    assert found.reproduction.exact
    assert found.series is not None
    own, other = zip(*found.series.mean, strict=False) if len(found.series.mean) == 3 else found.series.mean
    assert list(own) == pytest.approx([(0.7 + 0.3 * f + 0.1 + 0.06 * f + 0.1 + 0.1) / 4 for f in factors])
    assert list(other) == pytest.approx([(0.7 + 0.6 * f + 0.1 + 0.12 * f + 0.1 + 0.1) / 4 for f in factors])


@pytest.mark.parametrize(
    "given_as",
    [
        {"rewards": [ComponentSpec(use="mentor", options={"tools": 0.0})]},
        {"rewards": [{"use": "mentor", "with": {"tools": 0.0}}]},
        {"overrides": {"reward.tools": 0.0}},
        {"overrides": {"reward": {"use": "mentor", "with": {"tools": 0.0}}}},
        {
            "rewards": [
                RewardSpec(
                    gates=(GateSpec(use="ended", otherwise=0.0), GateSpec(use="answered", otherwise=0.1)),
                    terms=(TermSpec(use="correct", weight=0.7), TermSpec(use="known-tools", weight=0.1)),
                )
            ]
        },
    ],
)
def test_a_reward_can_be_given_in_any_form(tmp_path: Path, given_as: dict[str, Any]) -> None:
    run = write_run(tmp_path, STEPS)
    result = api.rescore(run, **given_as)
    assert result.reproduction.exact
    _, found = result.rewards
    paid = {"as the teacher": 0.8, "right with other tools": 0.8, "no answer": 0.1, "not ended": 0.0}
    paid |= {"wrong": 0.1, "wrong with the teacher's tools": 0.1, "invents a tool": 0.0}
    every = [paid[name] for step in STEPS for group in step for name in group]
    assert found.mean == pytest.approx(sum(every) / len(every))


def test_every_preset_if_none_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path, STEPS)
    names = [reward.name for reward in api.rescore(run).rewards]
    assert names[0] == "mentor"
    assert {"sparse", "mentor-f1", "mentor-overlap", "mentor-no-match"} <= set(names[1:])


def test_steps_and_what_was_not_recorded(tmp_path: Path) -> None:
    run = write_run(tmp_path, STEPS)
    found = api.rescore(run, rewards=["sparse"], between=(2, 3))
    assert (found.steps, found.rewards[0].episodes) == (2, 16)
    (run.path / "rollouts" / "0-grpo" / "step-000002.jsonl").unlink()
    found = api.rescore(run, rewards=["sparse"])
    assert (found.steps, found.rewards[0].episodes) == (2, 16)
    assert any("1 of 3 steps" in note for note in found.notes)
    with pytest.raises(UsageError):
        api.rescore(run, rewards=["sparse"], between=(7, 9))


def test_a_run_without_demonstrations_has_rewards_that_need_none(tmp_path: Path) -> None:
    run = write_run(tmp_path, [[["wrong", "not ended"]]], overrides={"reward": "sparse"}, demonstrated=False)
    found = api.rescore(run, rewards=["mentor-no-match", "mentor"])
    assert [reward.name for reward in found.rewards] == ["sparse", "mentor-no-match"]
    with pytest.raises(DataError):
        api.rescore(run, rewards=["mentor"])


@pytest.mark.parametrize(
    "gone",
    [
        "task: {use: rows, with: {files: {train: gone.jsonl}}}\n",
        "task: {use: a-plugin-that-was-removed, with: {key: '${env:A_KEY_OF_THEN}'}}\n",
    ],
)
def test_a_task_that_cannot_be_built_any_more_costs_only_a_note(tmp_path: Path, gone: str) -> None:
    run = write_run(tmp_path, STEPS)
    recipe = run.folder.recipe
    text = recipe.read_text()
    start, end = text.index("task:"), text.index("tools:")
    recipe.write_text(text[:start] + gone + text[end:])
    found = api.rescore(Run(run.folder), rewards=["sparse"])
    assert found.reproduction.exact
    assert any("task" in note for note in found.notes)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"rewards": ["sparze"]}, RecipeError),
        ({"rewards": [{"use": "sparse", "with": {"rihgt": 1}}]}, RecipeError),
        ({"rewards": "sparse"}, UsageError),
        ({"rewards": [3]}, UsageError),
        ({"overrides": {"train.0.steps": 3}}, UsageError),
        ({"overrides": {"reward.tools": "many"}}, RecipeError),
    ],
)
def test_wrong_rewards_are_refused(tmp_path: Path, arguments: dict[str, Any], error: type[Exception]) -> None:
    run = write_run(tmp_path, [[["wrong", "not ended"]]])
    with pytest.raises(error):
        api.rescore(run, **arguments)


def test_the_result_is_kept_only_where_it_is_asked_for(tmp_path: Path) -> None:
    run = write_run(tmp_path, STEPS)
    api.rescore(run, rewards=["sparse"])
    assert not (run.path / "rescore").exists()
    found = api.rescore(run, rewards=["sparse"], keep=True)
    kept = json.loads((run.path / "rescore" / "rollouts.json").read_text())
    assert kept["rewards"][1]["mean"] == found.rewards[1].mean
    assert kept["reproduction"]["exact"] is True


@pytest.mark.parametrize("recorded", [True, False])
def test_groups_that_dynamic_sampling_replaced_have_no_advantages(tmp_path: Path, recorded: bool) -> None:
    groups = [["wrong"] * 4, ["as the teacher", "wrong", "wrong", "wrong"], ["not ended", "wrong", "wrong", "wrong"]]
    run = write_run(tmp_path, [groups], overrides={"train.0.resample": 1})
    recipe = run.folder.recipe
    # two problems a step: the third group came in place of the first
    recipe.write_text(recipe.read_text().replace("problems: 3\n", "problems: 2\n", 1))
    if recorded:
        file = run.path / "rollouts" / "0-grpo" / "step-000001.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for place, line in enumerate(lines[4:]):
            # as the run had it: the first of each group the best
            line["advantage"] = 1.5 if place % 4 == 0 else -0.5
        file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    own, sparse = api.rescore(Run(run.folder), rewards=["sparse"]).rewards
    assert (own.groups, own.zero_variance, sparse.compared) == (3, 1 / 3, 8)
    # recorded advantages are the run's: there the rollout that did not end had the best one, and now has the worst
    assert sparse.sign_changed == (0.5 if recorded else 0.0)


def test_where_nothing_is_learned_from_rewards_no_advantages_are_compared(tmp_path: Path) -> None:
    run = write_run(tmp_path, STEPS, overrides={"train.0.objective": {"preset": "opd"}})
    found = api.rescore(run, rewards=["sparse"])
    assert found.reproduction.exact
    assert (found.rewards[1].compared, found.rewards[1].sign_changed) == (0, None)
    assert found.rewards[1].gained


def test_a_stage_of_a_plugin_that_was_removed(tmp_path: Path) -> None:
    run = write_run(tmp_path, STEPS)
    recipe = run.folder.recipe
    recipe.write_text(recipe.read_text().replace("use: grpo\n", "use: a-stage-of-then\n", 1))
    found = api.rescore(Run(run.folder), rewards=["sparse"])
    assert found.reproduction.exact
    assert found.rewards[0].groups == 6
    assert any("0-grpo" in note for note in found.notes)


def test_an_own_reward_that_is_not_there_any_more(tmp_path: Path) -> None:
    run = write_run(tmp_path, STEPS)
    recipe = run.folder.recipe
    text = recipe.read_text()
    start, end = text.index("\nreward:"), text.index("\nrollout:")
    recipe.write_text(f"{text[:start]}\nreward: {{use: a-reward-of-then}}{text[end:]}")
    found = api.rescore(Run(run.folder), rewards=["sparse"])
    assert (found.reproduction.exact, found.reproduction.checked) == (False, 0)
    assert "a-reward-of-then" in found.reproduction.reason
    own, sparse = found.rewards
    assert (own.name, own.own) == ("a-reward-of-then", True)
    # what was recorded is still what others are compared with
    totals = [line["reward"]["total"] for step in lines_of(run) for line in step]
    assert own.mean == pytest.approx(sum(totals) / len(totals))
    assert sparse.compared == 24
