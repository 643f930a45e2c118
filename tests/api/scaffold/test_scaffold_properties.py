"""Names and data that nobody thought of: they are refused with an error of ours, or what is made of them is right."""

from __future__ import annotations

import json
import keyword
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit import api
from mentor_kit.api.scaffold.data_look import COLUMNS
from mentor_kit.api.scaffold.names import PluginNames
from mentor_kit.api.scaffold.recipe import new_recipe
from mentor_kit.core.errors import MentorKitError, UsageError

NAMES = st.one_of(st.text(max_size=30), st.from_regex(r"[a-zA-Z0-9._-]{1,30}", fullmatch=True))
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1000, 1000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.lists(
        st.one_of(st.text(max_size=5), st.dictionaries(st.sampled_from(["name", "arguments"]), st.text())), max_size=3
    ),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)
FIELDS = sorted({name for names in COLUMNS.values() for name in names} | {"messages", "tools", "conversations", "id"})
ROWS = st.lists(st.dictionaries(st.sampled_from(FIELDS), CELLS, max_size=5), max_size=4)


@given(NAMES)
def test_every_name_is_refused_or_makes_names_for_pypi_and_python(name: str) -> None:
    try:
        names = PluginNames.of(name)
    except UsageError:
        return
    # PEP 508, and PEP 503's normal form
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", names.distribution)
    for identifier in (names.package, names.snake, names.camel):
        assert identifier.isidentifier()
        assert identifier.isascii()
    assert not keyword.iskeyword(names.package)
    # a name's own names are the same again
    assert PluginNames.of(names.distribution) == PluginNames.of(names.package) == names


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(ROWS)
def test_every_file_is_refused_or_makes_a_recipe_that_passes_its_check(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        try:
            found = new_recipe(data, folder=Path(folder) / "new")
        except MentorKitError:
            assert [path.name for path in Path(folder).iterdir()] == ["data.jsonl"]
            return
        assert found.look is not None
        assert found.look.rows - found.look.faulty > 0
        api.check(found.recipe)
