"""Translates the regular expressions of JSON schemas (ECMA-262's or Rust's syntax) to Python's syntax."""

from __future__ import annotations

import re
import sys
import unicodedata
import warnings
from collections.abc import Callable
from functools import lru_cache

#: Unicode's general categories by the long names that patterns may use.
_CATEGORIES = {
    "letter": "L", "cased_letter": "LC", "uppercase_letter": "Lu", "lowercase_letter": "Ll", "titlecase_letter": "Lt",
    "modifier_letter": "Lm", "other_letter": "Lo", "mark": "M", "combining_mark": "M", "nonspacing_mark": "Mn",
    "spacing_mark": "Mc", "enclosing_mark": "Me", "number": "N", "decimal_number": "Nd", "digit": "Nd",
    "letter_number": "Nl", "other_number": "No", "punctuation": "P", "connector_punctuation": "Pc",
    "dash_punctuation": "Pd", "open_punctuation": "Ps", "close_punctuation": "Pe", "initial_punctuation": "Pi",
    "final_punctuation": "Pf", "other_punctuation": "Po", "symbol": "S", "math_symbol": "Sm", "currency_symbol": "Sc",
    "modifier_symbol": "Sk", "other_symbol": "So", "separator": "Z", "space_separator": "Zs", "line_separator": "Zl",
    "paragraph_separator": "Zp", "other": "C", "control": "Cc", "format": "Cf", "surrogate": "Cs", "private_use": "Co",
    "unassigned": "Cn",
}  # fmt: skip
_SHORT = {*_CATEGORIES.values()}

_TOKEN = re.compile(
    r"\\(?P<not>[pP])(?:\{(?P<property>[^}]*)\}|(?P<letter>\w))"
    r"|\\u\{(?P<code>[0-9A-Fa-f]+)\}"
    r"|\\c(?P<control>[A-Za-z])"
    r"|\\k<(?P<backref>\w+)>"
    r"|(?P<end>\\z)"
    r"|(?P<escape>\\.)"
    r"|\(\?<(?P<group>\w+)>"
    r"|(?P<any>\[\^\])|(?P<none>\[\])"
    r"|(?P<open>\[\^?)|(?P<close>\])"
    r"|(?P<plain>.)",
    re.DOTALL,
)


@lru_cache(maxsize=4096)
def python_pattern(pattern: str) -> str:
    """Return the pattern in Python's syntax, unchanged if it is valid there.

    Raises:
        ValueError: Python has no equivalent; the message names what is missing.
    """
    if not (fault := _fault(pattern)):
        return pattern
    translated = _translated(pattern)
    if fault := _fault(translated):
        raise ValueError(f"{pattern!r} is no pattern that can be read here: {fault}")
    return translated


def _fault(pattern: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return str(error)
    return ""


def _translated(pattern: str) -> str:
    written, inside = [], False
    for token in _TOKEN.finditer(pattern):
        kind, text = str(token.lastgroup), token[0]
        if kind in ("open", "close") and inside == (kind == "open"):
            written.append(text)  # a bracket that opens or closes nothing
            continue
        inside = kind == "open" or (inside and kind != "close")
        written.append(_WORDS[kind](token, inside) if kind in _WORDS else text)
    return "".join(written)


def _of_property(token: re.Match[str], inside: bool) -> str:
    name = token["property"] or token["letter"]
    is_other = (token["not"] == "P") != name.startswith("^")
    ranges = _ranges(_category(name.removeprefix("^")), is_other)
    return ranges if inside else f"[{ranges}]"


def _category(name: str) -> str:
    """Return the short name of a general category."""
    plain = re.sub(r"^(gc|general_category)\s*=\s*", "", name.strip(), flags=re.IGNORECASE)
    short = _CATEGORIES.get(plain.lower().replace(" ", "_"), plain)
    if short not in _SHORT:
        raise ValueError(
            f"\\p{{{name}}}: of Unicode's properties only general categories, such as L or Lu, are known here"
        )
    return short


@lru_cache(maxsize=64)
def _ranges(category: str, is_other: bool) -> str:
    r"""Return the characters of a category, or all others, as the inside of a `[…]`."""
    wanted = {"Lu", "Ll", "Lt"} if category == "LC" else {known for known in _all() if known.startswith(category)}
    found: list[str] = []
    start = None
    for code in range(sys.maxunicode + 2):
        is_in = code <= sys.maxunicode and (unicodedata.category(chr(code)) in wanted) != is_other
        if is_in and start is None:
            start = code
        elif not is_in and start is not None:
            found.append(f"\\U{start:08x}-\\U{code - 1:08x}")
            start = None
    return "".join(found)


def _all() -> set[str]:
    return {short for short in _SHORT if len(short) == 2 and short != "LC"}


_WORDS: dict[str, Callable[[re.Match[str], bool], str]] = {
    "property": _of_property,
    "letter": _of_property,
    "code": lambda token, inside: f"\\U{int(token['code'], 16):08x}",
    "control": lambda token, inside: f"\\x{ord(token['control'].upper()) - 64:02x}",
    "backref": lambda token, inside: f"(?P={token['backref']})",
    "group": lambda token, inside: token[0] if inside else f"(?P<{token['group']}>",
    "end": lambda token, inside: token[0] if inside else "\\Z",
    "any": lambda token, inside: token[0] if inside else r"[\s\S]",
    "none": lambda token, inside: token[0] if inside else "(?!)",
}
