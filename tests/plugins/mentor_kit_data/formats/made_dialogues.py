"""Makes dialogues of every kind by a seed: the words, calls, results and tools that data and students have."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from mentor_kit.core.conversation import (
    CallState,
    Message,
    ToolCall,
    ToolResult,
    assistant,
    system,
    tool_result,
    user,
)
from mentor_kit.core.data_format import Dialogue
from mentor_kit.core.task import DeclaredTool

WORDS = (
    "What is 2 + 3?",
    "Grüße an 東京 🗼",
    "two\nlines\n\n  and blanks ",
    'quotes " and \\ back\\slashes\t',
    "{braces} and [brackets]",
    "<b>tags</b> & entities &amp;",
    "0",
    "null",
    "\\boxed{5}",
)
RESULTS = (*WORDS, "", "[1, 2]", '{"a": [1, null]}', "error: no such city", "true", "3.50", '["x"]', "[not json")
SCHEMAS: tuple[dict[str, Any], ...] = (
    {"type": "object", "properties": {}},
    {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "string"}}, "required": []},
    {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}, "required": ["a", "b"]},
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city's name"},
            "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            "days": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
        "required": ["city"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {
            "filters": {
                "type": "array",
                "items": {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]},
            },
            "limit": {"type": ["integer", "null"]},
        },
    },
)
NAMES = ("add", "get_weather", "search-v2", "module.function", "f", "type", "x" * 64)
VALUES: tuple[Any, ...] = (
    0,
    -7,
    2.5,
    1e300,
    True,
    "",
    "text",
    "é",
    "5",
    '{"a": 1}',
    [],
    [1, "x"],
    {},
    {"deep": {"er": [1]}},
)


def made_dialogues(count: int, seed: int = 0) -> list[Dialogue]:
    """So many dialogues; one in twenty has something that no format can express."""
    chance = random.Random(seed)
    return [made_dialogue(chance, number) for number in range(count)]


def made_dialogue(chance: random.Random, number: int) -> Dialogue:
    tools = _tools(chance)
    messages: list[Message] = [system(chance.choice(WORDS))] if chance.random() < 0.4 else []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        messages.append(user(chance.choice(WORDS)))
        messages += _work(chance, tools)
    ending = chance.random()
    if ending < 0.1:
        messages.append(user(chance.choice(WORDS)))
    elif ending < 0.2 and tools:
        messages.append(user("More"))
        messages.append(assistant(calls=_calls(chance, tools)))
    return Dialogue(
        messages=tuple(messages),
        tools=tools,
        id=f"row/{number}" if chance.random() < 0.7 else None,
        group=chance.choice((None, "easy")),
        key=chance.choice((None, "5", "a city")),
        calls=chance.choice((None, None, (), tuple(_calls(chance, tools)) if tools else None)),
        correct=chance.choice((None, True, False)),
    )


def _tools(chance: random.Random) -> tuple[DeclaredTool, ...]:
    names = chance.sample(NAMES, chance.choice((0, 1, 1, 2, 4)))
    return tuple(
        DeclaredTool(
            name=name, description=chance.choice(("", "Does it.", WORDS[1])), parameters=chance.choice(SCHEMAS)
        )
        for name in names
    )


def _work(chance: random.Random, tools: Sequence[DeclaredTool]) -> list[Message]:
    found: list[Message] = []
    for _ in range(chance.choice((0, 1, 1, 2)) if tools else 0):
        calls = _calls(chance, tools)
        words = chance.choice(("", "", "", *WORDS))
        found.append(assistant(words, reasoning=_reasoning(chance), calls=calls))
        found += [
            tool_result(ToolResult(name=call.name, content=chance.choice(RESULTS), ok=chance.random() < 0.95))
            for call in calls
        ]
    return [*found, assistant(chance.choice(WORDS), reasoning=_reasoning(chance))]


def _reasoning(chance: random.Random) -> str:
    return chance.choice(WORDS) if chance.random() < 0.1 else ""


def _calls(chance: random.Random, tools: Sequence[DeclaredTool]) -> list[ToolCall]:
    return [_call(chance, chance.choice(tools)) for _ in range(chance.choice((1, 1, 1, 2, 3)))]


def _call(chance: random.Random, tool: DeclaredTool) -> ToolCall:
    if chance.random() < 0.01:
        return ToolCall(name=tool.name, state=CallState.MALFORMED, raw="<tool_call>{", error="no JSON")
    known = tool.parameters["properties"]
    names = [name for name in known if chance.random() < 0.8] + [
        name for name in ("more", "é") if chance.random() < 0.2
    ]
    chance.shuffle(names)
    arguments = {name: chance.choice(VALUES) for name in names}
    if "days" in known and chance.random() < 0.3:
        arguments["days"] = None
    if chance.random() < 0.01:
        arguments["more"] = chance.choice((float("inf"), [float("nan")]))
    return ToolCall(name=tool.name, arguments=arguments)
