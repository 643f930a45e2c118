from __future__ import annotations

from typing import Any

import pytest
from stage_fakes import Digits, GappyTeacher, ListContext, RecordingPolicy, experiment, trajectory

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.demonstration import Demonstration, Demonstrations
from mentor_kit.core.errors import UsageError
from mentor_kit.core.task import IN_DOMAIN, OUT_OF_DOMAIN
from mentor_kit.core.teacher import Teacher
from mentor_kit.stages import EvaluationPlan, SplitPlan
from mentor_kit.stages.evaluate import EvaluateOptions, EvaluateStage, evaluate, evaluate_split
from mentor_kit.stages.evaluation_report import checkpoint_metrics
from mentor_kit.utils.statistics import wilson


def shown_wrongly(name: str) -> list[Demonstration]:
    return [Demonstration(problem_id=name, teacher="gappy", tools_used=("add",), correct=False)]


def always(text: str) -> RecordingPolicy:
    return RecordingPolicy(lambda request, version: text)


def report_of(policy: RecordingPolicy, plan: SplitPlan, **changes: Any) -> tuple[dict[str, Any], list[Any]]:
    report, scored, _ = evaluate_split(experiment(policy, **changes), ListContext(policy), plan)
    return report, scored


def test_a_report_by_hand():
    # 3 is right for i3 alone of i0 … i4; sampled episodes say 3 the first time and 4 the second
    def speak(request: Any, version: int) -> str:
        return "3" if request.temperature == 0 or request.session.endswith("#0") else "4"

    report, scored = report_of(RecordingPolicy(speak), SplitPlan(split=IN_DOMAIN, problems=5, samples=2))
    low, high = wilson(1, 5)
    assert report["greedy"] == {
        "accuracy": 0.2, "low": low, "high": high, "correct": 1, "episodes": 5, "interval": "wilson",
    }  # fmt: skip
    # p = 1/5; two of five problems differ by +0.3 · 2 and three by -0.2 · 2: SE^2 = 5/4 · 1.2 / 100 = 0.015, so that
    # p (1 - p) / SE^2 is more than the 10 episodes; t = 2.7764, 10 (1.96 / 2.7764)^2 = 4.983 trials
    low, high = 0.0361, 0.6251
    sampled = report["sampled"]
    assert (sampled["low"], sampled["high"]) == pytest.approx((low, high), abs=1e-4)
    assert (sampled["accuracy"], sampled["correct"], sampled["samples"], sampled["episodes"]) == (0.2, 2, 2, 10)
    assert sampled["interval"] == "clustered"
    # pass@1 is the mean; pass@2 is 1 for i3 and i4, which had one right of two, and 0 for the others
    assert report["pass_at"]["1"]["value"] == pytest.approx(0.2)
    low, high = wilson(2, 5)
    assert report["pass_at"]["2"] == {
        "value": 0.4, "low": low, "high": high, "problems": 5, "interval": "wilson",
    }  # fmt: skip
    assert report["outcomes"] == {"i0": [0, 0.0], "i1": [0, 0.0], "i2": [0, 0.0], "i3": [1, 0.5], "i4": [0, 0.5]}
    assert report["groups"]["odd"]["greedy"]["accuracy"] == 0.5
    assert report["groups"]["odd"]["sampled"]["accuracy"] == 0.25
    assert report["groups"]["even"]["greedy"]["correct"] == 0
    assert report["groups"]["even"]["sampled"]["accuracy"] == pytest.approx(1 / 6)
    assert (report["split"], report["problems"], report["ended_rate"]) == (IN_DOMAIN, 5, 1.0)
    assert report["reward"] == pytest.approx(0.3)
    assert "accuracy" not in report
    assert "similarity" not in report
    assert [item.trajectory.problem_id for item in scored[:5]] == [f"i{n}" for n in range(5)]
    assert len(scored) == 5 + 10


def test_greedy_alone():
    report, scored = report_of(always("1"), SplitPlan(split=IN_DOMAIN, problems=2, samples=0))
    assert "sampled" not in report
    assert report["outcomes"] == {"i0": [0], "i1": [1]}
    assert len(scored) == 2


