"""A student's card: read by huggingface_hub, with the results of the exported weights and nothing of this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData
from report_helpers import report, step, write_run

from mentor_kit.backend.student import StudentSpec
from mentor_kit.chat.serving import ServingCommand
from mentor_kit.core.component import ComponentSpec
from mentor_kit.recipe.yaml_writer import to_yaml
from mentor_kit.report.model_card import StudentCard, student_card, write_card
from mentor_kit.rl.reward import RewardSpec
from mentor_kit.runs import Run

RECIPE: dict[str, Any] = {
    "mentorkit": 1,
    "name": "mine",
    "seed": 0,
    "folder": "../../recipes",
    "student": {"model": "owner/base", "adapter": None},
    "task": {"use": "rows", "with": {"files": ["/home/me/rows.jsonl"]}},
    "tools": [],
    "teacher": {"use": "openai", "with": {"key": "${env:KEY}"}},
    "rollout": {"temperature": 0.8, "top_p": 0.95, "top_k": 30},
    "train": [
        {"use": "sft", "with": {"steps": 4, "batch": 8}},
        {"use": "grpo", "with": {"steps": 20, "problems": 16, "group": 8}},
    ],
}
#: Right, wrong, wrong before; right, right, wrong after.
BEFORE, AFTER = {"a": (1, 1), "b": (0, 0), "c": (0, 0)}, {"a": (1, 1), "b": (1, 1), "c": (0, 0)}
EVALUATIONS = [
    report(0, "test", 0.3, 0.25, stage="0-sft", outcomes=BEFORE),
    report(10, "test", 0.5, 0.4, stage="1-grpo", outcomes=AFTER),
    report(20, "test", 0.7, 0.6, stage="1-grpo", outcomes=AFTER),
]
STEPS = [*(step(n, "0-sft") for n in range(1, 5)), *(step(n, "1-grpo") for n in range(1, 21))]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")


def run_of(root: Path, evaluations: Sequence[Any] = EVALUATIONS, **changes: Any) -> Run:
    run = write_run(root, "mine", 0, evaluations, STEPS)
    run.folder.recipe.write_text(to_yaml(RECIPE | changes))
    return Run(run.folder)


def card_of(run: Run, format: str = "transformers", model: str = "owner/base", **more: Any) -> StudentCard:
    wanted = {"tools": ["add"], "family": "hermes", "reward": None, "serving": [ServingCommand("vLLM", "vllm serve x")]}
    return student_card(run, StudentSpec(model), format=format, **{**wanted, **more})


def written(folder: Path, card: StudentCard, **more: Any) -> tuple[dict[str, Any], str]:
    """The metadata as the hub's client reads it, and the text."""
    found = ModelCard.load(write_card(folder, card, **more))
    assert isinstance(found.data, ModelCardData)
    return found.data.to_dict(), found.text


def table(text: str, head: str) -> list[list[str]]:
    """The rows of the Markdown table whose first line begins with `head`."""
    lines = text[text.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_metadata(tmp_path: Path) -> None:
    data, _ = written(tmp_path, card_of(run_of(tmp_path)))
    assert (data["base_model"], data["base_model_relation"]) == ("owner/base", "finetune")
    assert (data["library_name"], data["pipeline_tag"]) == ("transformers", "text-generation")
    assert {"mentor-kit", "tool-use", "sft", "grpo"} <= set(data["tags"])
    assert "license" not in data
    assert written(tmp_path, card_of(run_of(tmp_path)), license="apache-2.0")[0]["license"] == "apache-2.0"


@pytest.mark.parametrize(
    ("format", "library", "relation"),
    [("adapter", "peft", "adapter"), ("mlx-adapter", "mlx", "adapter"), ("mlx", "mlx", "finetune")],
)
def test_every_format_has_its_library_and_relation(tmp_path: Path, format: str, library: str, relation: str) -> None:
    adapter = {"use": "lora", "with": {"rank": 8, "alpha": 16.0, "path": None}}
    run = run_of(tmp_path, student={"model": "owner/base", "adapter": adapter})
    data, text = written(tmp_path, card_of(run, format))
    assert (data["library_name"], data["base_model_relation"]) == (library, relation)
    assert "lora" in data["tags"]
    assert [
        "adapter",
        "LoRA of rank 8, alpha 16" + ("" if "adapter" in format else ", merged into the model"),
    ] in table(text, "| | |")
    assert "owner/base" in text.split("```python")[1].split("```")[0] or relation == "finetune"


def test_a_local_base_model_is_left_out(tmp_path: Path) -> None:
    model = tmp_path / "my-model"
    model.mkdir()
    run = run_of(tmp_path, student={"model": "~/models/my-model", "adapter": None})
    data, text = written(tmp_path, card_of(run, model=str(model)))
    assert "base_model" not in data
    assert "base_model_relation" not in data
    assert ["base model", "`my-model`, a model that is not on the hub"] in table(text, "| | |")
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("declared", "expected"), [("owner/first", "owner/first"), ("../models/x", None), (["a/b", "c/d"], None), (3, None)]
)
def test_a_student_that_was_exported_before_names_the_model_it_goes_back_to(
    tmp_path: Path, declared: Any, expected: str | None
) -> None:
    (model := tmp_path / "earlier").mkdir()
    (model / "README.md").write_text(f"---\nbase_model: {json.dumps(declared)}\n---\n# x\n")
    card = card_of(run_of(tmp_path), model=str(model))
    assert (None if card.base is None else card.base.id) == expected


