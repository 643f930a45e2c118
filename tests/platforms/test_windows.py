"""On Windows, as it is pretended, what reads works, and everything else ends with one sentence that names WSL."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pretended import play

from mentor_kit.cli.app import app
from mentor_kit.core.errors import ExitCode

sys.path.append(str(Path(__file__).parents[1] / "report"))

from report_helpers import report, step, write_run

Results = dict[tuple[str, ...], tuple[int, str, str]]

#: Commands that read: they work.
WORKS = (
    ("--version",),
    ("--help",),
    ("plugins",),
    ("plugins", "tools"),
    ("plugins", "grpo", "--json"),
    ("check", "quickstart"),
    ("check", "quickstart", "--expand"),
    ("schema", "--output", "schema.json"),
    ("runs",),
    ("compare", "before"),
    ("report", "before", "--output", "page.html"),
    ("recipes",),
    ("data", "check", "rows.jsonl"),
    ("data", "convert", "rows.jsonl", "converted.jsonl", "--to", "openai"),
    ("new", "plugin", "fine", "--tools"),
    ("rescore", "--help"),
    ("view", "--help"),
)
#: Commands that sample or train.
NEED_WSL = (
    ("run", "quickstart"),
    ("run", "--resume", "before"),
    ("collect", "quickstart"),
    ("evaluate", "quickstart"),
    ("bench", "quickstart"),
    ("chat", "quickstart"),
    ("export", "before", "student"),
    ("push", "before", "owner/name", "--dry-run"),
)
#: Commands that load a tokenizer or a model without training, whose packages know Windows.
LOADERS = (
    ("preview", "quickstart"),
    ("audit", "quickstart", "--tries", "10"),
    ("run", "quickstart", "--dry-run"),
    ("doctor",),
)
#: What those packages import at their first use.
PACKAGES = (
    "torch",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
    "huggingface_hub.file_download",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("windows")
    evaluations = [report(0, "in-domain", 0.2), report(1, "in-domain", 0.4)]
    run = write_run(folder / "runs", "before", 0, evaluations, [step(1, reward=0.5, seconds=1.0)])
    run.folder.events.write_text(run.folder.events.read_text().replace('"t"', '"2026-01-01T00:00:00+00:00"'))
    row = {"messages": [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "2"}], "tools": []}
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    known = {words[0] for words in (*WORKS, *NEED_WSL, *LOADERS)}
    group: Any = typer.main.get_command(app)
    others = [(name, "--help") for name in group.commands]
    commands = [*WORKS, *NEED_WSL, *(words for words in others if words[0] not in known)]
    return dict(zip(commands, play("windows", commands, folder), strict=True))


@pytest.mark.parametrize("command", WORKS, ids=" ".join)
def test_what_reads_works(results: Results, command: tuple[str, ...]) -> None:
    code, said, errors = results[command]
    assert (code, errors) == (ExitCode.DONE, "")
    assert said


@pytest.mark.parametrize("command", NEED_WSL, ids=" ".join)
def test_what_samples_or_trains_names_wsl(results: Results, command: tuple[str, ...]) -> None:
    code, said, errors = results[command]
    assert (code, said) == (ExitCode.MISSING, "")
    first, hint = errors.splitlines()
    assert first.startswith("error: ")
    assert "Windows" in first
    assert "WSL" in hint


def test_no_command_ends_with_an_error_of_mentor_kit_itself(results: Results) -> None:
    for command, (code, _, errors) in results.items():
        assert code in (ExitCode.DONE, ExitCode.USAGE, ExitCode.MISSING), command
        assert "itself" not in errors or "WSL" in errors, command


def test_tools_in_processes_are_not_there(results: Results) -> None:
    lines = results["plugins", "tools"][1].splitlines()
    named = {line.split()[1]: line for line in lines}
    assert "Windows" in named["python"]
    assert "Windows" in named["mcp"]
    assert "not here" not in named["math"]  # in this process, without a limit
    assert not [line for line in results["plugins",][1].splitlines() if line.startswith(("failed", "fault"))]


@pytest.mark.slow
@pytest.mark.parametrize("command", LOADERS, ids=" ".join)
def test_what_loads_models_without_training_works(command: tuple[str, ...], tmp_path: Path) -> None:
    ((code, said, errors),) = play("windows", [command], tmp_path, *PACKAGES)
    if command == ("doctor",):
        assert code == ExitCode.MISSING
        (line,) = [line for line in said.splitlines() if line.startswith("MISS")]
        assert "WSL" in line
    else:
        assert (code, bool(said)) == (ExitCode.DONE, True), errors


def test_the_package_can_be_imported_and_says_what_is_missing() -> None:
    code = (
        "import pretended; pretended.windows()\n"
        "import mentor_kit, mentor_kit.api, mentor_kit.testing, mentor_kit.runs\n"
        "import mentor_kit_tools, mentor_kit_tools.functions, mentor_kit_tools.servers, mentor_kit_mlx\n"
        "import mentor_kit_torch, mentor_kit_data, mentor_kit_math, mentor_kit_rewards, mentor_kit_teachers\n"
        "import mentor_kit_records, mentor_kit_tiny\n"
        "try:\n"
        "    mentor_kit.run('quickstart')\n"
        "except mentor_kit.MentorKitError as error:\n"
        "    print(type(error).__name__, 'WSL' in error.hint)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=120
    )
    assert found.stdout.split() == ["MissingError", "True"], found.stderr