def test_one_group_is_not_broken_down():
    report, _ = report_of(always("1"), SplitPlan(split=IN_DOMAIN, problems=1))
    assert report["groups"] == {}


def test_sampled_episodes_have_the_same_seeds_at_every_step_and_for_every_student():
    plan = (SplitPlan(split=IN_DOMAIN, problems=3, samples=2),)

    def seeds(policy: RecordingPolicy) -> list[tuple[str, int]]:
        return [(request.session, request.seed) for request in policy.engine().requests]

    policy = RecordingPolicy()
    made, context = experiment(policy), ListContext(policy)
    evaluate(made, context, 0, plan)
    first = seeds(policy)
    policy.version += 1
    evaluate(made, context, 10, plan)
    assert seeds(policy) == first * 2
    assert len({seed for _, seed in first[3:]}) == 6
    assert sorted(context.evaluations) == ["0-stage-000000-in-domain", "0-stage-000010-in-domain"]
    assert [event["step"] for event in context.of("evaluation")] == [0, 10]
    assert all("outcomes" not in event for event in context.of("evaluation"))
    assert "outcomes" in context.evaluations["0-stage-000010-in-domain"][0]


def test_more_problems_leave_the_others_as_they_were():
    few, many = RecordingPolicy(), RecordingPolicy()
    report_of(few, SplitPlan(split=IN_DOMAIN, problems=2))
    report_of(many, SplitPlan(split=IN_DOMAIN, problems=4))
    shared = {request.session: request.seed for request in many.engine().requests}
    assert all(shared[request.session] == request.seed for request in few.engine().requests)


def test_similarity_to_the_teacher():
    # the teacher calls `add` once for each problem; the student's calls fail, for `add` is declared only
    report, _ = report_of(always("1"), SplitPlan(split=IN_DOMAIN, problems=2), teacher=GappyTeacher())
    assert report["similarity"] == 0.0
    assert report["similarity_sampled"] == 0.0
    report, _ = report_of(
        always("1"), SplitPlan(split=IN_DOMAIN, problems=2), teacher=GappyTeacher(silent=["i0", "i1"])
    )
    assert "similarity" not in report


def test_the_mean_reward_is_over_problems_with_a_right_demonstration():
    teacher = GappyTeacher(silent=["i1", "i2"])
    plan = SplitPlan(split=IN_DOMAIN, problems=3, samples=0)
    report, scored = report_of(always("1"), plan, teacher=teacher)
    assert [item.reward.total for item in scored] == pytest.approx([0.1, 1.0, 0.0])
    assert (report["reward"], report["reward_problems"]) == (pytest.approx(0.1), 1)
    silent = GappyTeacher(silent=["i0", "i1", "i2"])
    report, _ = report_of(always("1"), plan, teacher=silent)
    assert "reward" not in report
    wrong = GappyTeacher(silent=["i0", "i1"], wrong=["i2"])
    report, _ = report_of(always("1"), plan, teacher=wrong, demonstrations=Demonstrations(shown_wrongly("i2")))
    assert "reward" not in report
    report, _ = report_of(always("1"), plan)
    assert (report["reward"], report["reward_problems"]) == (pytest.approx(0.1), 3)
    report, plain = report_of(always("1"), plan, reward=None)
    assert "reward" not in report
    assert [item.reward.total for item in plain] == [0.0, 1.0, 0.0]


def test_a_split_without_problems():
    report, scored = report_of(always("1"), SplitPlan(split=IN_DOMAIN), task=Digits(0))
    assert (report["greedy"]["low"], report["greedy"]["high"], report["greedy"]["accuracy"]) == (0.0, 1.0, 0.0)
    assert (report["problems"], scored) == (0, [])


