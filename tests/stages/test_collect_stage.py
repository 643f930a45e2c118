from __future__ import annotations

from typing import Any

import pytest
from stage_fakes import GappyTeacher, ListContext, RecordingPolicy, experiment

from mentor_kit.core.errors import Interrupted, UsageError
from mentor_kit.stages import Experiment
from mentor_kit.stages.collect import CollectOptions, CollectStage
from mentor_kit.stages.export import ExportOptions, ExportStage


def run(made: Experiment, context: ListContext | None = None, **options: Any) -> ListContext:
    context = context or ListContext(RecordingPolicy())
    CollectStage(CollectOptions.model_validate({"problems": 5, "batch": 2, **options})).run(made, context)
    return context


def test_what_is_right_is_kept_in_the_order_of_the_problems():
    teacher = GappyTeacher(silent=["p0"], wrong=["p3"])
    context = run(experiment(teacher=teacher))
    assert teacher.asked == [["p0", "p1"], ["p2", "p3"], ["p4"]]
    assert [shown.problem_id for shown in context.demonstrations] == ["p1", "p2", "p4"]
    assert context.of("collected") == [{"problems": 5, "demonstrations": 3, "teacher": "gappy"}]
    assert [(event["done"], event["kept"]) for event in context.of("progress")] == [(2, 1), (4, 2), (5, 3)]


def test_what_sft_cannot_use_is_counted_and_named():
    context = run(experiment(teacher=GappyTeacher(names_only=True)))
    assert context.of("collected")[0]["not_for_sft"] == 5
    assert [f"'p{n}'" in note["text"] for n, note in enumerate(context.of("note"))] == [True] * 5


def test_all_are_kept_where_that_is_asked_for():
    context = run(experiment(teacher=GappyTeacher(wrong=["p3"])), keep="all")
    assert [shown.correct for shown in context.demonstrations] == [True, True, True, False, True]


def test_what_is_there_is_not_asked_for_again():
    class StopsAfterFour(ListContext):
        def check_stop(self) -> None:
            if self.of("progress")[-1]["done"] == 4:
                raise Interrupted("stopped")

    first = StopsAfterFour(RecordingPolicy())
    with pytest.raises(Interrupted):
        run(experiment(teacher=GappyTeacher()), first)
    assert len(first.demonstrations) == 4
    teacher = GappyTeacher()
    made = experiment(teacher=teacher)
    for shown in first.demonstrations:
        made.demonstrations.add(shown)
    context = run(made)
    assert teacher.asked == [["p4"]]
    assert [shown.problem_id for shown in context.demonstrations] == ["p4"]
    assert context.of("collected")[0]["demonstrations"] == 5


def test_an_unknown_split_is_named():
    with pytest.raises(UsageError, match="no split 'tests'"):
        run(experiment(teacher=GappyTeacher()), split="tests")


def test_export_fills_a_folder(tmp_path):
    context = ListContext(RecordingPolicy())
    context.root = tmp_path
    ExportStage(ExportOptions(format="adapter", name="mine")).run(experiment(), context)
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"weights.json", "tokenizer.txt"}
    assert (tmp_path / "mine" / "weights.json").read_text() == '[0, "adapter"]'
    assert context.of("export") == [{"folder": str(tmp_path / "mine"), "format": "adapter"}]


def test_a_student_that_has_another_whole_form_is_left_in_it(tmp_path):
    policy = RecordingPolicy()
    policy.whole_format = "mlx"
    told: list[str] = []
    found = experiment(policy, describe_export=lambda folder, form: told.append(form))
    found.export(tmp_path)
    assert ((tmp_path / "weights.json").read_text(), told) == ('[0, "mlx"]', ["mlx"])


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        ({}, "student"),
        ({"format": "adapter"}, "student-adapter"),
        ({"format": "gguf"}, "student-gguf"),
        ({"name": "student"}, "student"),
        ({"format": "adapter", "name": "student2"}, "student2"),
    ],
)
def test_only_a_whole_student_goes_where_the_run_puts_its_own(tmp_path, options, folder):
    context = ListContext(RecordingPolicy())
    context.root = tmp_path
    ExportStage(ExportOptions(**options)).run(experiment(), context)
    assert [path.name for path in tmp_path.iterdir()] == [folder]


def test_an_adapter_in_the_runs_own_folder_is_refused():
    with pytest.raises(UsageError, match="student-adapter"):
        ExportOptions(format="adapter", name="student")
