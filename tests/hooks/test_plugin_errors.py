"""Errors of a stranger's parts while a recipe runs: plugin, part, place in the recipe, and line in the plugin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import distributions, entry_points
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from mentor_kit import api
from mentor_kit.core.errors import DataError, Interrupted, PluginError
from mentor_kit.hooks import Registry, load_plugins

#: Its parts fail in the method that their option names, with the error that it names.
ACME = """
    from contextlib import asynccontextmanager

    from pydantic import BaseModel, ConfigDict

    from mentor_kit.core.conversation import assistant, call
    from mentor_kit.core.demonstration import Demonstration
    from mentor_kit.core.errors import DataError
    from mentor_kit.hooks import hookimpl
    from mentor_kit.stages import Evaluation, EvaluationResult, Stage, Workload
    from mentor_kit.core.task import Problem, Task, boxed_answer
    from mentor_kit.core.teacher import Teacher
    from mentor_kit.core.toolbox import ToolSource
    from mentor_kit.rl.reward import Term
    from mentor_kit.core.tool import Tool


    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
        fail: str = ""
        error: str = "KeyError('x')"


    class Part:
        def __init__(self, options, context):
            self.options = options

        def fail(self, method):
            if self.options.fail == method:
                raise eval(self.options.error)


    class Sums(Part, Task):
        def problems(self, split, seed, count):
            self.fail("problems")
            return [Problem(id=f"{split}-{i}", question=f"1 + {i}?", answer=str(1 + i)) for i in range(count)]

        def answer(self, trajectory):
            self.fail("answer")
            return boxed_answer(trajectory.final_text)

        def check(self, answer, problem):
            self.fail("check")
            return answer == problem.answer

        def solve(self, problem, dialogue):
            self.fail("solve")
            if not any(message.result for message in dialogue):
                return assistant(calls=[call("count")])
            return assistant(rf"\\boxed{{{problem.answer}}}")

        def next_user(self, problem, dialogue):
            self.fail("next_user")
            return None


    class Kit(Part, ToolSource):
        def tools(self, problem):
            self.fail("tools")
            return [Tool("count", "Counts.", {"type": "object", "properties": {}})]

        @asynccontextmanager
        async def open(self, problem, seed):
            self.fail("open")
            yield self

        async def call(self, name, arguments):
            self.fail("call")
            return 1


    class Sage(Part, Teacher):
        name = "sage"

        async def demonstrate(self, problems):
            self.fail("demonstrate")
            for problem in problems:
                yield Demonstration(problem_id=problem.id, teacher="sage", tools_used=("count",))


    class One(Part, Term):
        def prepare(self, cases):
            self.fail("prepare")

        def score(self, trajectory, problem, demonstrations):
            return self.inner()

        def inner(self):
            self.fail("score")
            return 1.0


    class Exam(Part, Evaluation):
        def evaluate(self, experiment, context):
            self.fail("evaluate")
            return EvaluationResult({}, [])


    class Look(Part, Stage):
        def workload(self, evaluation):
            return Workload(student=False, trains=False)

        def run(self, experiment, context):
            helper(self)


    def helper(stage):
        stage.fail("run")


    @hookimpl
    def register_tasks(register):
        register("sums", options=Options, build=Sums)

    @hookimpl
    def register_tools(register):
        register("kit", options=Options, build=Kit)

    @hookimpl
    def register_teachers(register):
        register("sage", options=Options, build=Sage)

    @hookimpl
    def register_reward_terms(register):
        register("fair", options=Options, build=One)

    @hookimpl
    def register_evaluations(register):
        register("exam", options=Options, build=Exam)

    @hookimpl
    def register_stages(register):
        register("look", options=Options, build=Look)
"""

#: A stage of another stranger, who does nothing wrong: it scores and evaluates without a student.
HELPER = """
    from mentor_kit.hooks import hookimpl
    from mentor_kit.stages import Stage, Workload
    from mentor_kit.stages.evaluation import evaluation_of

    class Score(Stage):
        def workload(self, evaluation):
            return Workload(student=False, trains=False)

        def run(self, experiment, context):
            problems = experiment.problems("train", 0, 2)
            shown = [found for problem in problems for found in experiment.demonstrations.of(problem)]
            experiment.score([found.trajectory for found in shown if found.trajectory], problems)
            for plan in experiment.evaluation.on:
                evaluation_of(experiment, plan).evaluate(experiment, context)

    @hookimpl
    def register_stages(register):
        register("score", build=lambda options, context: Score())
"""

RECIPE = """\
mentorkit: 1
name: errors
student: nobody
task: {use: sums, with: {fail: FAIL-task}}
tools:
  - {use: kit, with: {fail: FAIL-tools}}
teacher: {use: TEACHER}
reward:
  gates:
    - {use: fair, name: first, otherwise: 0.0, with: {fail: FAIL-gate}}
  terms:
    - {use: fair, name: second, weight: 0.5}
    - {use: fair, name: third, weight: 0.5, with: {fail: FAIL-term}}
train:
  - {use: collect, with: {problems: 2}}
  - use: STAGE
