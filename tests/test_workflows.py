"""The workflows of GitHub run the commands that anyone runs, and a release is published without a token."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github" / "workflows"
VERSION = re.compile(r"[\w-]+(/[\w-]+)+@v\d+(\.\d+\.\d+)?")

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="not a checkout")


def workflow(name: str) -> dict[str, Any]:
    """A workflow, read as YAML 1.2, whose `on` is a string."""
    data: dict[str, Any] = YAML(typ="safe", pure=True).load((FOLDER / name).read_text())
    return data


def steps(job: dict[str, Any]) -> list[str]:
    """What a job's steps run or use."""
    return [step.get("run") or step["uses"] for step in job["steps"]]


@pytest.mark.parametrize("name", ["ci.yml", "docs.yml", "mac.yml", "release.yml"])
def test_a_workflow_is_narrow_and_ends(name: str) -> None:
    data = workflow(name)
    assert data["permissions"] == {"contents": "read"}
    for job in data["jobs"].values():
        used = [step["uses"] for step in job["steps"] if "uses" in step]
        assert [action for action in used if not VERSION.fullmatch(action)] == []
    assert "secrets." not in (FOLDER / name).read_text()


def test_checks_are_those_of_the_repository() -> None:
    data = workflow("ci.yml")
    assert "make test" in steps(data["jobs"]["quick"])
    assert ".ci/run" in steps(data["jobs"]["everything"])
    assert data["on"]["push"]["branches"] == ["main"]
    assert "pull_request" in data["on"]


def test_a_mac_runs_what_needs_no_hub() -> None:
    job = workflow("mac.yml")["jobs"]["mac"]
    (command,) = [step for step in steps(job) if step.startswith("make mac ")]
    assert job["runs-on"].startswith("macos-")
    assert {"mps", "system", "contracts", "quickstart-mlx"} <= {*command.replace('"', " ").split()}
    assert "laptop" not in command


def test_the_site_is_built_as_by_hand() -> None:
    data = workflow("docs.yml")
    assert "make docs" in steps(data["jobs"]["build"])
    assert re.search(r"^docs: ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    folder = re.search(r"^SITE := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert folder
    assert data["jobs"]["build"]["steps"][-1]["with"]["path"] == folder[1]


def test_a_release_is_built_checked_tested_and_published() -> None:
    data = workflow("release.yml")
    assert data["on"] == {"push": {"tags": ["v*"]}}
    jobs = data["jobs"]
    assert list(jobs) == ["build", "test", "publish"]
    assert {"python3 -m build", "python3 -m twine check --strict dist/*"} <= set(steps(jobs["build"]))
    assert jobs["test"]["needs"] == "build"
    assert any("mentorkit run quickstart" in step for step in steps(jobs["test"]))
    publish = jobs["publish"]
    assert set(publish["needs"]) == {"build", "test"}
    assert publish["environment"]["name"] == "pypi"
    assert publish["permissions"] == {"id-token": "write"}
    assert [job for job in jobs if "id-token" in jobs[job].get("permissions", {})] == ["publish"]
    assert publish["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@v1.")
    assert "with" not in publish["steps"][-1]


def test_the_release_names_the_version_where_it_is() -> None:
    (check,) = [step for step in steps(workflow("release.yml")["jobs"]["build"]) if "GITHUB_REF_NAME" in step]
    for file in re.findall(r"[\w/]+\.(?:py|md)", check):
        assert (ROOT / file).is_file()
