"""Keys of other trainers are answered with their names here."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from mentor_kit import api
from mentor_kit.core.errors import RecipeError
from mentor_kit.core.foreign_keys import FOREIGN_KEYS, foreign_hint, markdown_table

DOCS = Path(__file__).parents[2] / "docs"
OURS = sorted({entry.ours for entry in FOREIGN_KEYS if entry.ours})


def faults(**overrides: object) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        api.check("quickstart", overrides=dict(overrides), look=False)
    return [fault["text"] for fault in caught.value.as_data()["faults"]]


def keys(program: str) -> list[str]:
    return [name for entry in FOREIGN_KEYS for of, name in entry.names() if of == program]


@pytest.mark.parametrize(
    ("place", "key", "ours"),
    [
        ("train.0", "num_generations", "train.0.group"),
        ("train.0", "n", "train.0.group"),
        ("train.0", "beta", "train.0.objective.kl"),
        ("train.0.optimizer", "max_grad_norm", "train.0.optimizer.clip"),
        ("rollout", "max_response_length", "rollout.max_response_tokens"),
        ("evaluate", "eval_steps", "evaluate.every"),
        ("checkpoints", "save_total_limit", "checkpoints.keep_last"),
    ],
)
def test_a_foreign_key_is_answered_with_its_name_here(place: str, key: str, ours: str) -> None:
    (text,) = faults(**{f"{place}.{key}": 1})
    assert f"'{key}' is '{ours}' here" in text


def test_keys_in_a_foreign_section_are_answered_with_their_whole_names() -> None:
    verl = {"rollout": {"n": 5, "name": "vllm"}, "actor": {"optim": {"lr": 1e-6}}}
    (text,) = faults(actor_rollout_ref=verl)
    assert "verl's 'actor_rollout_ref.rollout.n' is 'train.0.group' here" in text
    assert "verl's 'actor_rollout_ref.actor.optim.lr' is 'train.0.optimizer.lr' here" in text
    # a section is no misspelt key of ours
    (text,) = faults(trainer={"test_freq": 5})
    assert "'evaluate.every'" in text
    assert "did you mean" not in text


def test_of_a_large_foreign_section_the_first_keys_are_answered() -> None:
    names = [name.split(".", 1)[1] for name in keys("verl") if name.startswith("actor_rollout_ref.")]
    section: dict[str, object] = {}
    for name in names:
        *path, last = name.split(".")
        inner = section
        for part in path:
            inner = inner.setdefault(part, {})  # type: ignore[assignment]
        inner[last] = 1
    (text,) = faults(actor_rollout_ref=section)
    answered = text.count("verl's 'actor_rollout_ref.")
    assert 0 < answered < len(names)
    assert f"{len(names) - answered} more" in text


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        ("use_vllm", "engine"),
        ("max_prompt_length", "max_context"),
        ("logging_steps", "every step"),
        ("output_dir", "run"),
    ],
)
def test_what_is_no_setting_here_is_said_to_be_none(key: str, instead: str) -> None:
    hint = foreign_hint(key)
    assert "is no key here" in hint
    assert instead in hint


def test_a_mistyped_key_of_ours_is_answered_as_before() -> None:
    (text,) = faults(**{"rollout.max_turn": 3})
    assert "did you mean 'max_turns'?" in text


def test_common_words_are_answered_only_where_they_can_be_meant() -> None:
    assert "train.0.group" in foreign_hint("n", ["steps", "group"])
    assert foreign_hint("n", ["module", "workers"]) == ""
    assert foreign_hint("path", ["use"]) == ""
    assert foreign_hint("nonsense") == ""


@pytest.mark.parametrize("ours", OURS)
def test_every_name_here_is_a_key(ours: str) -> None:
    # a value that no key takes: the fault is about the value, not about the key
    if ours in ("trackers", "reward.terms"):
        return
    value = {"neither": json.dumps(ours)}
    for text in faults(**{ours: value}):
        assert not text.startswith(f"{ours}: unknown key")
        last = ours.rpartition(".")[2]
        assert f".{last}: unknown key" not in text


def test_the_page_has_the_table() -> None:
    assert markdown_table() in (DOCS / "coming-from.md").read_text()


@pytest.mark.slow
def test_the_programs_have_these_keys() -> None:
    trl = pytest.importorskip("trl")
    transformers = pytest.importorskip("transformers")
    lora = {field.name for field in dataclasses.fields(pytest.importorskip("peft").LoraConfig)}
    assert set(keys("peft")) <= lora
    known = {
        field.name
        for kind in (trl.GRPOConfig, trl.ModelConfig, trl.ScriptArguments)
        for field in dataclasses.fields(kind)
    }
    known |= {field.name for field in dataclasses.fields(transformers.TrainingArguments)}
    known |= {"reward_funcs", "max_new_tokens", "fp16"}  # arguments of the trainer, and of `generate`
    assert set(keys("TRL")) - known == set()
    defaults = pytest.importorskip("mlx_lm.lora").CONFIG_DEFAULTS
    theirs_too = {"group_size", "beta", "epsilon", "epsilon_high", "max_completion_length", "reward_weights"}
    assert set(keys("mlx-lm")) - set(defaults) == theirs_too  # the rest is mlx-lm-lora's