def test_results_are_before_training_and_of_the_exported_weights(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    data, text = written(tmp_path, card_of(run))
    (greedy, sampled) = table(text, "| problems")
    assert greedy[:4] == ["test", "greedy", "30.0 (20.0 to 40.0)", "70.0 (60.0 to 80.0)"]
    assert greedy[4].startswith("+33.3 (")  # of three problems, one more is right
    assert sampled[3] == "60.0 (50.0 to 70.0)"
    (result,) = data["model-index"][0]["results"]
    assert [metric["value"] for metric in result["metrics"]] == [0.7, 0.6]
    assert result["metrics"][0]["args"] == {"low_95": 0.6, "high_95": 0.8}
    assert result["dataset"] == {"name": "rows, test", "type": "rows", "split": "test"}


def test_an_earlier_checkpoint_has_its_own_results(tmp_path: Path) -> None:
    _, text = written(tmp_path, card_of(run_of(tmp_path), at=("1-grpo", 10)))
    assert table(text, "| problems")[0][3] == "50.0 (40.0 to 60.0)"
    assert ["trained by", "SFT, 4 steps (8 demonstrations a step), then GRPO, 10 steps (16 problems a step, "
            "8 attempts at each)"] in table(text, "| | |")  # fmt: skip
    assert "the weights here" not in text


def test_weights_that_were_not_evaluated_say_so(tmp_path: Path) -> None:
    card = card_of(run_of(tmp_path), at=("1-grpo", 15))
    assert (card.steps, {result.after.step for result in card.results}) == (19, {14})
    assert "after training step 14; the weights here are those of step 19" in written(tmp_path, card)[1]


def test_weights_of_a_stage_say_nothing_of_later_ones(tmp_path: Path) -> None:
    card = card_of(run_of(tmp_path), at=("0-sft", 4))
    assert [(stage.use, stage.steps) for stage in card.stages] == [("sft", 4)]
    assert {result.before for result in card.results} == {None}


def test_the_best_of_several_checkpoints_says_so(tmp_path: Path) -> None:
    assert "flatters" not in written(tmp_path, card_of(run_of(tmp_path)))[1]
    assert "by `test/greedy`" in written(tmp_path, card_of(run_of(tmp_path), chosen_by="test/greedy"))[1]


def test_without_evaluations(tmp_path: Path) -> None:
    data, text = written(tmp_path, card_of(run_of(tmp_path, [])))
    assert "model-index" not in data
    assert "Results" not in text


def test_the_recipe_is_whole_without_secrets_and_the_home(tmp_path: Path) -> None:
    from ruamel.yaml import YAML

    _, text = written(tmp_path, card_of(run_of(tmp_path)))
    assert "/home/me" not in text
    recipe = YAML(typ="safe").load(text.split("```yaml")[1].split("```")[0])
    assert recipe["task"]["with"] == {"files": ["~/rows.jsonl"]}
    assert recipe["teacher"]["with"] == {"key": "${env:KEY}"}
    assert recipe == {key: value for key, value in RECIPE.items() if key != "folder"} | {"task": recipe["task"]}


def test_the_reward_and_the_commands(tmp_path: Path) -> None:
    reward = RewardSpec(terms=(ComponentSpec(use="correct").model_dump() | {"weight": 0.7},))
    _, text = written(tmp_path, card_of(run_of(tmp_path), reward=reward, name="me/mine"))
    assert "+0.7 x correct" in text
    assert "vllm serve x" in text.split("```bash")[1].split("```")[0]
    assert text.startswith("\n# mine\n")
    assert 'from_pretrained("me/mine")' in text


def test_a_recipe_with_a_fence_does_not_end_the_block(tmp_path: Path) -> None:
    rollout = RECIPE["rollout"] | {"system": "Answer in a block:\n```\nx\n```\nand stop."}
    _, text = written(tmp_path, card_of(run_of(tmp_path, rollout=rollout)))
    block = text.split("````yaml")[1].split("\n````")[0]
    assert "seed: 0" in block
    assert "train:" in block
