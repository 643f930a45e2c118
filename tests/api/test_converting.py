"""Converting dialogues: what of a run or a file is written, with which tools, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from recorded_run import MALFORMED, PROBLEMS, recorded_run

from mentor_kit import api
from mentor_kit.core.errors import DataError, MentorKitError, UsageError
from mentor_kit.runs import Run, RunFolder

MATH = {"add", "subtract", "multiply", "divide", "sum_numbers", "floor", "ceil", "round_number", "power", "sqrt"} | {
    "abs_value",
    "modulo",
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return recorded_run(tmp_path / "runs")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_run_gives_its_demonstrations_with_the_tools_of_its_recipe(run: RunFolder, tmp_path: Path) -> None:
    done = api.convert_data(run.path, tmp_path / "a.jsonl", to="trl")
    first, second = rows(tmp_path / "a.jsonl")
    assert (done.dialogues, done.format, done.source_format, done.left_out) == (2, "trl", "run", ())
    assert {tool["function"]["name"] for tool in first["tools"]} == MATH
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 3}}}
    assert first["messages"] == [
        {"role": "user", "content": PROBLEMS["train-0-0"].question},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "name": "add", "content": "5"},
        {"role": "assistant", "content": r"\boxed{5}"},
    ]
    assert [(row["id"], row["group"], row["answer"], row["correct"]) for row in (first, second)] == [
        (name, PROBLEMS[name].group, PROBLEMS[name].answer, right)
        for name, right in (("train-0-0", True), ("train-0-1", False))
    ]


@pytest.mark.parametrize("named", ["made", "made/{id}", "{path}"])
def test_a_run_is_named_as_everywhere(run: RunFolder, tmp_path: Path, named: str) -> None:
    source = named.format(id=run.id, path=run.path)
    assert api.convert_data(source, tmp_path / "a.jsonl", to="trl", output=tmp_path / "runs").dialogues == 2
    assert api.convert_data(Run(run), tmp_path / "b.jsonl", to="trl").dialogues == 2


@pytest.mark.parametrize(
    ("options", "answers"),
    [
        ({"rollouts": (1, 1)}, ["5", "5", "3"]),
        ({"rollouts": (1, 1), "only": "right"}, ["5", "5"]),
        ({"rollouts": "all", "broken": "skip"}, ["5", "5", "3", "6"]),
        ({"evaluation": "0-grpo-000002-in-domain"}, ["4"]),
        ({"evaluation": "all"}, ["4"]),
        ({"only": "right"}, ["5"]),
    ],
)
def test_which_episodes_of_a_run(run: RunFolder, tmp_path: Path, options: dict[str, Any], answers: list[str]) -> None:
    api.convert_data(run.path, tmp_path / "a.jsonl", to="trl", **options)
    found = [row["messages"][-1]["content"] for row in rows(tmp_path / "a.jsonl")]
    assert found == [rf"\boxed{{{answer}}}" for answer in answers]


def test_the_best_is_the_right_one_with_the_most_reward_of_each_problem(run: RunFolder, tmp_path: Path) -> None:
    # both rollouts of one problem are right: the second earned more, so it alone has this question's place
    file = run.rollouts_of("0-grpo", 1)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1].replace("boxed{5}", "boxed{5.0}"), lines[2]]) + "\n")
    done = api.convert_data(run.path, tmp_path / "a.jsonl", to="trl", rollouts=(1, 1), only="best")
    assert (done.dialogues, done.not_chosen) == (1, 2)
    assert "boxed{5.0}" in rows(tmp_path / "a.jsonl")[0]["messages"][-1]["content"]


def test_a_call_that_cannot_be_said_is_an_error_with_its_place_or_is_left_out(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        api.convert_data(run.path, tmp_path / "a.jsonl", to="trl", rollouts="all")
    assert "0-grpo, step 2, episode train-0-1#1, column messages.1.tool_calls.0: " in caught.value.message
    assert MALFORMED.raw in caught.value.message
    assert "--broken skip" in (caught.value.hint or "")
    assert not (tmp_path / "a.jsonl").exists()
    done = api.convert_data(run.path, tmp_path / "a.jsonl", to="trl", rollouts="all", broken="skip")
    assert [(group.column, group.rows, group.places) for group in done.left_out] == [
        ("messages.*.tool_calls.*", 1, ("0-grpo, step 2, episode train-0-1#1",))
    ]


def test_a_viewers_format_shows_what_was_written(run: RunFolder, tmp_path: Path) -> None:
    api.convert_data(run.path, tmp_path / "s", to="sts", rollouts=(2, 2))
    files = sorted((tmp_path / "s").iterdir())
    assert [file.name for file in files] == ["train-0-0.jsonl", "train-0-1.jsonl"]
    header, *lines = rows(files[1])
    assert (header["type"], header["id"], header["harness"]) == ("session", "train-0-1", "mentor-kit")
    assert lines[1]["message"] == {"role": "assistant", "content": MALFORMED.raw}
    assert "toolCallId" not in lines[2]["message"]


def test_sessions_of_one_problem_have_ids_of_their_own(run: RunFolder, tmp_path: Path) -> None:
    done = api.convert_data(run.path, tmp_path / "s", to="sts", rollouts=(1, 1))
    headers = [rows(file)[0]["id"] for file in sorted((tmp_path / "s").iterdir())]
    assert done.dialogues == 3
    assert sorted(headers) == ["train-0-0", "train-0-0#2", "train-0-1"]
    assert api.check_data(tmp_path / "s").taken == 3


@pytest.mark.parametrize("name", ["demonstrations.jsonl", "rollouts/0-grpo/step-000001.jsonl", "rollouts"])
def test_a_file_in_a_runs_folder_has_the_tools_of_its_recipe(run: RunFolder, tmp_path: Path, name: str) -> None:
    api.convert_data(run.path / name, tmp_path / "a.jsonl", to="trl", broken="skip")
    found = rows(tmp_path / "a.jsonl")
    assert [len(row["tools"]) for row in found] == [len(MATH)] * len(found)
    assert found[0]["answer"] == PROBLEMS["train-0-0"].answer


def test_records_from_elsewhere_need_a_recipe_or_no_tools(run: RunFolder, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_bytes(run.demonstrations.read_bytes())
    with pytest.raises(UsageError) as caught:
        api.convert_data(moved, tmp_path / "a.jsonl", to="trl")
    assert "--recipe" in (caught.value.hint or "")
    api.convert_data(moved, tmp_path / "a.jsonl", to="trl", recipe="quickstart")
    assert {tool["function"]["name"] for tool in rows(tmp_path / "a.jsonl")[0]["tools"]} == MATH
    api.convert_data(moved, tmp_path / "a.jsonl", to="trl", tools=False, overwrite=True)
    assert "tools" not in rows(tmp_path / "a.jsonl")[0]


def test_without_tools_no_recipe_is_needed(run: RunFolder, tmp_path: Path) -> None:
    run.recipe.write_text(run.recipe.read_text().replace("use: math", "use: gone"))
    with pytest.raises(MentorKitError, match="gone"):
        api.convert_data(run.path, tmp_path / "a.jsonl", to="trl")
    assert api.convert_data(run.path, tmp_path / "a.jsonl", to="trl", tools=False).dialogues == 2
    assert rows(tmp_path / "a.jsonl")[0]["answer"] == PROBLEMS["train-0-0"].answer


@pytest.mark.parametrize("to", ["trl", "openai", "sharegpt", "mentor"])
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".parquet", ".jsonl.gz"])
def test_files_are_converted_by_their_endings(run: RunFolder, tmp_path: Path, to: str, ending: str) -> None:
    first, second = tmp_path / f"a{ending}", tmp_path / "b.jsonl"
    assert api.convert_data(run.path, first, to=to).dialogues == 2
    done = api.convert_data(first, second, to="trl")
    assert done.source_format == ("trl" if to == "openai" else to)
    api.convert_data(run.path, tmp_path / "c.jsonl", to="trl")
    kept = ("messages", "tools") if to == "openai" else ("messages", "tools", "id", "answer", "group", "correct")
    assert [[row[name] for name in kept] for row in rows(second)] == [
        [row[name] for name in kept] for row in rows(tmp_path / "c.jsonl")
    ]


def test_written_demonstrations_are_what_a_teacher_reads(run: RunFolder, tmp_path: Path) -> None:
    api.convert_data(run.path, tmp_path / "a.jsonl", to="trl")
    api.convert_data(tmp_path / "a.jsonl", tmp_path / "demonstrations.jsonl", to="mentor")
    recipe = {
        "mentorkit": 1,
        "extends": "quickstart",
        "teacher": {"use": "recorded", "with": {"path": str(tmp_path / "demonstrations.jsonl")}},
        "folder": str(tmp_path),
    }
    (shown,) = api.collect(recipe, problems=1, keep="all", output=tmp_path / "runs").demonstrations()
    assert (shown.problem_id, shown.tools_used) == ("train-0-0", ("add",))


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"to": "tlr"}, "'trl'"),
            ({"to": "xlam"}, "xlam"),
            ({"to": "trl", "only": "good"}, "good"),
            ({"to": "trl", "broken": "ignore"}, "ignore"),
            ({"to": "trl", "rollouts": (7, 9)}, "1 to 2"),
            ({"to": "trl", "evaluation": "x"}, "'x'"),
            ({"to": "trl", "evaluation": "all", "rollouts": "all"}, "rollouts"),
        ],
    )
    def test_arguments(self, run: RunFolder, tmp_path: Path, options: dict[str, Any], named: str) -> None:
        with pytest.raises(UsageError, match=named):
            api.convert_data(run.path, tmp_path / "a.jsonl", **options)
        assert not (tmp_path / "a.jsonl").exists()

    def test_what_is_there_is_replaced_on_request_alone(self, run: RunFolder, tmp_path: Path) -> None:
        target = tmp_path / "a.jsonl"
        target.write_text("mine")
        with pytest.raises(UsageError):
            api.convert_data(run.path, target, to="trl")
        assert target.read_text() == "mine"
        api.convert_data(run.path, target, to="trl", overwrite=True)
        assert len(rows(target)) == 2

    def test_a_folder_with_other_files_is_never_replaced(self, run: RunFolder, tmp_path: Path) -> None:
        target = tmp_path / "s"
        target.mkdir()
        (target / "mine.jsonl").write_text('{"a": 1}\n')
        with pytest.raises(UsageError, match=r"mine\.jsonl"):
            api.convert_data(run.path, target, to="sts", overwrite=True)
        with pytest.raises(UsageError):
            api.convert_data(run.path, run.path, to="sts", overwrite=True)
        (target / "mine.jsonl").unlink()
        api.convert_data(run.path, target, to="sts")
        with pytest.raises(UsageError):
            api.convert_data(run.path, target, to="sts")
        assert api.convert_data(run.path, target, to="sts", only="right", overwrite=True).dialogues == 1
        assert len(list(target.iterdir())) == 1

    def test_a_target_of_the_wrong_kind(self, run: RunFolder, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="csv"):
            api.convert_data(run.path, tmp_path / "a.csv", to="trl")
        with pytest.raises(UsageError, match="folder"):
            api.convert_data(run.path, tmp_path, to="trl")
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match="file"):
            api.convert_data(run.path, tmp_path / "file", to="sts")

    def test_a_source_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"gone\.jsonl"):
            api.convert_data(tmp_path / "gone.jsonl", tmp_path / "a.jsonl", to="trl")
        with pytest.raises(UsageError, match="gone"):
            api.convert_data("gone", tmp_path / "a.jsonl", to="trl", output=tmp_path)

    def test_rows_without_verdicts_cannot_be_chosen_by_them(self, run: RunFolder, tmp_path: Path) -> None:
        api.convert_data(run.path, tmp_path / "a.jsonl", to="openai")
        with pytest.raises(UsageError, match="right"):
            api.convert_data(tmp_path / "a.jsonl", tmp_path / "b.jsonl", to="trl", only="right")

    def test_nothing_that_is_asked_for(self, run: RunFolder, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="right"):
            api.convert_data(run.path, tmp_path / "a.jsonl", to="trl", rollouts=(2, 2), only="right")
        assert not (tmp_path / "a.jsonl").exists()

    def test_a_file_has_no_rollouts(self, run: RunFolder, tmp_path: Path) -> None:
        with pytest.raises(UsageError):
            api.convert_data(run.demonstrations, tmp_path / "a.jsonl", to="trl", rollouts="all")

    def test_a_run_without_demonstrations(self, run: RunFolder, tmp_path: Path) -> None:
        run.demonstrations.unlink()
        with pytest.raises(UsageError) as caught:
            api.convert_data(run.path, tmp_path / "a.jsonl", to="trl")
        assert "--rollouts" in (caught.value.hint or "")

    def test_a_broken_row_of_a_file(self, run: RunFolder, tmp_path: Path) -> None:
        source = tmp_path / "a.jsonl"
        api.convert_data(run.path, source, to="trl")
        source.write_text(source.read_text() + '{"messages": [{"role": "wizard", "content": "?"}]}\n')
        with pytest.raises(DataError, match=r"a\.jsonl, row 3, column messages\.0\.role: "):
            api.convert_data(source, tmp_path / "b.jsonl", to="openai")
        done = api.convert_data(source, tmp_path / "b.jsonl", to="openai", broken="skip")
        assert (done.dialogues, [group.rows for group in done.left_out]) == (2, [1])


GOOD = '{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}'
XLAM = '{"query": "?", "tools": "[]", "answers": "[]"}'


def test_a_row_that_no_format_recognises_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(f'{GOOD}\n{{"messages": []}}\n{{"other": 1}}\n')
    found = api.check_data(tmp_path / "rows.jsonl")
    assert (found.format, found.taken) == ("trl", 1)
    assert sorted(group.places[0].rpartition(" ")[2] for group in found.left_out) == ["2", "3"]


def test_rows_of_different_formats_are_named_by_their_lines(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(f"{{\n\n{GOOD}\n{XLAM}\n")
    with pytest.raises(DataError, match=r"row 3 is .*, row 4 xlam"):
        api.check_data(tmp_path / "rows.jsonl")


def test_files_of_different_formats_are_named_beside_an_empty_one(tmp_path: Path) -> None:
    for name, row in (("a", ""), ("b", GOOD), ("c", XLAM)):
        (tmp_path / f"{name}.jsonl").write_text(row)
    with pytest.raises(DataError, match=r"b\.jsonl is .*, .*c\.jsonl is xlam"):
        api.check_data(tmp_path)


def test_the_folder_of_a_run_is_no_data(run: RunFolder) -> None:
    with pytest.raises(DataError) as caught:
        api.check_data(run.path)
    assert "run" in caught.value.message
    assert "demonstrations.jsonl" in str(caught.value.hint)
    assert api.check_data(run.demonstrations).taken == 2
