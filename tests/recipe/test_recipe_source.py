"""Reading files: values as YAML 1.2 has them, and the place of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipe_helpers import write

from mentor_kit.core.errors import RecipeError
from mentor_kit.recipe.source import Place, Source, merge, read_source

KEYS = st.text("abcuse_with", min_size=1, max_size=4)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
MAPPINGS = st.dictionaries(KEYS, VALUES, max_size=4)


def read(folder: Path, text: str) -> dict[str, Any]:
    return read_source(write(folder, text)).data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("1E3", 1000.0),
        ("5.0e-4", 0.0005),
        (".inf", float("inf")),
        ("0x10", 16),
        ("0o17", 15),
        ("012", 12),
        ("yes", "yes"),
        ("on", "on"),
        ("no", "no"),
        ("true", True),
        ("&anchor true", True),
        ("&anchor 7", 7),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("2024-01-31", "2024-01-31"),
        ("[1, [2]]", [1, [2]]),
        ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_values_are_those_of_yaml_1_2(here: Path, text: str, value: object) -> None:
    found = read(here, f"key: {text}\n")["key"]
    assert found == value
    assert type(found) is type(value)


@given(MAPPINGS)
def test_what_json_says_is_read_as_json(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("json")
    found = read(folder, json.dumps(data))
    assert json.dumps(found) == json.dumps(data)  # as text, so that 1, 1.0 and true differ


@given(MAPPINGS)
def test_every_value_has_a_place_and_its_text_stands_there(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]
) -> None:
    text = json.dumps(data, indent=1, ensure_ascii=False)
    source = read_source(write(tmp_path_factory.mktemp("places"), text))
    lines = text.split("\n")

    def rest(place: Place | None) -> str:
        assert place is not None
        return "\n".join([lines[place.line - 1][place.column - 1 :], *lines[place.line :]])

    def walk(value: Any, path: tuple[str | int, ...]) -> None:
        if path:
            decoded, _ = json.JSONDecoder().raw_decode(rest(source.values[path]))
            assert json.dumps(decoded) == json.dumps(value)
        if isinstance(value, dict):
            for key, inner in value.items():
                assert rest(source.keys[(*path, key)]).startswith(json.dumps(key))
                walk(inner, (*path, key))
        if isinstance(value, list):
            for index, inner in enumerate(value):
                walk(inner, (*path, index))

    walk(data, ())


def test_the_nearest_place_around_a_missing_value(here: Path) -> None:
    source = read_source(write(here, "a:\n  b: [1, 22]\n"))
    assert str(source.place(("a", "b", 1))) == "recipe.yaml:2:10"
    assert str(source.place(("a", "b", 1, "missing"))) == "recipe.yaml:2:10"
    assert str(source.place(("a", "b"), key=True)) == "recipe.yaml:2:3"
    assert str(source.place(("a", "x"), key=True)) == "recipe.yaml:2:3"
    assert str(source.place(("other",))) == "recipe.yaml:1:1"


def test_merge_keys_of_yaml_are_followed(here: Path) -> None:
    assert read(here, "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n")["b"] == {"x": 1, "y": 3}


WRONG = {
    "a: 1\nb: 2\na: 3\n": "recipe.yaml:3:1: not valid YAML: found duplicate key",
    "a: [1,\n": "recipe.yaml:2:1: not valid YAML: ",
    "a: b: c\n": "recipe.yaml:1:5: not valid YAML: ",
    "a: 1\n---\nb: 2\n": "recipe.yaml:2:1: not valid YAML: ",
    "a: !!python/object/apply:os.system ['true']\n": "recipe.yaml:1:",
    "a: !secret x\n": "recipe.yaml:1:4: a: YAML tags such as !secret",
    "- 1\n": "recipe.yaml: a recipe is a mapping",
    "": "recipe.yaml: a recipe is a mapping",
    "just text": "recipe.yaml: a recipe is a mapping",
    "1: 2\n": "recipe.yaml:1:1: the key 1 is not a string",
    "a: {[1]: 2}\n": "recipe.yaml:1:4: the key",
    "a: " + "[" * 1200: "recipe.yaml",
    "a: \x07\n": "recipe.yaml",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: repr(text[:20]))
def test_what_is_no_recipe_is_refused_with_its_place(here: Path, text: str) -> None:
    with pytest.raises(RecipeError) as error:
        read(here, text)
    assert error.value.message.startswith(WRONG[text])
    assert "\n" not in error.value.message


def test_files_that_cannot_be_read(here: Path) -> None:
    (here / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(RecipeError, match=r"latin.yaml: cannot be read: 'utf-8' codec"):
        read_source(here / "latin.yaml")
    with pytest.raises(RecipeError, match=r"gone.yaml: cannot be read: No such file"):
        read_source(here / "gone.yaml")


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    try:
        data = read(tmp_path_factory.mktemp("any"), text.encode("utf-8", "replace").decode())
    except RecipeError:
        return
    assert isinstance(data, dict)


PLAIN = st.recursive(
    st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
)
TREES = st.dictionaries(st.sampled_from("abcd"), PLAIN, max_size=4)


def assignments(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A tree as a list of assignments, what is outside before what is inside."""
    for key, value in tree.items():
        yield (*path, key), value
        if isinstance(value, dict):
            yield from assignments(value, (*path, key))


