"""A real pretrained model, with LoRA, through the command line: collect, two steps of GRPO, evaluate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import smollm2_model

pytestmark = pytest.mark.slow

RECIPE = """
mentorkit: 1
name: smollm2
student:
  model: {model}
  adapter: {{use: lora, with: {{rank: 8}}}}
backend: {{use: torch, with: {{device: cpu, dtype: float32}}}}
task: {{use: arithmetic}}
tools: [{{use: math}}]
teacher: {{use: scripted}}
reward: {{use: mentor}}
rollout:
  max_turns: 3
  max_turn_tokens: 48
  max_response_tokens: 192
  system: Use the tools. Give the final answer as \\\\boxed{{answer}}.
train:
  - use: grpo
    with: {{steps: 2, problems: 2, group: 4, objective: {{preset: grpo}}, optimizer: {{use: adamw, lr: 1.0e-4}}}}
evaluate: {{on: [{{split: in-domain, problems: 4}}]}}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = os.environ.get("MENTORKIT_TEST_CACHE")
    return smollm2_model.prepare(Path(cache) if cache else tmp_path_factory.mktemp("smollm2"))


def test_two_steps_of_grpo_on_a_pretrained_model_with_an_adapter(model: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "smollm2.yaml"
    recipe.write_text(RECIPE.format(model=model))
    done = subprocess.run(
        [sys.executable, "-m", "mentor_kit.cli", "run", str(recipe)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs" / "smollm2").iterdir()
    steps = [
        event for event in map(json.loads, (run / "events.jsonl").read_text().splitlines()) if event["kind"] == "step"
    ]
    assert len(steps) == 2
    # sampled and recomputed log-probabilities agree, so what is trained on is what was sampled
    assert all(step["values"]["mismatch_max"] < 1e-4 for step in steps)
    from transformers import AutoModelForCausalLM

    merged = AutoModelForCausalLM.from_pretrained(run / "student")
    assert merged.num_parameters() == AutoModelForCausalLM.from_pretrained(model).num_parameters()
