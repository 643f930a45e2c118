"""The family: what its parser reads, and that the package's chat template is one of it."""

from __future__ import annotations

from importlib.resources import files

import pytest
from mentor_kit import api
from mentor_kit.core.conversation import CallState


@pytest.fixture
def parser(build):
    return build("families", "weather").parser(False)


def test_a_call_is_read(parser):
    message = parser.parse('It is cold. <call>{"name": "add", "arguments": {"a": 1}}</call>')
    (call,) = message.tool_calls
    assert (message.content.strip(), call.name, call.arguments) == ("It is cold.", "add", {"a": 1})


@pytest.mark.parametrize("text", ["<call>", "<call>{}</call>", '<call>{"name": "add"', "<call>[1]</call>"])
def test_what_cannot_be_read_is_a_malformed_call(parser, text):
    (call,) = parser.parse(text).tool_calls
    assert call.state is CallState.MALFORMED


def test_a_student_with_the_template_is_of_the_family():
    template = files("mentor_kit_weather") / "template.jinja"
    student = {"model": "tiny-student", "chat_template": str(template)}
    shown = api.preview("quickstart", overrides={"student": student}, problems=1)
    (demonstration,) = shown.problems[0].demonstrations
    text = "".join(span.string for span in demonstration.spans)
    assert "<call>{" in text
    assert not demonstration.faults
