"""What evaluations are called, which agent runs them, and what is refused before the first step."""

from __future__ import annotations

from typing import Any

import pytest
from stage_fakes import GappyTeacher, ListContext, RecordingPolicy, experiment, trajectory

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import PluginError, UsageError
from mentor_kit.core.task import IN_DOMAIN
from mentor_kit.core.teacher import Teacher
from mentor_kit.stages import Evaluation, EvaluationPlan, EvaluationResult, SplitPlan
from mentor_kit.stages.evaluate import EvaluateOptions, EvaluateStage, check_evaluations, evaluate
from mentor_kit.stages.evaluated_agent import EvaluatedAgent
from mentor_kit.stages.evaluation import evaluation_of
from mentor_kit.stages.evaluation_plan import plan_names
from mentor_kit.stages.evaluation_report import checkpoint_metrics


class Parrot(Teacher):
    """A teacher that can be evaluated."""

    name = "parrot"

    def demonstrate(self, problems: Any) -> Any:
        raise AssertionError("it is evaluated, not asked to show anything")

    async def rollouts(self, problems: Any, episodes: int) -> list[Any]:
        return [trajectory(problem.id, "1") for problem in problems for _ in range(episodes)]


def split(name: str, **options: Any) -> SplitPlan:
    return SplitPlan(split=name, **options)


@pytest.mark.parametrize(
    ("splits", "names"),
    [
        (["a"], ["a"]),
        (["a", "b"], ["a", "b"]),
        (["a", "a"], ["a", "a-2"]),
        (["a", "b", "a", "a"], ["a", "b", "a-2", "a-3"]),
        (["a", "a", "a-2"], ["a", "a-3", "a-2"]),
        (["a-2", "a", "a", "a-2"], ["a-2", "a", "a-3", "a-2-2"]),
    ],
)
def test_every_plan_has_a_name_of_its_own(splits, names):
    assert plan_names([split(name) for name in splits]) == names
    assert plan_names([ComponentSpec(use="own"), *(split(name) for name in splits)]) == ["", *names]


def test_two_plans_of_one_split_are_both_kept():
    policy = RecordingPolicy()
    context = ListContext(policy)
    plans = (split(IN_DOMAIN, problems=6, samples=0), split(IN_DOMAIN, problems=2, samples=4))
    reports = evaluate(experiment(policy), context, 3, plans)
    assert sorted(context.evaluations) == ["0-stage-000003-in-domain", "0-stage-000003-in-domain-2"]
    few, more = (context.evaluations[f"0-stage-000003-{name}"][0] for name in ("in-domain-2", "in-domain"))
    assert (few["problems"], more["problems"]) == (2, 6)
    assert {(report["split"], report["plan"]) for report in (few, more)} == {
        (IN_DOMAIN, IN_DOMAIN), (IN_DOMAIN, "in-domain-2"),
    }  # fmt: skip
    assert sorted(checkpoint_metrics(reports)) == ["in-domain-2/greedy", "in-domain-2/sampled", "in-domain/greedy"]


class Own(Evaluation):
    """An evaluation of a plugin's, which can be refused before the first step."""

    def __init__(self, name: str, fault: str = "") -> None:
        self.name, self.fault = name, fault

    def check(self, experiment: Any) -> None:
        if self.fault:
            raise UsageError(self.fault)

    def evaluate(self, experiment: Any, context: Any) -> EvaluationResult:
        greedy = {"accuracy": 1.0, "low": 0.5, "high": 1.0}
        return EvaluationResult({"split": self.name, "problems": 1, "greedy": greedy}, [])


@pytest.mark.parametrize(
    ("name", "file", "plan"),
    [
        ("own", "own", "own"),
        (IN_DOMAIN, "in-domain-2", "in-domain-2"),
        ("a/b: c", "a-b- c", "a/b: c"),
        ("x" * 300, "x" * 100, "x" * 300),
    ],
)
def test_evaluations_of_plugins_displace_none(name, file, plan):
    policy = RecordingPolicy()
    context = ListContext(policy)
    built = experiment(policy, build_evaluation=lambda spec: Own(name))
    reports = evaluate(
        built, context, 0, (ComponentSpec(use="own"), split(IN_DOMAIN, problems=2), ComponentSpec(use="own"))
    )
    assert len(reports) == len(context.evaluations) == 3
    assert context.evaluations[f"0-stage-000000-{file}"][0]["plan"] == plan


def test_what_cannot_be_evaluated_is_found_before_the_first_step():
    policy = RecordingPolicy()
    made = experiment(policy, build_evaluation=lambda spec: Own("own", spec.options.get("fault", "")))
    check_evaluations(made, (split(IN_DOMAIN), ComponentSpec(use="own")))
    with pytest.raises(UsageError, match=r"'indomain'.*'in-domain'") as caught:
        check_evaluations(made, (split("indomain"),))
    assert all(name in str(caught.value.hint) for name in ("train", "in-domain", "out-of-domain"))
    with pytest.raises(UsageError, match="no server"):
        check_evaluations(made, (ComponentSpec(use="own", options={"fault": "no server"}),))
    with pytest.raises(UsageError, match="no split 'nosplit'"):
        EvaluateStage(EvaluateOptions(on=(split("nosplit"),))).check(made)
    silent = experiment(
        evaluation=EvaluationPlan(agent=ComponentSpec(use="gappy")), build_teacher=lambda spec: GappyTeacher()
    )
    with pytest.raises(UsageError, match=r"'gappy' .*cannot be evaluated"):
        EvaluateStage(EvaluateOptions()).check(silent)


def test_evaluations_of_plugins_are_built_once():
    built: list[Any] = []
    made = experiment(build_evaluation=lambda spec: built.append(spec) or Own("own"))
    slots = [ComponentSpec(use="own"), ComponentSpec(use="own", options={"a": 1}), ComponentSpec(use="own")]
    assert len({id(evaluation_of(made, spec)) for spec in slots}) == len(built) == 2


@pytest.mark.parametrize(
    ("options", "name"), [({}, "parrot"), ({"model": "grey"}, "parrot grey"), ({"temperature": 0}, "parrot")]
)
def test_a_report_says_who_played(options, name):
    policy = RecordingPolicy()
    plan = EvaluationPlan(on=(split(IN_DOMAIN, problems=2),), agent=ComponentSpec(use="parrot", options=options))
    context = ListContext(policy)
    student = EvaluatedAgent(kind="run", name="toy", run="toy/1", seed=3)
    made = experiment(policy, evaluation=plan, build_teacher=lambda spec: Parrot(), evaluated_agent=student)
    EvaluateStage(EvaluateOptions()).run(made, context)
    evaluate(made, context, 1, plan.on)
    played, own = (context.evaluations[f"0-stage-00000{step}-in-domain"][0]["agent"] for step in (0, 1))
    assert (played["kind"], played["name"], played.get("model")) == ("agent", name, options.get("model"))
    assert own == {"kind": "run", "name": "toy", "run": "toy/1", "seed": 3}


def test_a_plugin_that_builds_no_evaluation_is_at_fault():
    made = experiment(build_evaluation=lambda spec: object())
    with pytest.raises(PluginError, match="'own'"):
        evaluation_of(made, ComponentSpec(use="own"))
