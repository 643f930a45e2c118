"""`make mac`, as far as it goes here: its checks, how each is read, and its report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import checks
import mac

from mentor_kit.core.errors import ExitCode
from mentor_kit.recipe.loading import recipe_names


def check(code: str, minutes: float = 1.0) -> checks.Check:
    return checks.Check("tried", (sys.executable, "-c", code), minutes, checks.last_json)


@pytest.mark.parametrize(
    ("code", "well", "found"),
    [
        ("print('words'); print('{\"a\": 1}')", True, {"a": 1}),
        ("print('{\"a\": 1}'); raise SystemExit(1)", False, {"a": 1}),
        ("print('no JSON')", False, None),
        ("", False, None),
    ],
    ids=["well", "failed", "garbage", "silent"],
)
def test_a_check_is_well_where_it_ends_well_and_can_be_read(
    tmp_path: Path, code: str, well: bool, found: object
) -> None:
    outcome = checks.perform(check(code), tmp_path)
    assert (outcome.well, outcome.found) == (well, found)
    assert (tmp_path / outcome.log).read_text().startswith("$ ")


def test_a_check_that_does_not_end_is_ended(tmp_path: Path) -> None:
    outcome = checks.perform(check("import time; print('begun', flush=True); time.sleep(600)", 0.05), tmp_path)
    assert not outcome.well
    assert outcome.seconds < 60
    assert "begun" in (tmp_path / outcome.log).read_text()


def test_tests_are_counted() -> None:
    assert checks.counts("== 1 failed, 120 passed, 3 skipped, 7 deselected in 1.2s ==") == {
        "failed": 1,
        "passed": 120,
        "skipped": 3,
        "deselected": 7,
    }


def test_every_laptop_recipe_is_run_and_measured(tmp_path: Path) -> None:
    laptop = {name.partition("/")[2] for name in recipe_names() if name.startswith("laptop/")} - {"base"}
    for pretend in (False, True):
        names = [item.name for item in mac.all_checks(tmp_path, pretend=pretend)]
        assert len(names) == len(set(names))
        assert {f"laptop-{name}" for name in laptop} | {f"bench-{name}" for name in laptop} <= {*names}


def test_laptop_recipes_for_larger_machines_are_left_out(tmp_path: Path) -> None:
    names = {item.name for item in mac.all_checks(tmp_path, pretend=False, most=2 / 3 * 8)}
    assert {"laptop-qwen3-0.6b", "bench-qwen3.5-2b-4bit"} <= names
    assert not {"laptop-qwen3.5-2b", "bench-gemma-4-e2b"} & names


def test_the_places_that_are_tested_are_there(tmp_path: Path) -> None:
    for place in (*mac.SYSTEM, *mac.CONTRACTS):
        assert (checks.ROOT / place).exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="this may be a Mac")
def test_elsewhere_one_message_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mac.main(["--output", str(tmp_path / "mac")]) == ExitCode.MISSING
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert not (tmp_path / "mac").exists()


def test_a_check_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mac.main(["--pretend", "--output", str(tmp_path), "--only", "benchs"]) == ExitCode.USAGE
    assert "benchs" in capsys.readouterr().err


def test_the_report_has_the_machine_and_each_check(tmp_path: Path) -> None:
    assert mac.main(["--pretend", "--output", str(tmp_path), "--only", "doctor"]) == ExitCode.DONE
    report = json.loads((tmp_path / "mac.json").read_text())
    assert report["pretended"] is True
    assert {"cpu", "platform", "packages"} <= {*report["machine"]}
    (found,) = report["checks"]
    assert (found["name"], found["well"], found["code"]) == ("doctor", True, 0)
    assert {"hub cache", "CPU"} <= {line["check"] for line in found["found"]}


@pytest.mark.slow
@pytest.mark.long
def test_runs_trial_and_benchmarks_go_here(tmp_path: Path) -> None:
    """All but the tests that the suite runs anyway."""
    names = [item.name for item in mac.all_checks(tmp_path, pretend=True) if item.name not in ("system", "contracts")]
    assert mac.main(["--pretend", "--output", str(tmp_path), "--only", *names]) == ExitCode.DONE
    found = {item["name"]: item["found"] for item in json.loads((tmp_path / "mac.json").read_text())["checks"]}
    assert [*found] == names
    assert found["mps"] == ""
    assert Path(found["quickstart-mlx"]["student"]).is_dir()
    assert found["bench-quickstart"]["policy"]["backend"] == "mlx"