evaluate: {on: [{use: exam, with: {fail: FAIL-exam}}]}
"""

#: Kind of part, method that fails, part's name, path in the recipe, line and column of the component.
FAILING = [
    ("task", "problems", "sums", "task", "4:7"),
    ("task", "answer", "sums", "task", "4:7"),
    ("task", "check", "sums", "task", "4:7"),
    ("task", "solve", "sums", "task", "4:7"),
    ("task", "next_user", "sums", "task", "4:7"),
    ("tools", "tools", "kit", "tools.0", "6:5"),
    ("tools", "open", "kit", "tools.0", "6:5"),
    ("sage", "demonstrate", "sage", "teacher", "7:10"),
    ("gate", "score", "fair", "reward.gates.0", "10:7"),
    ("term", "prepare", "fair", "reward.terms.1", "13:7"),
    ("term", "score", "fair", "reward.terms.1", "13:7"),
    ("exam", "evaluate", "exam", "evaluate.on.0", "17:17"),
    ("look", "run", "look", "train.1", "16:5"),
]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    site = tmp_path / "site"
    for name, source in (("acme", ACME), ("helper", HELPER)):
        module = f"{name}_parts"
        info = site / f"{module}-1.2.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(dedent(source), encoding="utf-8")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.2\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[mentorkit]\n{name} = {module}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    theirs = [point for found in distributions(path=[str(site)]) for point in found.entry_points]
    ours = [point for point in entry_points(group="mentorkit") if point.name not in ("acme", "helper")]
    yield Registry(load_plugins([*ours, *theirs]))
    for module in ("acme_parts", "helper_parts"):
        sys.modules.pop(module, None)


def recipe(folder: Path, kind: str, method: str, error: str = "KeyError('x')") -> Path:
    text = RECIPE.replace("TEACHER", "sage" if kind == "sage" else "scripted")
    text = text.replace("STAGE", "look" if kind == "look" else "score")
    if kind in ("sage", "look"):
        text = text.replace(
            f"use: {kind}", f"use: {kind}, with: {{fail: FAIL-{kind}}}" if kind == "sage" else "use: look"
        )
        text = text.replace("- use: look", "- {use: look, with: {fail: FAIL-look}}")
    text = text.replace(f"fail: FAIL-{kind}", f'fail: {method}, error: "{error}"')
    for other in ("task", "tools", "gate", "term", "exam"):
        text = text.replace(f"fail: FAIL-{other}", 'fail: ""')
    file = folder / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.spread(6)
@pytest.mark.parametrize(("kind", "method", "part", "path", "place"), FAILING)
def test_a_part_that_fails_is_named_with_its_place(
    kind: str, method: str, part: str, path: str, place: str, registry: Registry, tmp_path: Path
) -> None:
    file = recipe(tmp_path, kind, method)
    with pytest.raises(PluginError) as caught:
        api.run(file, output=tmp_path / "runs", registry=registry)
    message = caught.value.message
    assert f"recipe.yaml:{place}: {path}: " in message
    assert f"{part!r} of plugin 'acme'" in message
    assert "KeyError: 'x'" in message
    lines = (tmp_path / "site" / "acme_parts.py").read_text().splitlines()
    line = int(message.rsplit("acme_parts.py:", 1)[1].rstrip(")"))
    assert "raise eval" in lines[line - 1]
    assert isinstance(caught.value.__cause__, KeyError)


def test_without_a_fault_it_runs(registry: Registry, tmp_path: Path) -> None:
    file = recipe(tmp_path, "none", "")
    api.run(file, output=tmp_path / "runs", registry=registry)


@pytest.mark.parametrize(
    "error", ["ValueError()", "SystemExit(3)", "AssertionError", "ExceptionGroup('two', [OSError(1)])"]
)
def test_any_error_is_the_plugins(error: str, registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(
        PluginError, match=r"plugin 'acme' failed: (ValueError|SystemExit|AssertionError|ExceptionGroup)"
    ):
        api.run(recipe(tmp_path, "term", "score", error), output=tmp_path / "runs", registry=registry)


def test_errors_of_ours_and_ctrl_c_are_what_they_are(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its own words"):
        api.run(
            recipe(tmp_path, "term", "score", "DataError('its own words')"), output=tmp_path / "runs", registry=registry
        )
    with pytest.raises(Interrupted):
        api.run(recipe(tmp_path, "term", "score", "KeyboardInterrupt"), output=tmp_path / "runs", registry=registry)


def test_an_error_of_mentor_kit_is_nobody_elses(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("mentor_kit.stages.collect.CollectStage.run", broken)
    with pytest.raises(ZeroDivisionError):
        api.run(recipe(tmp_path, "none", ""), output=tmp_path / "runs", registry=registry)
    monkeypatch.undo()
    monkeypatch.setattr("mentor_kit_teachers.scripted.ScriptedTeacher.demonstrate", broken)
    with pytest.raises(ZeroDivisionError):
        api.run(recipe(tmp_path, "none", ""), output=tmp_path / "runs", registry=registry)