def test_flat_metrics_choose_a_checkpoint():
    reports = {
        "in-domain": {"greedy": {"accuracy": 0.5}, "sampled": {"accuracy": 0.25}, "similarity": 0.75},
        "out-of-domain": {"greedy": {"accuracy": 1}},
    }
    assert checkpoint_metrics(reports) == {
        "in-domain/greedy": 0.5, "in-domain/sampled": 0.25, "in-domain/similarity": 0.75, "out-of-domain/greedy": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("on", "plan", "splits"),
    [
        ((), (), [IN_DOMAIN, OUT_OF_DOMAIN]),
        ((), (SplitPlan(split="train", problems=2),), ["train"]),
        ((SplitPlan(split=IN_DOMAIN, problems=2),), (SplitPlan(split="train"),), [IN_DOMAIN]),
    ],
)
def test_the_stage_evaluates_what_it_is_told_to(on, plan, splits):
    policy = RecordingPolicy()
    context = ListContext(policy, is_first=False)
    made = experiment(policy, evaluation=EvaluationPlan(on=plan), task=Digits(4))
    EvaluateStage(EvaluateOptions(on=on)).run(made, context)
    assert [event["split"] for event in context.of("evaluation")] == splits
    assert [step for step, *_ in context.checkpoints] == [0]
    again = ListContext(policy, state=context.checkpoints[0][1])
    EvaluateStage(EvaluateOptions(on=on)).run(made, again)
    assert again.events == []


def test_where_nothing_was_trained_before_nothing_is_kept():
    policy = RecordingPolicy()
    context = ListContext(policy)
    EvaluateStage(EvaluateOptions()).run(experiment(policy, task=Digits(4)), context)
    assert context.checkpoints == []


def test_rows_by_hand():
    policy = RecordingPolicy(lambda request, version: "3")
    context = ListContext(policy)
    made = experiment(policy, teacher=GappyTeacher(silent=["i4"]))
    evaluate(made, context, 0, [SplitPlan(split=IN_DOMAIN, problems=5, samples=2)])
    rows = context.rows["0-stage-000000-in-domain"]
    assert [(row["problem"], row["decoding"], row["sample"]) for row in rows] == [
        *[(f"i{n}", "greedy", 0) for n in range(5)],
        *[(f"i{n}", "sampled", sample) for n in range(5) for sample in range(2)],
    ]
    assert [row["problem"] for row in rows if row["correct"]] == ["i3", "i3", "i3"]
    (row,) = [row for row in rows if row["problem"] == "i3" and row["decoding"] == "greedy"]
    assert (row["group"], row["answer"], row["ending"], row["turns"], row["calls"]) == ("odd", "3", "answered", 1, 0)
    assert row["tools"] == []
    assert row["teacher_tools"] == ["add"]
    assert rows[4]["teacher_tools"] is None
    keys = {problem.id: problem.answer for problem in made.problems(IN_DOMAIN, 0, 5)}
    assert {row["problem"]: row["key"] for row in rows} == keys
    assert {problem.id: problem.answer for problem in context.problems.values()} == keys
    # the digit said, over ten; none where the teacher has shown nothing to compare with
    assert [row["reward"] for row in rows[:5]] == [*4 * [pytest.approx(0.3)], None]


def test_groups_may_be_what_is_independent():
    # 1 and 3 of i0 … i3 are odd: the odd half all right, the even half all wrong, and two halves say little
    policy = RecordingPolicy(lambda request, version: request.session[1])
    task = Digits(4)
    task.check = lambda answer, problem: problem.group == "odd"  # type: ignore[method-assign]
    plan = SplitPlan(split=IN_DOMAIN, samples=0, clusters="group")
    report, _ = report_of(policy, plan, task=task)
    assert report["greedy"]["interval"] == "clustered"
    # two cluster means 0 and 1 are worth one trial, and 12.706 standard errors each way leave hardly anything out
    assert (report["greedy"]["low"], report["greedy"]["high"]) == pytest.approx((0.0, 1.0), abs=0.01)
    assert report["groups"]["odd"]["greedy"]["interval"] == "wilson"
    assert report["groups"]["odd"]["greedy"]["accuracy"] == 1.0


class Parrot(Teacher):
    """A teacher that can be evaluated: says the digit its options name, and counts how often it was asked."""

    name = "parrot"

    def __init__(self, said: str = "1") -> None:
        self.said = said

    def demonstrate(self, problems: Any) -> Any:
        raise AssertionError("it is evaluated, not asked to show anything")

    async def rollouts(self, problems: Any, episodes: int) -> list[Any]:
        return [
            trajectory(p.id, self.said, correct=self.said == p.answer) for p in problems for _ in range(episodes)
        ]  # fmt: skip


