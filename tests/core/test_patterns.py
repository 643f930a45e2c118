"""Patterns of ECMA-262 and Rust in Python's syntax; `regex` knows Unicode's properties by itself."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.core.patterns import python_pattern

regex = pytest.importorskip("regex")

CATEGORIES = ("L", "Lu", "Ll", "Lt", "N", "Nd", "P", "Pd", "S", "Sc", "Z", "Zs", "M", "Cc")
#: Characters that all versions of Unicode agree on.
CHARACTERS = st.sampled_from([*"aZ09 _-.$€ßÄǅ五١½«—\t\n\u0301\u00a0", "𝔸"])


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (r"^\p{L}+$", "Straße", "a1"),
        (r"^\p{Letter}+$", "五", "5"),
        (r"^\p{Uppercase_Letter}$", "Ä", "ä"),
        (r"^\p{gc=Nd}+$", "١2", "½"),
        (r"^\pL$", "ß", "_"),
        (r"^\P{L}$", "1", "l"),
        (r"^\p{^L}$", "1", "l"),
        (r"^[\p{L}\d_-]+$", "ä-1_", "a b"),
        (r"^[^\p{L}]+$", "12", "1a"),
        (r"^[\P{L}]+$", "12", "1a"),
        (r"^(?<year>\d{4})-\k<year>$", "2026-2026", "2026-2025"),
        (r"^\u{1F600}\p{L}$", "\U0001f600a", "a"),
        (r"^\cA\p{L}$", "\x01a", "aa"),
        (r"^[^]\p{L}$", "\na", "a"),
        (r"^\p{L}\z", "a", "a\n"),
        (r"^(?<=)\p{L}$", "a", "1"),
    ],
)
def test_what_a_pattern_matches(pattern: str, matching: str, other: str) -> None:
    translated = python_pattern(pattern)
    assert re.search(translated, matching)
    assert not re.search(translated, other)


@pytest.mark.parametrize("pattern", [r"^a+$", r"[a-z]", r"\d{3}", r"(?P<x>a)(?P=x)", "[]a]", "", r"^\\p{2}$"])
def test_what_python_reads_stays(pattern: str) -> None:
    assert python_pattern(pattern) == pattern


@pytest.mark.parametrize(
    "pattern", ["(", "[a", r"\p{Script=Latin}", r"\p{Nonsense}", "a**", r"\p{L}(", r"\q", r"(?<=a+)b"]
)
def test_what_python_cannot_say_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        python_pattern(pattern)


@given(st.sampled_from(CATEGORIES), st.booleans(), st.booleans(), CHARACTERS)
def test_properties_are_those_of_unicode(category: str, is_other: bool, is_in_class: bool, character: str) -> None:
    escape = rf"\{'P' if is_other else 'p'}{{{category}}}"
    pattern = f"^[{escape}#]$" if is_in_class else f"^{escape}$"
    assert bool(re.search(python_pattern(pattern), character)) == bool(regex.search(pattern, character))
