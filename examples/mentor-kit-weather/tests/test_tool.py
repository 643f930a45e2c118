"""The tools: what the model reads of them, and what they give."""

from __future__ import annotations

import pytest
from mentor_kit.core.tool import Tool, ToolError


@pytest.fixture
def temperature(build):
    (tool,) = build("tools", "weather")
    return tool


def test_the_schema_says_what_the_model_must_know(temperature):
    parameters = Tool.from_function(temperature).parameters
    assert parameters["properties"] == {"city": {"type": "string", "description": "The city's English name."}}
    assert parameters["required"] == ["city"]


def test_the_tool_knows_its_cities(temperature):
    assert temperature("Nuuk") < temperature("Oslo") < temperature("Cairo")
    with pytest.raises(ToolError, match="'Atlantis'"):
        temperature("Atlantis")
