"""What newcomers type and write wrong, over all commands: one clear message each, its documented code, nothing lost.

Each case names a command line (with files it needs), the code of docs/commands.md, and what the message must name: the
value, file or key at fault, or what was meant.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

import pytest

import mentor_kit
from mentor_kit.cli import app as cli
from mentor_kit.recipe.settings import parse_settings

SMALL = [
    "train.0.steps=2",
    "train.0.problems=2",
    "train.0.group=2",
    "evaluate.at_start=false",
    "evaluate.on=[{split: in-domain, problems: 2, samples: 0}]",
    "checkpoints.every=1",
    "checkpoints.best=null",
]
QUICK = "extends: quickstart\nname: mine\n"
ROW = '{"question": "What is 1 + 1?", "answer": "2"}\n'
TOOL = 'def add(a: float, b: float) -> float:\n    """Add."""\n    return a + b\n'
ROWS = QUICK + "task: {use: rows, with: {files: {train: rows.jsonl, test: test.jsonl}, check: number}}\nteacher: null\n"
ROWS += "reward: {use: sparse}\nevaluate: {on: [{split: test}]}\ncheckpoints: {best: null}\n"
TEST = {"test.jsonl": ROW.replace("1 + 1", "1 - 1").replace('"2"', '"0"')}


class Wrong(NamedTuple):
    """A wrong input."""

    line: str
    """The command line after `mentorkit`, split at spaces; `RUN` is a finished run's folder."""
    code: int
    named: tuple[str, ...]
    """What standard error must contain."""
    files: dict[str, str] = {}
    """Files of the working folder."""


def recipe(text: str, *named: str, code: int = 2, command: str = "run r.yaml", **files: str) -> Wrong:
    """A recipe that is wrong."""
    named_files = {name.replace("__", "."): body for name, body in files.items()}
    return Wrong(command, code, named, {"r.yaml": text, **named_files})


