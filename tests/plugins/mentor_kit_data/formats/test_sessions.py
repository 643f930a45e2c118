"""Sessions for the hub's trace viewer, by the tables of huggingface.co/docs/hub/session-traces-format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from made_dialogues import made_dialogues

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import CallState, ToolCall, ToolResult, assistant, tool_result, user
from mentor_kit.core.data_format import DataFormatError, Dialogue
from mentor_kit.hooks.data_formats import data_formats
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.runs.dialogue_rows import DataFile, DialogueRow, RowFault

FORMATS = data_formats()
STS = FORMATS["sts"]
#: A session as the page shows one.
PUBLISHED = """\
{"type":"session","harness":"my-agent","id":"abc123","name":"what time is it"}
{"type":"message","message":{"role":"user","content":"what time is it?"}}
{"type":"message","message":{"role":"assistant","content":"","toolCalls":[{"id":"t1","function":{"name":"get_time","arguments":"{}"}}]}}
{"type":"message","message":{"role":"tool","toolCallId":"t1","content":"2026-07-01T15:00:00Z"}}
{"type":"message","message":{"role":"assistant","content":"it is 15:00 UTC"}}
"""
STRING = {"type": "string"}
HEADER = {
    "type": "object",
    "required": ["type", "harness", "id"],
    "properties": {"type": {"const": "session"}, "harness": STRING, "id": STRING, "name": STRING},
}
CALL = {
    "type": "object",
    "required": ["id", "function"],
    "properties": {
        "id": STRING,
        "function": {
            "type": "object",
            "required": ["name", "arguments"],
            "properties": {"name": STRING, "arguments": STRING},
        },
    },
}
MESSAGE = {
    "type": "object",
    "required": ["type", "message"],
    "properties": {
        "type": {"const": "message"},
        "message": {
            "type": "object",
            "required": ["role", "content"],
            "properties": {
                "role": {"enum": ["user", "assistant", "system", "tool"]},
                "content": STRING,
                "reasoningContent": STRING,
                "toolCalls": {"type": "array", "items": CALL},
                "toolCallId": STRING,
                "timestamp": {"type": "integer"},
                "model": STRING,
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}


def test_every_written_line_is_of_the_published_form() -> None:
    header_check, message_check = map(jsonschema.Draft202012Validator, (HEADER, MESSAGE))
    written = 0
    for dialogue in made_dialogues(300, seed=2):
        try:
            row = STS.write(dialogue)
        except DataFormatError:
            continue
        header, *messages = json.loads(json.dumps(STS.lines(row)))
        header_check.validate(header)
        assert len(messages) == len(dialogue.messages)
        known: list[str] = []
        for line in messages:
            message_check.validate(line)
            calls = line["message"].get("toolCalls", [])
            known += [call["id"] for call in calls]
            assert all(isinstance(json.loads(call["function"]["arguments"]), dict) for call in calls)
            if "toolCallId" in line["message"]:
                assert line["message"]["toolCallId"] in known
        assert len(set(known)) == len(known)
        written += 1
    assert written > 200


def read(path: Path) -> list[DialogueRow | RowFault]:
    return list(DataFile(path, FORMATS).rows())


def test_the_published_session_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(PUBLISHED)
    opened = DataFile(tmp_path / "a.jsonl", FORMATS)
    (row,) = opened.rows()
    assert opened.format_name == "sts"
    assert isinstance(row, DialogueRow)
    assert row.dialogue == Dialogue(
        id="abc123",
        messages=(
            user("what time is it?"),
            assistant(calls=[ToolCall(name="get_time")]),
            tool_result(ToolResult(name="get_time", content="2026-07-01T15:00:00Z")),
            assistant("it is 15:00 UTC"),
        ),
    )


def test_a_folder_of_sessions_and_several_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(PUBLISHED + PUBLISHED.replace("abc123", "b"))
    (tmp_path / "c.jsonl").write_text(PUBLISHED.replace("abc123", "c"))
    found = read(tmp_path)
    assert [row.dialogue.id for row in found if isinstance(row, DialogueRow)] == ["abc123", "b", "c"]
    assert [row.place.rpartition("/")[2] for row in found] == ["a.jsonl, row 1", "a.jsonl, row 6", "c.jsonl, row 1"]


def test_sessions_are_problems(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(PUBLISHED.replace("abc123", name))
    registry = default_registry()
    spec = ComponentSpec(use="conversations", options={"files": {"train": "*.jsonl"}})
    task = registry.build("tasks", spec, BuildContext(registry, recipe_folder=tmp_path))
    found = task.problems("train", 0, 9)
    assert sorted(problem.id for problem in found) == ["train/a", "train/b"]
    assert {problem.question for problem in found} == {"what time is it?"}
    assert [json.loads(problem.answer) for problem in found] == [[{"name": "get_time", "arguments": {}}]] * 2


def test_a_line_that_cannot_be_read_costs_its_session_alone(tmp_path: Path) -> None:
    lines = PUBLISHED.splitlines()
    (tmp_path / "a.jsonl").write_text(
        "\n".join([lines[1], *lines, "{", *[line.replace("abc123", "b") for line in lines]]) + "\n"
    )
    found = read(tmp_path / "a.jsonl")
    assert [(row.place.rpartition(" ")[2], type(row).__name__) for row in found] == [
        ("1", "RowFault"),
        ("2", "DialogueRow"),
        ("7", "RowFault"),
        ("8", "DialogueRow"),
    ]


def test_results_keep_their_calls_beside_a_call_that_could_not_be_read() -> None:
    calls = [
        ToolCall(name="f", state=CallState.MALFORMED, raw="<tool_call>{f"),
        ToolCall(name="f", arguments={"a": 1}),
    ]
    results = [tool_result(ToolResult(name="f", content=content)) for content in ("error: no JSON", "7")]
    row = STS.write(Dialogue(messages=(user("?"), assistant("First.", calls=calls), *results)))
    turn, first, second = row["messages"][1:]
    assert turn["content"] == "First.\n<tool_call>{f"
    (call,) = turn["toolCalls"]
    assert json.loads(call["function"]["arguments"]) == {"a": 1}
    assert "toolCallId" not in first
    assert second["toolCallId"] == call["id"]


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"role": "wizard", "content": ""}, "messages.0.role"),
        ({"content": "?"}, "messages.0.role"),
        ({"role": "user", "content": 7}, "messages.0.content"),
        ({"role": "assistant", "content": "", "toolCalls": [{"id": "1"}]}, "messages.0.toolCalls.0.name"),
        ({"role": "tool", "content": "", "toolCallId": "x"}, "messages.0"),
    ],
)
def test_what_is_wrong_with_a_session_is_named(change: Any, column: str) -> None:
    row = {"type": "session", "harness": "a", "id": "b", "messages": [change, {"role": "user", "content": "?"}]}
    with pytest.raises(DataFormatError) as caught:
        STS.read(row)
    assert caught.value.column == column
