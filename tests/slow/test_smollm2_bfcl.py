"""SmolLM2 on a sample of BFCL, through the command line; our verdicts beside those of bfcl-eval's own runner."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[1] / "plugins" / "mentor_kit_bfcl"))
import smollm2_model

pytest.importorskip("bfcl_eval")
pytestmark = pytest.mark.slow

CATEGORIES = ("simple_python", "multiple", "parallel", "irrelevance")
PROBLEMS = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = os.environ.get("MENTORKIT_TEST_CACHE")
    return smollm2_model.prepare(Path(cache) if cache else tmp_path_factory.mktemp("smollm2"))


def test_a_sample_of_each_category(model: Path, tmp_path: Path) -> None:
    from bfcl_oracle import Oracle
    from transformers import AutoTokenizer

    command = [sys.executable, "-m", "mentor_kit.cli", "evaluate", "paper/evaluate-bfcl", "--student", str(model)]
    command += [part for name in CATEGORIES for part in ("--split", name)]
    command += ["--problems", str(PROBLEMS), "--samples", "0", "--set", "rollout.max_turn_tokens=64", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert [report["problems"] for report in result["evaluations"]] == [PROBLEMS] * len(CATEGORIES)
    tokenizer = AutoTokenizer.from_pretrained(model)
    judged = 0
    for category in CATEGORIES:
        oracle = Oracle(str(tmp_path / "oracle"), category)
        (file,) = (tmp_path / result["run"] / "evaluation").glob(f"*-{category}.jsonl")
        for line in file.read_text().splitlines():
            trajectory = json.loads(line)["trajectory"]
            raw = re.sub(r"<\|im_end\|>\s*$", "", tokenizer.decode(trajectory["tokens"]["ids"]))
            assert trajectory.get("correct", False) is oracle(trajectory["problem_id"], raw), raw
            judged += 1
    assert judged == PROBLEMS * len(CATEGORIES)