def naive_merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Over's assignments carried out on a copy of base, one by one; a mapping is made where there is none."""
    result = json.loads(json.dumps(base))
    for (*outside, key), value in assignments(over):
        node = result
        for step in outside:
            node = node[step]
        if not isinstance(value, dict):
            node[key] = value
        elif not isinstance(node.get(key), dict):
            node[key] = {}
    return result


@given(TREES, TREES)
def test_merging_agrees_with_assignments_one_by_one(base: dict[str, Any], over: dict[str, Any]) -> None:
    assert merge(Source(base), Source(over)).data == naive_merge(base, over)


@given(TREES, TREES)
def test_merging_changes_neither_side(base: dict[str, Any], over: dict[str, Any]) -> None:
    before = json.dumps([base, over])
    merge(Source(base), Source(over))
    assert json.dumps([base, over]) == before


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        # the same part: its options are merged
        ({"use": "a", "with": {"x": 1}}, {"use": "a", "with": {"y": 2}}, {"use": "a", "with": {"x": 1, "y": 2}}),
        ({"use": "a", "with": {"x": 1}}, {"with": {"y": 2}}, {"use": "a", "with": {"x": 1, "y": 2}}),
        ({"use": "a", "with": {"x": 1}}, "a", {"use": "a", "with": {"x": 1}}),
        ("a", {"with": {"y": 2}}, {"use": "a", "with": {"y": 2}}),
        # another part: the former one's options are forgotten
        ({"use": "a", "with": {"x": 1}}, {"use": "b"}, {"use": "b"}),
        ({"use": "a", "with": {"x": 1}}, {"use": "b", "with": {"y": 2}}, {"use": "b", "with": {"y": 2}}),
        ({"use": "a", "with": {"x": 1}}, "b", {"use": "b"}),
        ("a", "b", "b"),
        # a preset and a reward of one's own replace each other
        ({"use": "a", "with": {}}, {"terms": [1]}, {"terms": [1]}),
        ({"gates": [1], "terms": [2]}, {"use": "b"}, {"use": "b"}),
        ({"gates": [1], "terms": [2]}, {"terms": [3]}, {"gates": [1], "terms": [3]}),
        # a `use` beside plain keys, as an optimizer has, leaves them alone
        ({"use": "adamw", "lr": 1}, {"use": "muon"}, {"use": "muon", "lr": 1}),
        # turned off
        ({"use": "a"}, None, None),
    ],
)
def test_a_slot_that_changes_its_part(base: object, over: object, merged: object) -> None:
    assert merge(Source({"slot": base}), Source({"slot": over})).data == {"slot": merged}


def test_places_after_a_merge_are_those_of_what_won(here: Path) -> None:
    base = read_source(write(here, "a: {use: x, with: {p: 1}}\nb: 1\nc: {d: 1, e: [1, 2]}\n", "base.yaml"))
    over = read_source(write(here, "c: {e: [9]}\na: {use: y}\n", "over.yaml"))
    merged = merge(base, over)
    assert str(merged.place(("b",))) == "base.yaml:2:4"
    assert str(merged.place(("c", "d"))) == "base.yaml:3:8"
    assert str(merged.place(("c", "e", 0))) == "over.yaml:1:9"
    assert ("c", "e", 1) not in merged.values
    assert str(merged.place(("a", "use"))) == "over.yaml:2:10"
    assert str(merged.place(("a", "with", "p"))) == "over.yaml:2:4"