CASES = [
    # the command line
    Wrong("rnu quickstart", 2, ("rnu", "run")),
    Wrong("run", 2, ("recipe", "--help")),
    Wrong("run quickstrat", 2, ("quickstrat", "quickstart")),
    Wrong("run paper", 2, ("paper", "paper/")),
    Wrong("run quickstart --steps 3", 2, ("--steps",)),
    Wrong("run quickstart --set", 2, ("--set",)),
    Wrong("run quickstart --set steps", 2, ("steps", "key=value")),
    Wrong("run quickstart --set train.0.stpes=3", 2, ("stpes", "steps")),
    Wrong("run quickstart --set train.7.steps=3", 2, ("train", "'7'")),
    Wrong("run quickstart --set train.0.steps=three", 2, ("train.0.with.steps", "three")),
    Wrong("run quickstart --set train.0.steps=-1", 2, ("train.0.with.steps", "-1")),
    Wrong("run quickstart --set train.0.steps=1.5", 2, ("train.0.with.steps", "1.5")),
    Wrong("run quickstart --set train.0.steps=true", 2, ("train.0.with.steps",)),
    Wrong("run quickstart --set train.0.optimizer.lr=.inf", 2, ("lr",)),
    Wrong("run quickstart --set train.0.optimizer.lr=.nan", 2, ("lr",)),
    Wrong("run quickstart --set student.model=[", 2, ("student.model=[", "YAML")),
    Wrong("run quickstart --set student.model=qwen", 2, ("student.model", "qwen")),
    Wrong("run quickstart --set student.model=./gone", 2, ("student.model", "./gone")),
    Wrong("run quickstart --set student=tiny-studnet", 2, ("tiny-studnet", "tiny-student")),
    Wrong("run quickstart --set backend=tensorflow", 2, ("backend.use", "tensorflow")),
    Wrong("run quickstart --set backend.device=gpu", 2, ("backend", "device", "gpu")),
    Wrong("run quickstart --set backend.dtype=fp16", 2, ("dtype", "fp16")),
    Wrong("run quickstart --set reward=menotr", 2, ("menotr", "mentor")),
    Wrong("run quickstart --set teacher=gpt", 2, ("teacher.use", "gpt")),
    Wrong("run quickstart --set rollout.temperature=0", 2, ("rollout.temperature", "0")),
    Wrong("run quickstart --set rollout.top_p=2", 2, ("rollout.top_p", "2")),
    Wrong("run quickstart --set evaluate.on.0.split=indomain", 2, ("indomain", "in-domain")),
    Wrong("run quickstart --set checkpoints.best=out-of-domain/gredy", 2, ("gredy", "greedy")),
    Wrong("run quickstart --set student.chat_template=nothere.jinja", 2, ("nothere.jinja",)),
    Wrong("run quickstart --set student.adapter=lorra", 2, ("adapter", "lorra")),
    Wrong("run quickstart --resume --dry-run", 2, ("--resume", "--dry-run")),
    Wrong("run nobody --resume", 2, ("nobody",)),
    Wrong("run quickstart --output r.yaml", 1, ("r.yaml",), {"r.yaml": ""}),
    # recipes
    recipe("", "r.yaml", "mapping"),
    recipe("- a\n- b\n", "r.yaml", "mapping"),
    recipe("a: [1\n", "r.yaml:", "YAML"),
    recipe("a: 1\na: 2\n", "r.yaml:2", "a"),
    recipe("extends: qickstart\n", "r.yaml:1", "quickstart"),
    recipe("extends: r.yaml\n", "r.yaml", "extends"),
    recipe(QUICK + "studnet: {model: x}\n", "r.yaml:3:1", "student"),
    recipe(QUICK + "student: tiny-student\nseed: x\n", "r.yaml:4", "seed"),
    recipe("mentorkit: 2\nname: x\n", "mentorkit", "student", "task"),
    recipe(QUICK + "name: a/b\n", "r.yaml"),
    recipe(QUICK.replace("mine", "a/b"), "name", "a/b"),
    recipe(QUICK + "train: grpo\n", "train"),
    recipe(QUICK + "train: [{use: gpro}]\n", "gpro", "grpo"),
    recipe(QUICK + "train: [{use: sft, with: {}}]\n", "train.0.with"),
    recipe(QUICK + "tools: [{use: maths}]\n", "maths", "math"),
    recipe(QUICK + "tools: [{use: math}, {use: math}]\n", "r.yaml:3:22", "tools.1", "add"),
    recipe(
        QUICK + 'teacher: {use: openai, with: {model: m, api_key: "${env:NOT_SET_ANYWHERE}"}}\n', "NOT_SET_ANYWHERE"
    ),
    recipe(QUICK + "reward: {terms: [{use: correct, weight: .nan}]}\n", "weight"),
    recipe(
        QUICK + "reward: {gates: [{use: ended, otherwise: 0, threshold: .nan}], terms: [{use: correct, weight: 1}]}\n",
        "threshold",
    ),
    # data, tools and teachers
    recipe(ROWS, "rows.jsonl", **TEST),
    recipe(ROWS, "test.jsonl", rows__jsonl=ROW),
    recipe(ROWS, "question", code=2, rows__jsonl=ROW.replace("question", "prompt"), **TEST),
    recipe(ROWS, "rows.jsonl", "1", code=1, rows__jsonl="{not json}\n", **TEST),
    recipe(ROWS, "rows.jsonl", rows__jsonl="", **TEST),
    recipe(ROWS, "rows.jsonl", "answer", rows__jsonl=ROW.replace('"2"', '"#### two"'), **TEST),
    recipe(QUICK + "tools: [{use: python, with: {module: tools.py}}]\n", "tools.py"),
    recipe(QUICK + "tools: [{use: python, with: {module: tools.py}}]\n", "tools.py", tools__py="def f(:\n"),
    recipe(QUICK + "tools: [{use: python, with: {module: tools.py, functions: [sub]}}]\n", "sub", tools__py=TOOL),
    recipe(
        QUICK + "tools: [{use: python, with: {module: tools.py}}]\n",
        "tools.py",
        "f",
        "annotation",
        code=1,
        tools__py="def f(x):\n    return x\n",
    ),
    recipe(QUICK + "tools: [{use: mcp, with: {command: [no-such-server]}}]\n", "no-such-server"),
    recipe(QUICK + "tools: [{use: mcp}]\n", "command", "url"),
    recipe(QUICK + "teacher: {use: recorded, with: {path: gone.jsonl}}\n", "gone.jsonl"),
    recipe(QUICK + "teacher: {use: recorded, with: {path: d.jsonl}}\n", "d.jsonl", code=1, d__jsonl="{}\n"),
    recipe(QUICK + "teacher: {use: openai}\n", "model"),
    # the other commands
    Wrong("check", 2, ("recipe",)),
    Wrong("check .", 2, ("folder",)),
    Wrong("check r.yaml", 2, ("r.yaml:2:1", "rewrad"), {"r.yaml": "extends: quickstart\nrewrad: mentor\n"}),
    Wrong("collect quickstart --keep best", 2, ("best", "right")),
    Wrong("collect quickstart --problems -1", 2, ("problems", "-1")),
    Wrong("collect r.yaml", 2, ("teacher",), {"r.yaml": QUICK + "teacher: null\n"}),
    Wrong("evaluate quickstart --agent scriptde", 2, ("scriptde", "scripted")),
    Wrong("evaluate quickstart --split indomain", 2, ("indomain", "in-domain")),
    Wrong("evaluate quickstart --student . --run x", 2, ("--student", "--run")),
    Wrong("evaluate quickstart --student ./nothere", 2, ("nothere",)),
    Wrong("evaluate quickstart --student .", 2, ("config.json",)),
    Wrong("evaluate quickstart --run nobody", 2, ("nobody",)),
    Wrong("evaluate quickstart --run RUN --checkpoint first", 2, ("first", "last")),
    Wrong("evaluate quickstart --checkpoint best", 2, ("--run",)),
    Wrong("evaluate quickstart --with model=x", 2, ("--agent",)),
    Wrong("evaluate quickstart --pass-at 64 --samples 2 --problems 2", 2, ("64",)),
    Wrong("audit quickstart --tries many", 2, ("--tries",)),
    Wrong("audit r.yaml", 2, ("reward",), {"r.yaml": QUICK + "reward: null\ntrain: []\n"}),
    Wrong("bench quickstart --steps 0", 2, ("steps",)),
    Wrong("report nobody", 2, ("nobody",)),
    Wrong("report .", 2, (".",)),
    Wrong("compare nobody", 2, ("nobody",)),
    Wrong("compare .", 2, (".",)),
    Wrong("compare RUN --show 3", 2, ("--paired",)),
    Wrong("compare RUN RUN RUN --paired", 2, ("two",)),
    Wrong("view nobody", 2, ("nobody",)),
    Wrong("runs nobody", 2, ("nobody", "--help")),
    Wrong("chat nobody", 2, ("nobody",)),
    Wrong("preview quickstrat", 2, ("quickstrat", "quickstart")),
    Wrong("rescore nobody", 2, ("nobody",)),
    Wrong("rescore RUN --reward sparze", 2, ("sparze", "sparse")),
    Wrong("rescore RUN --set train.0.steps=9", 2, ("train.0.steps", "reward.tools=0.5")),
    Wrong("rescore RUN --steps 7-3", 2, ("--steps 7-3", "40-60")),
    Wrong("report RUN --rescore sparze", 2, ("sparze", "sparse")),
    Wrong("export nobody there", 2, ("nobody",)),
    Wrong("export RUN", 2, ("target",)),
    Wrong("export RUN full", 2, ("full",), {"full/file": ""}),
    Wrong("export RUN there --format onnx", 2, ("onnx", "transformers")),
    Wrong("export RUN there --benchmark in-domain", 2, ("--benchmark in-domain",)),
    Wrong("export RUN there --benchmark elsewhere=a/b", 2, ("elsewhere", "in-domain")),
    Wrong("export RUN there --checkpoint newest", 2, ("newest", "last")),
    Wrong("export-run quickstart --engine verll -o there", 2, ("verll", "verl")),
    Wrong("export-run quickstrat --engine verl -o there", 2, ("quickstrat", "quickstart")),
    Wrong("import-run nowhere", 2, ("nowhere",)),
    Wrong("push RUN student --dry-run", 2, ("'student'", "owner/name")),
    Wrong("push nobody me/student --dry-run", 2, ("nobody",)),
    Wrong("push RUN me/student --dry-run --checkpoint newest", 2, ("newest", "last")),
    Wrong("recipes nobody", 2, ("nobody", "mentorkit recipes")),
    Wrong("plugins rewrads", 2, ("rewrads", "rewards")),
    Wrong("schema --output .", 2, (".",)),
    Wrong("doctor quickstrat", 2, ("quickstrat",)),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run."""
    return mentor_kit.run("quickstart", overrides=parse_settings(SMALL), output=tmp_path_factory.mktemp("runs")).path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    return tmp_path


def all_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.spread(45)
@pytest.mark.parametrize("case", CASES, ids=[f"{index}-{case.line}" for index, case in enumerate(CASES)])
def test_a_wrong_input_is_one_clear_message(
    case: Wrong, here: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in case.files.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(text, encoding="utf-8")
    before, run_before = all_files(here), all_files(finished) if "RUN" in case.line else {}
    code = cli.run_app([str(finished) if word == "RUN" else word for word in case.line.split()])
    errors = capsys.readouterr().err
    assert code == case.code, errors
    assert all(line.startswith(("error: ", "  ")) for line in errors.splitlines()), errors
    assert errors.startswith("error: ")
    for name in case.named:
        assert name in errors
    assert "mentor-kit itself" not in errors
    assert not {"Traceback", "pydantic", "NoneType"} & set(errors.split())
    if "RUN" in case.line:
        assert all_files(finished) == run_before
    if code == 2:
        assert all_files(here) == before, "nothing was to be made"


def test_there_are_enough() -> None:
    commands = {case.line.split()[0] for case in CASES}
    assert len(CASES) >= 60
    registered = [info.name or getattr(info.callback, "__name__", "") for info in cli.app.registered_commands]
    assert commands >= {name.replace("_", "-") for name in registered}


@pytest.mark.parametrize("line", ["check quickstart --set seed=x", "compare nobody", "run quickstart --stpes 3"])
def test_programs_get_the_same_as_json(line: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.run_app([*line.split(), "--json"])
    said, errors = capsys.readouterr()
    found = json.loads(said)
    assert found["code"] == code == 2
    assert found["message"].splitlines()[0] in errors
    assert os.linesep in errors
