"""`mentorkit audit`: what it says, how it ends, and the table of docs/rewards.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mentor_kit.audit import ATTACKS
from mentor_kit.cli import app as cli

DOCS = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text(encoding="utf-8")
LEAKY = """
extends: quickstart
reward:
  terms:
    - {use: correct, weight: 1.0}
    - {use: length, with: {free: 5, limit: 100}, weight: 0.5}
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.run_app(["audit", *arguments])
    return int(code), *capsys.readouterr()


def test_the_table_of_the_docs_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    code, said, errors = run(capsys, "quickstart", "--tries", "0", "--markdown")
    (table,) = re.findall(r"<!-- attacks -->\n\n(.*)\n\n<!-- end of attacks -->", DOCS, flags=re.DOTALL)
    assert (code, errors, said.strip()) == (0, "", table)
    assert all(f"| {attack.name} |" in table for attack in ATTACKS)


def test_an_honest_reward_passes(capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run(capsys, "quickstart", "--tries", "50", "--problems", "1")
    first, second, third = said.splitlines()
    assert code == 0
    assert first == "honest work earns: right 1.1, wrong 0.16, right without tools 0.8, wrong without tools 0.1"
    assert second == f"attacks: {len(ATTACKS)} tried, 0 pay"
    assert third.startswith("search: 50 mutants, ")
    assert third.endswith(" 0 pay")


def test_one_that_pays_for_nothing_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "leaky.yaml"
    recipe.write_text(LEAKY)
    code, said, _ = run(capsys, str(recipe), "--tries", "100", "--problems", "1")
    assert code == 1
    assert "PAYS  giving up (answers): 0.5, where honest work earns " in said
    assert "FOUND " in said
    assert max(map(len, said.splitlines())) < 600


def test_programs_get_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run(capsys, "quickstart", "--set", "reward=sparse", "--tries", "20", "--problems", "1", "--json")
    found = json.loads(said)
    assert (code, found["passed"], found["recipe"]) == (0, True, "quickstart")
    assert [one["attack"] for one in found["attacks"]] == [attack.name for attack in ATTACKS]
    assert (found["search"]["tries"], found["search"]["found"], found["skipped"]) == (20, 0, [])
    assert found["honest"]["right"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--set", "teacher=null"), 2, "the recipe has no teacher"),
        (("--problems", "0"), 2, "Invalid value for '--problems'"),
        (("--set", "reward=mentr"), 2, "did you mean 'mentor'?"),
        (("--set", "reward=null", "--set", "train=[]"), 2, "the recipe has no reward to audit"),
    ],
)
def test_what_cannot_be_audited_is_said(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, text: str
) -> None:
    found, _, errors = run(capsys, "quickstart", *arguments)
    assert found == code
    assert text in errors
