"""Parameters are described by docstrings of three styles and by annotations."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from mentor_kit.core.docstrings import read_docstring, split_choices
from mentor_kit.core.tool import Tool

GOOGLE = """The weather of a city.

    Nobody can do anything about it.

    Args:
        city: the city's name,
            as its inhabitants write it: in full
        days (int): days from now

    Returns:
        a sentence
    """
NUMPY = """The weather of a city.

    Nobody can do anything about it.

    Parameters
    ----------
    city : str
        the city's name,
        as its inhabitants write it: in full
    days : int, optional
        days from now

    Returns
    -------
    str
        a sentence
    """
SPHINX = """The weather of a city.

    Nobody can do anything about it.

    :param city: the city's name,
        as its inhabitants write it: in full
    :param int days: days from now
    :returns: a sentence
    """


class Doc:
    """As PEP 727 has it."""

    documentation = "days from now"


def described(function: Any) -> dict[str, Any]:
    properties: dict[str, Any] = Tool.from_function(function).parameters["properties"]
    return properties


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_every_style_describes_tool_and_parameters(docstring: str) -> None:
    def weather(city: str, days: int = 0) -> str:
        return city * days

    weather.__doc__ = docstring
    tool = Tool.from_function(weather)
    assert tool.description == "The weather of a city."
    assert tool.parameters["properties"] == {
        "city": {"type": "string", "description": "the city's name, as its inhabitants write it: in full"},
        "days": {"type": "integer", "description": "days from now", "default": 0},
    }


def test_annotations_describe_parameters() -> None:
    def weather(
        city: Annotated[str, "the city's name"],
        days: Annotated[int, Doc()],
        unit: Annotated[str, Field(description="the unit")],
        sky: Annotated[str, 3],
    ) -> str:
        """The weather."""
        return city

    found = {name: schema.get("description") for name, schema in described(weather).items()}
    assert found == {"city": "the city's name", "days": "days from now", "unit": "the unit", "sky": None}


def test_choices_are_an_enum() -> None:
    def weather(unit: str, sky: Literal["blue", "grey"], mood: str) -> str:
        """The weather.

        Args:
            unit: of temperatures (choices: ["celsius", "fahrenheit"])
            sky: its colour
            mood: of the inhabitants (choices: as they like)
        """
        return unit + sky + mood

    found = described(weather)
    assert found["unit"] == {"type": "string", "description": "of temperatures", "enum": ["celsius", "fahrenheit"]}
    assert found["sky"]["enum"] == ["blue", "grey"]
    assert found["mood"] == {"type": "string", "description": "of the inhabitants (choices: as they like)"}
    assert Tool.from_function(weather).check({"unit": "kelvin", "sky": "blue", "mood": "good"})
    assert not Tool.from_function(weather).check({"unit": "celsius", "sky": "blue", "mood": "good"})


def test_transformers_reads_google_style_alike() -> None:
    utils = pytest.importorskip("transformers.utils")

    def weather(city: str, unit: str = "celsius") -> str:
        """The weather of a city.

        Args:
            city: the city's name
            unit: of the temperature (choices: ["celsius", "fahrenheit"])
        """
        return city + unit

    theirs = utils.get_json_schema(weather)["function"]["parameters"]["properties"]
    ours = described(weather)
    for name, schema in theirs.items():
        assert schema.items() <= ours[name].items()


WORDS = st.lists(st.from_regex(r"[A-Za-z]{1,8}", fullmatch=True), min_size=1, max_size=6).map(" ".join)


@given(st.dictionaries(st.from_regex(r"[a-z]{3,8}", fullmatch=True), WORDS, min_size=1, max_size=4))
def test_what_is_written_in_a_section_is_read(parameters: dict[str, str]) -> None:
    lines = "".join(f"    {name}: {words}\n" for name, words in parameters.items())
    assert read_docstring(f"Do it.\n\nArgs:\n{lines}").parameters == parameters


@given(st.text())
def test_any_string_can_be_read(docstring: str) -> None:
    found = read_docstring(docstring)
    assert "\n" not in found.summary
    assert split_choices(docstring)[0] == docstring or split_choices(docstring)[1] is not None
