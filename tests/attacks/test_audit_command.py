"""`mentorkit audit`: what it says, how it ends, and the table of docs/rewards.md."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path

import pytest
from attack_worlds import FAMILIES

from mentor_kit.audits import ATTACKS
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


@pytest.mark.slow
def test_the_table_of_the_docs_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Of what each attack earns in every family; that none pays, and in which forms, quicker tests look at."""
    code, said, errors = run(capsys, "quickstart", "--family", "all", "--tries", "0", "--markdown")
    (table,) = re.findall(r"<!-- attacks -->\n\n(.*)\n\n<!-- end of attacks -->", DOCS, flags=re.DOTALL)
    assert (code, errors, said.strip()) == (0, "", table)
    rows = [attack.name.replace("|", r"\|") for attack in ATTACKS if not attack.name.startswith("the question's ")]
    assert [name for name in rows if f"| {name} |" not in table] == []


def test_an_honest_reward_passes(capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run(capsys, "quickstart", "--tries", "50", "--problems", "1")
    first, second, third = said.splitlines()
    assert code == 0
    assert re.findall(r"\d+\.\d+", first) == ["1.1", "0.16", "0.8", "0.1"]
    assert "hermes (the student's)" in second
    assert re.match(
        r"hermes: 2\d\d attacks, 0 pay, \d+ do not apply; 50 mutants, \d+ different outcomes, 0 pay$", third
    )


def families_of(said: str) -> list[str]:
    return [line.partition(":")[0] for line in said.splitlines() if " attacks, " in line]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue of a few attacks, where which families they are tried in is the point."""
    monkeypatch.setattr(import_module("mentor_kit.audits.audit"), "ATTACKS", ATTACKS[::60])


@pytest.mark.usefixtures("few")
def test_families_are_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    given = ("quickstart", "--tries", "0", "--problems", "1")
    assert families_of(run(capsys, *given, "--family", "all")[1]) == list(FAMILIES)
    assert families_of(run(capsys, *given, "--family", "phi-4", "--family", "harmony")[1]) == ["phi-4", "harmony"]


@pytest.mark.usefixtures("few")
def test_where_the_students_family_is_not_known_all_are_played_and_why(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    given = ("quickstart", "--tries", "0", "--problems", "1", "--json")
    unknown, known, chosen = (
        run(capsys, *given, *more) for more in (("--set", f"student.model={tmp_path}"), (), ("--family", "all"))
    )
    reasons = [json.loads(said)["reason"] for _, said, _ in (unknown, known, chosen)]
    assert (unknown[0], json.loads(unknown[1])["families"]) == (0, list(FAMILIES))
    # not for the same reason as where they were asked for; it names what the family could not be read from
    assert len(set(reasons)) == 3
    assert str(tmp_path) in reasons[0]


def test_one_that_pays_for_nothing_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "leaky.yaml"
    recipe.write_text(LEAKY)
    code, said, _ = run(capsys, str(recipe), "--tries", "100", "--problems", "1")
    assert code == 1
    lines = [line.split() for line in said.splitlines()]
    assert ["PAYS", "giving", "up"] in [words[:3] for words in lines]
    assert "FOUND" in [words[0] for words in lines if words]
    assert max(map(len, said.splitlines())) < 600


def test_programs_get_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run(capsys, "quickstart", "--set", "reward=sparse", "--tries", "20", "--problems", "1", "--json")
    found = json.loads(said)
    assert (code, found["passed"], found["recipe"]) == (0, True, "quickstart")
    names = [one["attack"] for one in found["attacks"]]
    skipped = {one["attack"] for one in found["skipped"]}
    assert names == [attack.name for attack in ATTACKS if attack.name not in skipped]
    assert {one["family"] for one in (*found["attacks"], *found["skipped"])} == set(found["families"]) == {"hermes"}
    assert (found["search"]["tries"], found["search"]["found"]) == (20, 0)
    assert found["honest"]["right"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--set", "teacher=null"), 2, "teacher"),
        (("--family", "hermess"), 2, "'hermes'"),
        (("--problems", "0"), 2, "'--problems'"),
        (("--set", "reward=mentr"), 2, "'mentor'"),
        (("--set", "reward=null", "--set", "train=[]"), 2, "reward"),
    ],
)
def test_what_cannot_be_audited_is_said(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, text: str
) -> None:
    found, _, errors = run(capsys, "quickstart", *arguments)
    assert found == code
    assert text in errors
