"""Results put into a template against the templates' own rendering of them."""

from __future__ import annotations

import pytest
from family_formats import SAMPLES, Sample, format_of
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.chat.template_cache import ResultTemplate, plain_results, result_template
from mentor_kit.core.conversation import Message, ToolResult, tool_result
from mentor_kit.core.tool import Tool

KINDS = {sample.family: sample for sample in SAMPLES}
RESULTS = st.lists(st.from_regex(r"\A[0-9A-Za-z.,+\-]{1,9}( [0-9A-Za-z.,+\-]{1,9}){0,3}\Z"), min_size=1, max_size=3)


def look_up(key: str) -> str:
    """Look a word up.

    Args:
        key: the word.
    """
    return key


TOOLS = {"look_up": Tool.from_function(look_up)}


def messages(contents: list[str]) -> list[Message]:
    return [tool_result(ToolResult(name="look_up", content=content, ok=True, truncated=False)) for content in contents]


@pytest.mark.parametrize("sample", KINDS.values(), ids=KINDS)
@given(contents=RESULTS)
def test_the_same_text_as_the_templates(sample: Sample, contents: list[str]) -> None:
    renderer = format_of(sample.name)._renderer
    said = messages(contents)
    given_tools = [tool.schema for tool in TOOLS.values()]
    try:
        expected = renderer._bridge(list(renderer._forms(said)), given_tools)
    except Exception as error:  # noqa: BLE001 (a template may refuse several results; then both must)
        with pytest.raises(type(error)):
            renderer.bridge(said, TOOLS)
        return
    assert renderer.bridge(said, TOOLS) == expected


def form(content: str) -> dict[str, object]:
    return {"role": "tool", "name": "look_up", "content": content}


@pytest.mark.parametrize("content", ["", " 1", "a  b", "{1}", "ä", "1\n", '"', "<x>"])
def test_what_is_not_plain(content: str) -> None:
    assert not plain_results([form(content)])


def test_pieces_around_results() -> None:
    found = result_template(
        [form("1"), form("2")], lambda forms: ("<end>", f"({forms[0]['content']}|{forms[1]['content']})")
    )
    assert found == ResultTemplate("<end>", ("(", "|", ")"))
    assert found.filled(["a", "b b"]) == "(a|b b)"


@pytest.mark.parametrize(
    "change",
    [str.upper, lambda text: text.replace(",", "."), lambda text: text + text, lambda text: text[:5], lambda text: ""],
)
def test_templates_that_change_results_have_none(change: object) -> None:
    assert result_template([form("1")], lambda forms: ("", f"({change(forms[0]['content'])})")) is None  # type: ignore[operator]


def test_templates_that_tell_the_length_have_none() -> None:
    assert (
        result_template([form("1")], lambda forms: ("", f"{len(str(forms[0]['content']))}:{forms[0]['content']}"))
        is None
    )