def test_another_agent_in_the_place_of_the_student():
    policy = RecordingPolicy()
    context = ListContext(policy)
    plan = EvaluationPlan(on=(SplitPlan(split=IN_DOMAIN, problems=3, samples=2),), agent=ComponentSpec(use="parrot"))
    made = experiment(policy, evaluation=plan, build_teacher=lambda spec: Parrot())
    EvaluateStage(EvaluateOptions()).run(made, context)
    assert policy.engine().requests == []
    report, scored = context.evaluations["0-stage-000000-in-domain"]
    assert "greedy" not in report
    assert report["agent"]["name"] == "parrot"
    assert (report["sampled"]["correct"], report["sampled"]["episodes"]) == (2, 6)
    assert report["outcomes"] == {"i0": [None, 0.0], "i1": [None, 1.0], "i2": [None, 0.0]}
    assert report["pass_at"]["2"]["value"] == pytest.approx(1 / 3)
    assert len(scored) == 6
    assert checkpoint_metrics({"in-domain": report}) == {"in-domain/sampled": pytest.approx(1 / 3)}


def test_a_teacher_that_only_shows_cannot_be_evaluated():
    policy = RecordingPolicy()
    plan = EvaluationPlan(agent=ComponentSpec(use="gappy"))
    made = experiment(policy, evaluation=plan, build_teacher=lambda spec: GappyTeacher())
    with pytest.raises(UsageError, match=r"'gappy' .*cannot be evaluated"):
        EvaluateStage(EvaluateOptions()).run(made, ListContext(policy))


def test_what_is_always_right_has_an_interval_over_problems():
    task = Digits(4)
    task.check = lambda answer, problem: True  # type: ignore[method-assign]
    report, _ = report_of(always("1"), SplitPlan(split=IN_DOMAIN, samples=3), task=task)
    low, _ = wilson(4, 4)
    assert (report["sampled"]["low"], report["sampled"]["high"]) == (low, 1.0)
    assert (report["pass_at"]["2"]["low"], report["pass_at"]["2"]["interval"]) == (low, "wilson")


def test_pass_at_needs_samples():
    with pytest.raises(UsageError, match="2, 4 must be between 1 and the number of `samples`, 2"):
        SplitPlan(split="a", samples=2, pass_at=(2, 4))


@pytest.mark.parametrize(
    ("plan", "due"),
    [
        (EvaluationPlan(every=0), [6]),
        (EvaluationPlan(every=2), [2, 4, 6]),
        (EvaluationPlan(every=4), [4, 6]),
        (EvaluationPlan(every=4, at_end=False), [4]),
    ],
)
def test_when_evaluations_are_due(plan, due):
    assert [step for step in range(1, 7) if plan.due(step, 6)] == due


def test_an_evaluation_says_how_far_it_is_over_all_splits():
    policy = RecordingPolicy()
    plans = (SplitPlan(split=IN_DOMAIN, problems=2, samples=2), SplitPlan(split=OUT_OF_DOMAIN, problems=1, samples=0))
    context = ListContext(policy)
    EvaluateStage(EvaluateOptions(on=plans)).run(experiment(policy), context)
    told = [(event["done"], event["total"]) for event in context.of("progress")]
    assert told == [(done, 7) for done in range(8)]
    # between steps of training, and by others than the student, who have no greedy episodes
    context = ListContext(policy)
    evaluate(experiment(policy, agent=Parrot()), context, 10, plans)
    assert [(event["done"], event["total"]) for event in context.of("progress")] == [(done, 5) for done in range(6)]


def test_problems_are_drawn_once_however_often_they_are_evaluated_on():
    class Counted(Digits):
        drawn = 0

        def problems(self, split: str, seed: int, count: int) -> list[Any]:
            self.drawn += 1
            return super().problems(split, seed, count)

    task = Counted()
    toy = experiment(always("3"), task=task)
    context = ListContext(toy.policy)  # type: ignore[arg-type]
    few, more = SplitPlan(split=IN_DOMAIN, problems=2), SplitPlan(split=IN_DOMAIN, problems=5)
    reports = [evaluate_split(toy, context, plan).report for _ in range(3) for plan in (few, more)]
    assert task.drawn == 2
    assert [report["problems"] for report in reports] == 3 * [2, 5]
