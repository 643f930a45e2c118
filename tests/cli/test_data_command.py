"""The commands `data convert` and `data check`: what they print for people and programs, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mentor_kit.cli import app as cli

GOOD = {
    "messages": [
        {"role": "user", "content": "2 + 3?"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 2, "b": 3}}}]},
        {"role": "tool", "content": "5"},
        {"role": "assistant", "content": "5"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "add",
                "parameters": {
                    "type": "object",
                    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                    "required": ["a", "b"],
                },
            },
        }
    ],
}
NO_USER = {"messages": [{"role": "assistant", "content": "5"}], "tools": []}
WIZARD = {"messages": [{"role": "user", "content": "?"}, {"role": "wizard", "content": "!"}]}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def data(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.run_app(["data", *arguments])
    return int(code), *capsys.readouterr()


def test_a_file_is_converted_and_the_result_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = str(write(tmp_path / "a.jsonl", GOOD, GOOD)), str(tmp_path / "b.parquet")
    code, said, errors = data(capsys, "convert", source, target, "--to", "sharegpt")
    assert (code, errors) == (0, "")
    assert "2 dialogues" in said
    code, said, _ = data(capsys, "check", target, "--json")
    found = json.loads(said)
    assert code == 0
    assert (found["format"], found["rows"], found["taken"], found["left_out"]) == ("sharegpt", 2, 2, [])
    assert (found["with_calls"], found["without_calls"], found["tools"]) == (2, 0, 1)


def test_json_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(write(tmp_path / "a.jsonl", GOOD, WIZARD))
    arguments = ["convert", source, str(tmp_path / "b.jsonl"), "--to", "openai", "--broken", "skip", "--json"]
    code, said, _ = data(capsys, *arguments)
    found = json.loads(said)
    assert code == 0
    assert (found["dialogues"], found["source_format"], found["format"]) == (1, "trl", "openai")
    assert [(group["column"], group["rows"]) for group in found["left_out"]] == [("messages.*.role", 1)]
    assert found["limits"]


@pytest.mark.parametrize(
    ("rows", "arguments", "expected"),
    [
        ([GOOD], [], 0),
        ([GOOD, WIZARD], [], 1),  # a row cannot be read
        ([GOOD, WIZARD], ["--broken", "skip"], 0),
        ([GOOD], ["--from", "xlam"], 1),
        ([GOOD], ["--from", "nope"], 1),
        ([GOOD], ["--only", "right"], 2),
        ([GOOD], ["--only", "good"], 2),
        ([GOOD], ["--rollouts", "all"], 2),
        ([GOOD], ["--rollouts", "x"], 2),
        ([GOOD], ["--to", "tlr"], 2),
    ],
)
def test_exit_codes_of_convert(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[Any], arguments: list[str], expected: int
) -> None:
    source, target = str(write(tmp_path / "a.jsonl", *rows)), tmp_path / "b.jsonl"
    code, _, errors = data(capsys, "convert", source, str(target), "--to", "openai", *arguments)
    assert (code, bool(errors), target.exists()) == (expected, expected != 0, expected == 0)


def test_a_target_that_is_there_is_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(write(tmp_path / "a.jsonl", GOOD))
    target = str(write(tmp_path / "b.jsonl", GOOD))
    assert data(capsys, "convert", source, target, "--to", "openai")[0] == 2
    assert data(capsys, "convert", source, target, "--to", "openai", "--overwrite")[0] == 0


def test_rows_that_are_not_taken_are_grouped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(write(tmp_path / "a.jsonl", GOOD, *[NO_USER] * 5, WIZARD, "{\n", WIZARD))
    code, said, _ = data(capsys, "check", file, "--json")
    found = json.loads(said)
    assert code == 1
    assert (found["rows"], found["taken"]) == (9, 1)
    assert [(group["column"], group["rows"], len(group["places"])) for group in found["left_out"]] == [
        ("", 5, 3),
        ("messages.*.role", 2, 2),
        ("", 1, 1),
    ]
    assert found["left_out"][1]["places"] == [f"{file}, row 7", f"{file}, row 9"]
    code, said, _ = data(capsys, "check", file)
    assert code == 1
    assert "1 of 9 rows" in said
    assert max(map(len, said.splitlines())) <= 80 + len(file)


def test_calls_that_do_not_fit_the_tools_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = json.loads(json.dumps(GOOD).replace('"a": 2', '"a": "two"'))
    unknown = json.loads(json.dumps(GOOD).replace('{"name": "add", "arguments"', '{"name": "sub", "arguments"'))
    code, said, _ = data(capsys, "check", str(write(tmp_path / "a.jsonl", GOOD, wrong, unknown)), "--json")
    found = json.loads(said)
    assert (code, found["taken"]) == (0, 3)
    assert [(group["column"], group["rows"]) for group in found["remarks"]] == [("messages.*.tool_calls.*", 1)] * 2
    assert "'add'" in found["remarks"][0]["reason"]
    assert "'sub'" in found["remarks"][1]["reason"]


@pytest.mark.parametrize(
    ("rows", "named"), [([{"question": "?", "answer": 1}], "question, answer"), ([], "no rows"), (["{\n"], "row 1")]
)
def test_a_file_of_no_known_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[Any], named: str
) -> None:
    code, _, errors = data(capsys, "check", str(write(tmp_path / "a.jsonl", *rows)))
    assert code == 1
    assert "a.jsonl" in errors
    assert named in errors


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "data.jsonl", GOOD)
    code, _, errors = data(capsys, "check", str(tmp_path / "dta.jsonl"))
    assert code == 1
    assert "'data.jsonl'" in errors


def test_a_format_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(write(tmp_path / "a.jsonl", GOOD))
    assert data(capsys, "check", file, "--format", "openai")[0] == 0
    code, said, _ = data(capsys, "check", file, "--format", "sharegpt", "--json")
    assert (code, json.loads(said)["taken"]) == (1, 0)


@pytest.mark.parametrize("command", ["convert", "check"])
def test_options_are_documented(command: str) -> None:
    import typer.main

    text = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    section = text.partition("## data\n")[2].partition("\n## ")[0]
    group: Any = typer.main.get_command(cli.app)
    parameters = group.commands["data"].commands[command].params
    options = [option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)]
    for option in options:
        if option.startswith("--") and option not in ("--help", "--tools"):
            assert f"`{option}" in section, option


def test_files_of_a_folder_have_one_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.jsonl", GOOD)
    write(tmp_path / "b.jsonl", GOOD)
    assert data(capsys, "check", str(tmp_path))[0] == 0
    write(tmp_path / "c.jsonl", {"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}]})
    code, _, errors = data(capsys, "check", str(tmp_path))
    assert code == 1
    assert "a.jsonl is trl" in errors
    assert "c.jsonl is sharegpt" in errors
    write(tmp_path / "c.jsonl", {"question": "?"})
    code, said, _ = data(capsys, "check", str(tmp_path))
    assert (code, "c.jsonl, row 1)" in " ".join(said.split())) == (1, True)


@pytest.mark.parametrize("arguments", [["data"], []])
def test_a_group_without_a_command_prints_its_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run_app(arguments) == 2
    said, errors = capsys.readouterr()
    assert said == ""
    assert errors.startswith("Usage: ")
    assert "error:" not in errors
