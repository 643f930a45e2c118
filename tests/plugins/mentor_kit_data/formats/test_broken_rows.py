"""Whatever a row holds, a reader gives a dialogue or a fault that names a column; nothing else is raised."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from published_rows import MAKERS, rows

from mentor_kit.core.conversation import CallState
from mentor_kit.core.data_format import DataFormatError, Dialogue
from mentor_kit.core.tool import Tool
from mentor_kit.hooks.data_formats import data_formats

FORMATS = {name: one for name, one in data_formats().items() if one.can_read}
KEYS = st.sampled_from(["role", "from", "value", "content", "name", "function", "x"])
STRINGS = st.text(max_size=8) | st.sampled_from(["[", "{}", "[]", '{"a"', "<tools>"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | STRINGS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


@st.composite
def damaged_rows(draw: st.DrawFn) -> dict[str, Any]:
    """A published row with something else, or nothing, at one or two of its places."""
    row = copy.deepcopy(rows(draw(st.sampled_from(sorted(MAKERS))))[draw(st.sampled_from([0, 2, 4, 9]))])
    for _ in range(draw(st.integers(1, 2))):
        choices = [place for place in places(row) if place]
        *path, last = draw(st.sampled_from(choices))
        inside: Any = row
        for step in path:
            inside = inside[step]
        if draw(st.booleans()):
            inside[last] = draw(VALUES)
        else:
            del inside[last]
        if not row:
            break
    return row


@given(damaged_rows(), st.sampled_from(sorted(FORMATS)))
def test_a_damaged_row_is_a_dialogue_or_a_fault(row: dict[str, Any], name: str):
    before = copy.deepcopy(row)
    assert FORMATS[name].recognizes(row) in (True, False)
    reason = ""
    try:
        dialogue: Dialogue | None = FORMATS[name].read(row)
    except DataFormatError as error:
        dialogue, reason = None, error.reason
    assert row == before
    if dialogue is None:
        assert reason
        return
    assert Dialogue.from_json(dialogue.to_json()) == dialogue
    assert any(message.role == "user" for message in dialogue.messages)
    for tool in dialogue.tools:
        assert Tool.declared(tool.name, tool.description, tool.parameters).fault == ""
    for message in dialogue.messages:
        assert (message.result is not None) == (message.role == "tool")
        if name not in ("mentor",):
            assert all(call.state is CallState.PARSED and call.name for call in message.tool_calls)
