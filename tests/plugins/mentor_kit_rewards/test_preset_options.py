"""Numbers of presets, and schedules, as a recipe sets them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from reward_words import CONTEXT, PROBLEM, REGISTRY, did, showed

from mentor_kit.cli import app as cli
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import RecipeError
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.registry import ComponentError
from mentor_kit.recipe.assembly import assemble_components, build_reward
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.faults import RecipeFaults
from mentor_kit.rl.reward import Reward

SHOWN = [showed("add")]
RECIPE = """
extends: quickstart
reward:
  use: mentor-f1
  with: {tools: 0.5, when_wrong: 0.1, excess: null, schedule: {start: 2.0, end: 0.5, over: [0.2, 0.6], shape: cosine}}
"""


def preset(name: str, **options: Json) -> Reward:
    return build_reward(ComponentSpec(use=name, options=options), REGISTRY, CONTEXT)


@pytest.mark.parametrize(
    ("name", "options", "right", "wrong", "silent"),
    [
        ("mentor", {"right": 1.0, "tools": 0.5, "known": 0.25, "when_wrong": 0.5}, 1.75, 0.5, 0.1),
        ("mentor-f1", {"when_wrong": 0.0, "no_answer": 0.05}, 1.1, 0.1, 0.05),
        ("mentor-overlap", {"tools": 1.0}, 1.7, 0.2, 0.0),
        ("mentor-no-match", {"known": 0.0}, 0.7, 0.0, 0.1),
        ("sparse", {"right": 2.0, "wrong": -1.0}, 2.0, -1.0, -1.0),
    ],
)
def test_numbers(name: str, options: dict[str, Json], right: float, wrong: float, silent: float) -> None:
    reward = preset(name, **options)
    mute = did("add", right=False).model_copy(update={"answer": None})
    trajectories = (did("add"), did("add", right=False), mute)
    found = [reward(one, PROBLEM, SHOWN).total for one in trajectories]
    assert found == pytest.approx([right, wrong, silent])


def test_the_limit_of_calls() -> None:
    many = did(*["add"] * 9)
    totals = [
        preset("mentor", **o)(many, PROBLEM, SHOWN).total for o in ({}, {"excess": None}, {"excess": {"times": 7}})
    ]
    assert totals == pytest.approx([0.8, 1.1, 1.1])


def test_a_schedule_in_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    reward = assemble_components(load_checked(recipe, {}, REGISTRY), REGISTRY).reward
    assert reward is not None
    totals = [reward(did("add"), PROBLEM, SHOWN, progress=share).total for share in (0.0, 0.2, 0.4, 0.6, 1.0)]
    # 0.7 + 0.1 + 0.5 times 2, 2, 1.25 (half way), 0.5 and 0.5
    assert totals == pytest.approx([1.8, 1.8, 1.425, 1.05, 1.05])
    assert reward.maximum == pytest.approx(1.8)
    assert cli.run_app(["check", str(recipe), "--expand"]) == 0
    expected = (
        "  +0.5 x tool-f1 with {'excess': None} (0.05 when the answer is wrong), times 2 to 0.5 from 20% to 60% of a "
    )
    assert f"{expected}stage (cosine)\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("mentor", {"tool": 1.0}, "did you mean 'tools'"),
        ("mentor", {"schedule": {"over": [0.9, 0.1]}}, "two shares of a stage"),
        ("mentor", {"schedule": {"shape": "step"}}, "'linear' or 'cosine'"),
        ("mentor", {"right": float("inf")}, "finite"),
        ("sparse", {"tools": 1.0}, "unknown key"),
    ],
)
def test_wrong_numbers_are_named(name: str, options: dict[str, Json], text: str) -> None:
    with pytest.raises(ComponentError, match=text):
        preset(name, **options)


WRITTEN = {
    "reward.gates.0.threshold": "gates: [{use: ended, otherwise: 0, threshold: BAD}]",
    "reward.gates.0.otherwise": "gates: [{use: ended, otherwise: BAD}]",
    "reward.terms.0.weight": "terms: [{use: correct, weight: BAD}]",
    "reward.terms.0.when_wrong": "terms: [{use: correct, weight: 1, when_wrong: BAD}]",
    "reward.terms.0.schedule.start": "terms: [{use: correct, weight: 1, schedule: {start: BAD}}]",
    "reward.terms.0.schedule.end": "terms: [{use: correct, weight: 1, schedule: {end: BAD}}]",
    "reward.terms.0.with.excess.times": "terms: [{use: tool-match, weight: 1, with: {excess: {times: BAD}}}]",
    "reward.terms.0.with.times": "terms: [{use: call-economy, weight: 1, with: {times: BAD}}]",
    "reward.terms.0.with.free": "terms: [{use: length, weight: 1, with: {free: BAD, limit: 9}}]",
    "reward.terms.0.with.when_unreadable": (
        "terms: [{use: judge, weight: 1, with: {teacher: scripted, when_unreadable: BAD}}]"
    ),
    **{f"reward.with.{key}": f"{{use: mentor, with: {{{key}: BAD}}}}" for key in ("right", "when_wrong", "no_answer")},
    "reward.with.wrong": "{use: sparse, with: {wrong: BAD}}",
    "reward.with.schedule.end": "{use: mentor-f1, with: {schedule: {end: BAD}}}",
}


@pytest.mark.parametrize("bad", [".nan", ".inf", "-.inf", "true"])
@pytest.mark.parametrize("place", WRITTEN)
def test_what_is_no_finite_number_is_refused_with_its_place(tmp_path: Path, place: str, bad: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    text = WRITTEN[place].replace("BAD", bad)
    recipe.write_text(f"extends: quickstart\nreward:\n  {text}\n")
    with pytest.raises(RecipeFaults) as caught:
        load_checked(recipe, {}, REGISTRY)
    assert {re.split(r": ", fault.text)[0] for fault in caught.value.faults} == {place}


@pytest.mark.parametrize("threshold", ["0", "-1", "1.5"])
def test_a_threshold_that_no_score_or_every_score_reaches_is_refused(tmp_path: Path, threshold: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"extends: quickstart\nreward:\n  gates: [{{use: ended, otherwise: 0, threshold: {threshold}}}]\n"
    )
    with pytest.raises(RecipeError, match=r"recipe.yaml:3:\d+: reward.gates.0.threshold"):
        load_checked(recipe, {}, REGISTRY)
