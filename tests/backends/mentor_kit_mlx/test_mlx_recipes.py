"""The laptop recipes: what their students would need, from configurations alone, is what they say they may take."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from mentor_kit_mlx.known_configs import KNOWN

from mentor_kit.api import plan
from mentor_kit.backend.memory import GIB
from mentor_kit.core.errors import MissingError
from mentor_kit.recipe.loading import load_recipe, recipe_names
from mentor_kit.recipe.model import Recipe

sys.path.append(str(Path(__file__).parents[2] / "chat"))
import family_formats

NAMES = sorted({name.partition("/")[2] for name in recipe_names() if name.startswith("laptop/")} - {"base"})
#: What macOS lends the GPU of the main memory.
LENT = 2 / 3
GROUP = 8
#: Parameters of the text models, as transformers counts them.
PARAMETERS = {
    "Qwen3-0.6B": 596_049_920,
    "Qwen3-1.7B": 1_720_574_976,
    "Qwen3.5-0.8B": 752_393_024,
    "Qwen3.5-2B": 1_881_825_088,
    "LFM2.5-1.2B-Instruct": 1_170_340_608,
    "gemma-4-E2B-it": 4_628_569_344 + 35,  # each layer's scale is a parameter in MLX alone
    "SmolLM3-3B": 3_075_098_624,
    "SmolLM2-135M-Instruct": 134_515_008,
}
#: Chat templates of families, and the students whose own they are.
TEMPLATES = {
    "qwen3": "qwen3-",
    "qwen3_5_nothink": "qwen3.5-",
    "gemma4": "gemma-4",
    "gemma4_v5": "gemma-4",
    "lfm2_2_5": "lfm2.5",
    "lfm2_2_5_v2": "lfm2.5",
}
TOOL = {"type": "function", "function": {"name": "add", "description": "", "parameters": {"type": "object"}}}


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def recipe(name: str) -> Recipe:
    return load_recipe(f"laptop/{name}").recipe


def original(name: str) -> str:
    """The name that the student's authors gave it."""
    model = recipe(name).student.model.partition("/")[2].removesuffix("-4bit")
    return next(known for known in PARAMETERS if known.lower() == model.lower())


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_needs_no_hub_and_fits_the_machine_it_is_for(name: str) -> None:
    """Configurations of the students are known; prompts are then assumed, and the plan says so."""
    found = plan(f"laptop/{name}", memory=8)
    assert found.memory is not None
    assert found.prompts is not None
    assert (found.prompts.longest, bool(found.prompts.missing)) == (1024, True)
    assert "1024" in found.text()
    assert found.memory.parameters == PARAMETERS[original(name)]
    memory = recipe(name).backend.options["memory"]
    machine = int(_said(name, r"machine with (\d+) GB")[0])
    assert memory * GIB <= LENT * machine * GIB
    assert found.memory.total <= memory * GIB
    assert not any("cannot fit" in note for note in found.memory.notes)


@pytest.mark.parametrize("name", NAMES)
def test_weights_take_what_their_bits_take(name: str) -> None:
    found = plan(f"laptop/{name}").memory
    assert found is not None
    # four bits, and two scales of two bytes for each 64 weights
    size = 4.5 / 8 if name.endswith("4bit") else 2
    own = found.parameters * size + 4 * found.trainable
    assert found.parts["weights"] == pytest.approx(own, rel=0.02)


@pytest.mark.parametrize("name", [name for name in NAMES if "qwen3.5" in name or "lfm2.5" in name])
def test_hybrids_keep_keys_and_values_in_few_layers(name: str) -> None:
    """Qwen3.5 keeps them in 6 of 24 layers, LFM2.5 in 6 of 16; the state of the others does not grow."""
    found, longer = plan(f"laptop/{name}"), plan(f"laptop/{name}", overrides={"rollout.max_response_tokens": 420})
    assert found.memory is not None
    assert longer.memory is not None
    grown = longer.memory.parts["keys and values"] - found.memory.parts["keys and values"]
    config = KNOWN[recipe(name).student.model]
    text = config.get("text_config", config)
    width = text.get("head_dim", text["hidden_size"] // text["num_attention_heads"])
    rows = recipe(name).backend.options["slots"]
    assert grown == rows * 100 * 6 * 2 * text["num_key_value_heads"] * width * 2


@pytest.mark.parametrize("name", NAMES)
def test_a_micro_batch_holds_a_whole_group(name: str) -> None:
    """The prompt, of 1,130 tokens with the longest of these templates, and what comes after it in each episode."""
    rollout, options = recipe(name).rollout, recipe(name).backend.options
    assert 1130 + GROUP * rollout.max_response_tokens <= options["token_budget"] == 4096
    assert options["gradient_checkpointing"] is True
    assert options["max_context"] >= 1130 + rollout.max_response_tokens
    assert options["slots"] % GROUP == 0


@pytest.mark.parametrize(("template", "family"), TEMPLATES.items())
def test_thinking_is_off(template: str, family: str) -> None:
    """The variable is the one that the family's template takes, and it has it off; LFM2.5's takes none."""
    pytest.importorskip("trl")

    def prompt(variables: dict[str, Any]) -> str:
        inner = family_formats.make(template, variables).tokenizer.inner
        messages = [{"role": "system", "content": "Use the tools."}, {"role": "user", "content": "1 + 1?"}]
        text: str = inner.apply_chat_template(
            messages, tools=[TOOL], add_generation_prompt=True, tokenize=False, **variables
        )
        return text

    thinks = prompt({"enable_thinking": True})
    for name in (name for name in NAMES if name.startswith(family)):
        mine = prompt(recipe(name).student.template_variables)
        assert mine == prompt({"enable_thinking": False})
        assert (mine == thinks) == (family == "lfm2.5")
        assert mine.count("<think>") == mine.count("</think>")
        assert "Use the tools." in mine


@pytest.mark.parametrize("name", [name for name in NAMES if "smollm3" in name])
def test_smollm3_is_told_not_to_think_in_its_system_message(name: str) -> None:
    assert "/no_think" in (recipe(name).rollout.system or "")
    assert r"\boxed{answer}" in (recipe(name).rollout.system or "")


def test_a_student_that_calls_no_tool_first_imitates_the_teacher() -> None:
    found = recipe("smollm2-135m")
    assert [stage.use for stage in found.train] == ["sft", "grpo"]
    assert found.teacher is not None
    assert found.teacher.use == "scripted"


def test_a_dry_run_of_an_unknown_student_says_what_is_missing() -> None:
    with pytest.raises(MissingError, match="some/model"):
        plan("laptop/qwen3-0.6b", overrides={"student.model": "some/model"})


def _said(name: str, pattern: str) -> list[str]:
    """What the comment of a recipe says."""
    text = (Path(__file__).parents[3] / "recipes" / "laptop" / f"{name}.yaml").read_text()
    return re.findall(pattern, text)
