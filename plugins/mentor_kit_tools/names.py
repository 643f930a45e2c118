"""Safe names of tools for the model, mapped to the program's own names."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator

from mentor_kit.core.errors import PluginError, did_you_mean
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import SCHEMA_HINT, Tool
from mentor_kit_tools.runner import Caller

#: What every server of models takes as a tool's name.
LONGEST = 64
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_DIGITS = 6


def _is_prefix(text: str) -> str:
    if _UNSAFE.search(text) or len(text) > LONGEST // 2:
        raise ValueError(f"must be at most {LONGEST // 2} letters, digits, '_' or '-', not {text!r}")
    return text


def _is_name(text: str) -> str:
    if not text or _UNSAFE.search(text) or len(text) > LONGEST:
        raise ValueError(f"must be 1 to {LONGEST} letters, digits, '_' or '-', not {text!r}")
    return text


Prefix = Annotated[str, AfterValidator(_is_prefix)]
ToolName = Annotated[str, AfterValidator(_is_name)]


def named(
    catalogue: Json,
    origin: str,
    *,
    tools: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    prefix: str = "",
    rename: Mapping[str, str] | None = None,
) -> tuple[list[Tool], dict[str, str]]:
    """The tools of a program as a model sees them, and the program's own names by theirs.

    Args:
        catalogue: name, description and parameters of each tool.
        origin: what has these tools, for messages.
        tools: which of them, by their own names; all if empty.
        leave_out: which of them not.
        prefix: goes before all names but those of `rename`.
        rename: names for some tools, by their own names.

    Raises:
        PluginError: there is no such tool, two have one name, or a tool's parameters are no schema.
    """
    rename = rename or {}
    offered: dict[str, Json] = {}
    for one in catalogue:
        if offered.setdefault(one["name"], one) != one:
            raise PluginError(
                f"{origin} has two tools called {one['name']!r}", hint="its calls could not be distinguished"
            )
    for name in (*tools, *leave_out, *rename):
        if name not in offered:
            close = did_you_mean(name, offered)
            raise PluginError(f"{origin} has no tool {name!r}{close}", hint=f"it has: {', '.join(offered)}")
    chosen = [name for name in tools or offered if name not in leave_out]
    seen = names_of(chosen, prefix, rename)
    names = {seen[name]: name for name in chosen}
    if len(names) < len(chosen):
        twice = next(name for name in chosen if names[seen[name]] != name)
        raise PluginError(
            f"{origin}: two tools would be called {seen[twice]!r}", hint="give one another name: `rename`"
        )
    return [_tool(called, offered[name], origin) for called, name in names.items()], names


def names_of(chosen: Sequence[str], prefix: str, rename: Mapping[str, str]) -> dict[str, str]:
    """What a model calls tools, by their own names; arguments as for `named`."""
    safe = _safe({name: f"{prefix}{name}" for name in chosen if name not in rename})
    return {name: rename.get(name) or safe[name] for name in chosen}


def _safe(wanted: Mapping[str, str]) -> dict[str, str]:
    """Names that every server of models takes, by those they stand for.

    Those that are unsafe and would meet another, or are too long, end in digits that follow from what they stand for.
    """
    plain = {name: _UNSAFE.sub("_", text) for name, text in wanted.items()}
    met = Counter(plain.values())
    found = {}
    for name, text in plain.items():
        if not text or len(text) > LONGEST or (met[text] > 1 and text != wanted[name]):
            digits = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:_DIGITS]
            text = f"{text[: LONGEST - _DIGITS - 1] or 'tool'}_{digits}"
        found[name] = text
    return found


def _tool(called: str, one: Json, origin: str) -> Tool:
    tool = Tool.declared(called, one["description"], one["parameters"])
    if tool.fault:
        raise PluginError(
            f"{origin}, tool {one['name']!r}: its parameters are not a JSON schema: {tool.fault}",
            hint=f"{SCHEMA_HINT}; `tools` names those that are wanted, where there are others",
        )
    return tool


@dataclass(frozen=True)
class Renamed:
    """A session whose program calls its tools otherwise than the model does."""

    caller: Caller
    names: Mapping[str, str]

    async def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        return await self.caller.call(self.names.get(name, name), arguments)
