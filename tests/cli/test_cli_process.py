"""The command line as a process of its own: what it imports, codes, plugins that break, completion, pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

MENTORKIT = [sys.executable, "-m", "mentor_kit"]


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MENTORKIT, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def install(site: Path, name: str, source: str) -> dict[str, str]:
    """A plugin as pip leaves it, in a folder of its own."""
    site.mkdir(exist_ok=True)
    (site / f"{name}_plugin.py").write_text(dedent(source), encoding="utf-8")
    info = site / f"{name}_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[mentorkit]\n{name} = {name}_plugin\n", encoding="utf-8")
    return {"PYTHONPATH": str(site)}


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = """
import sys
from mentor_kit.cli.app import run_app
assert run_app(["--help"]) == 0
heavy = "torch transformers mlx pandas matplotlib peft tokenizers safetensors ruamel jsonschema mentor_kit.recipe.model"
print([name for name in heavy.split() if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr.strip() == "[]"


def test_the_core_imports_nothing_heavy(tmp_path: Path) -> None:
    code = """
import sys, mentor_kit, mentor_kit.cli, mentor_kit.api
print([name for name in "torch transformers mlx pandas matplotlib peft".split() if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


def test_codes_of_the_process(tmp_path: Path) -> None:
    assert run("check", "quickstart", cwd=tmp_path).returncode == 0
    wrong = run("check", "quickstart", "--set", "reward.use=menotr", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: --set reward.use=menotr: reward.use: ")
    assert "'mentor'" in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_student_that_is_nowhere(tmp_path: Path) -> None:
    missing = run("run", "quickstart", "--set", "student.model=no-such/student", cwd=tmp_path, HF_HUB_OFFLINE="1")
    assert missing.returncode == 3
    assert "no-such/student" in missing.stderr
    assert "Traceback" not in missing.stderr


@pytest.mark.slow
def test_a_broken_plugin_costs_nobody_else_anything(tmp_path: Path) -> None:
    site = install(tmp_path / "site", "broken", "raise RuntimeError('no licence')")
    assert run("--help", cwd=tmp_path, **site).returncode == 0
    assert run("check", "quickstart", cwd=tmp_path, **site).returncode == 0
    used = run("check", "quickstart", "--set", "teacher.use=theirs", cwd=tmp_path, **site)
    assert used.returncode == 2
    assert "theirs" in used.stderr
    assert "broken" in used.stderr
    doctor = run("doctor", cwd=tmp_path, **site)
    assert doctor.returncode == 3
    (line, *_) = [line for line in doctor.stdout.splitlines() if "broken" in line]
    assert line.startswith("MISS")
    assert "RuntimeError: no licence" in line
    assert "broken-plugin 1.0" in line
    denied = run("plugins", "--json", cwd=tmp_path, **site, MENTORKIT_DISABLE_PLUGINS="broken")
    states = {info["name"]: info["state"] for info in json.loads(denied.stdout)["plugins"]}
    assert states["broken"] == "disabled"


def test_plugins_add_commands_and_one_that_cannot_costs_its_own(tmp_path: Path) -> None:
    good = """
        from mentor_kit.core.errors import DataError
        from mentor_kit.hooks import hookimpl

        @hookimpl
        def register_commands(app):
            @app.command()
            def greet(fail: bool = False) -> None:
                "Say hello."
                if fail:
                    raise DataError("no hello today", hint="try tomorrow")
                print("hello")
    """
    bad = """
        from mentor_kit.hooks import hookimpl

        @hookimpl
        def register_commands(app):
            raise ValueError("nothing to add")
    """
    install(tmp_path / "site", "bad", bad)
    site = install(tmp_path / "site", "good", good)
    greeted = run("greet", cwd=tmp_path, **site)
    assert (greeted.returncode, greeted.stdout) == (0, "hello\n")
    (line,) = greeted.stderr.splitlines()
    assert "'bad'" in line
    assert "nothing to add" in line
    failed = run("greet", "--fail", cwd=tmp_path, **site)
    assert failed.returncode == 1
    assert failed.stderr.endswith("error: no hello today\n  try tomorrow\n")


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    process = subprocess.Popen([*MENTORKIT, "schema"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=300) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("mentorkit run quick", {"quickstart"}), ("mentorkit pl", {"plugins"}), ("mentorkit check miniature/c", set())],
)
def test_the_shell_completes_commands_and_recipes(tmp_path: Path, words: str, wanted: set[str]) -> None:
    script = "from mentor_kit.cli.app import app; app(prog_name='mentorkit')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={
            **os.environ,
            "_MENTORKIT_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = set(done.stdout.split())
    assert found == wanted if wanted else {"miniature/causes", "miniature/causes/mentor"} <= found
