"""The format: what it reads and writes, what it refuses, and its dialogues in a run."""

from __future__ import annotations

from importlib.resources import files

import pytest
from mentor_kit import api
from mentor_kit.core.conversation import assistant, call, system, user
from mentor_kit.core.data_format import DataFormatError, Dialogue
from mentor_kit.testing.data_formats import DataFormatContract

ROW = {
    "chat": [
        {"user": "How warm is it in Oslo?"},
        {"call": "temperature", "arguments": {"city": "Oslo"}},
        {"result": "3"},
        {"assistant": "It is 3 °C."},
    ],
    "functions": [{"name": "temperature", "description": "", "parameters": {"type": "object", "properties": {}}}],
}


@pytest.fixture
def data_format(build):
    return build("formats", "weather")


class TestContract(DataFormatContract):
    @pytest.fixture
    def data_format(self, build):
        return build("formats", "weather")

    def rows(self):
        return [ROW]


def test_a_row_is_read_and_written_again(data_format):
    assert data_format.recognizes(ROW)
    dialogue = data_format.read(ROW)
    assert [message.role for message in dialogue.messages] == ["user", "assistant", "tool", "assistant"]
    assert dialogue.messages[1].tool_calls == (call("temperature", city="Oslo"),)
    assert dialogue.messages[2].result.name == "temperature"
    assert data_format.write(dialogue) == ROW


@pytest.mark.parametrize("row", [{}, {"chat": "hello"}, {"chat": []}, {"chat": [{"role": "user"}]}])
def test_rows_of_other_formats_are_not_recognized(data_format, row):
    assert not data_format.recognizes(row)


@pytest.mark.parametrize("line", ["hello", {"role": "user"}, {"result": "3"}])
def test_a_line_that_cannot_be_read_is_named(data_format, line):
    with pytest.raises(DataFormatError) as caught:
        data_format.read({"chat": [{"user": "?"}, line]})
    assert caught.value.column == "chat.1"


@pytest.mark.parametrize(
    "message",
    [
        system("Be brief."),
        assistant("4", reasoning="2 + 2"),
        assistant("I add.", calls=[call("add")]),
        assistant(calls=[call("add"), call("add")]),
    ],
)
def test_what_it_cannot_say_is_refused(data_format, message):
    with pytest.raises(DataFormatError) as caught:
        data_format.write(Dialogue(messages=(user("?"), message)))
    assert caught.value.column == "messages.1"


def test_its_recipe_trains_on_the_packages_dialogues(tmp_path):
    recipe = str(files("mentor_kit_weather") / "dialogues.yaml")
    run = api.run(recipe, overrides={"train.0.steps": 1}, output=tmp_path)
    assert [event.step for event in run.events if event.kind == "step"] == [1]
    assert len(run.demonstrations()) == 8
