"""`mentorkit export-run` and `import-run` as a person and a program use them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "plugins" / "mentor_kit_verl"))
from verl_exports import registry_with_verl

SMALL = (
    "--set",
    "train.0.minibatches=1",
    "--set",
    "train.0.steps=1",
    "--set",
    "train.0.problems=2",
    "--set",
    "evaluate.on=[]",
)


@pytest.fixture
def mentorkit(mentorkit: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    for module in ("engine_export", "engine_import"):
        monkeypatch.setattr(f"mentor_kit.api.{module}.default_registry", registry_with_verl)
    return mentorkit


def test_an_export_says_how_to_start_and_what_is_different(mentorkit: Any) -> None:
    arguments = ("export-run", "quickstart", "--engine", "verl", "--gpus", "2", *SMALL)
    code, said, _ = mentorkit(*arguments, "-o", "run")
    assert code == 0
    assert "mentorkit import-run run" in said
    assert "bfloat16" in said
    found = json.loads(mentorkit(*arguments, "-o", "other", "--with", "offload=true", "--json")[1])
    assert (found["folder"], found["training_rows"], found["evaluation_rows"]) == ("other", 2, 0)
    assert len(found["differences"]) >= 3
    assert "param_offload: true" in Path("other/verl.yaml").read_text(encoding="utf-8")
    assert mentorkit(*arguments, "-o", "run")[0] == 2


def test_what_the_engine_cannot_do_ends_with_2_and_all_places(mentorkit: Any) -> None:
    wrong = ("--set", "train.0.permute_rewards=true", "--set", "train.0.optimizer.use=muon")
    code, said, complaint = mentorkit("export-run", "quickstart", "--engine", "verl", "-o", "run", *wrong, "--json")
    assert code == 2
    assert complaint.count("--set train.0.") == 2
    assert len(json.loads(said.splitlines()[-1])["faults"]) == 2
    assert not Path("run").exists()


def test_an_unknown_engine_and_an_option_that_it_has_not(mentorkit: Any) -> None:
    code, _, complaint = mentorkit("export-run", "quickstart", "--engine", "vrel", "-o", "run")
    assert (code, "'verl'" in complaint) == (2, True)
    code, _, complaint = mentorkit("export-run", "quickstart", "--engine", "verl", "-o", "run", "--with", "nodes=2")
    assert (code, "nodes" in complaint) == (2, True)


def test_an_import_of_nothing(mentorkit: Any) -> None:
    Path("empty").mkdir()
    assert mentorkit("import-run", "empty")[0] == 2
    mentorkit("export-run", "quickstart", "--engine", "verl", "--gpus", "2", *SMALL, "-o", "run")
    code, _, complaint = mentorkit("import-run", "run")
    assert (code, "launch.sh" in complaint) == (1, True)
    assert not Path("runs").exists()
