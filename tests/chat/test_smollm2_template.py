"""The template of recipes/smollm2, which has a tool in one line: what it says of tools, and how turns are bridged."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from chat_tokenizers import HERMES, make_format

from mentor_kit.chat import ChatFormat
from mentor_kit.core.conversation import ToolResult, assistant, call, system, tool_result, user
from mentor_kit.core.tool import Tool

TEMPLATE = (Path(__file__).parents[2] / "recipes" / "smollm2" / "tools.jinja").read_text()


def look_up(table: Literal["people", "towns"], row: str, digits: int = 0) -> str:
    """Read one value of a row.

    Args:
        table: the table.
        row: the row's name, such as a person's.
        digits: how many.
    """
    return f"{table}{row}{digits}"


TOOLS = {"look_up": Tool.from_function(look_up)}
CHAT, WITH_SCHEMAS = make_format(TEMPLATE), make_format(HERMES)


def opened(chat: ChatFormat) -> str:
    return chat.tokenizer.decode(chat.open([system("Be brief."), user("Who?")], TOOLS))


def test_a_tool_is_a_line() -> None:
    text = opened(CHAT)
    line = next(line for line in text.splitlines() if line.startswith("look_up"))
    assert line == (
        'look_up(table: "people"|"towns" the table, row: string the row\'s name, such as a person\'s, '
        "digits?: integer how many) Read one value of a row."
    )
    assert "Be brief." in text
    assert len(text) < len(opened(WITH_SCHEMAS))


def test_all_but_the_tools_is_as_in_hermes() -> None:
    after = [tool_result(ToolResult(name="look_up", content="Ashton"))]
    assert CHAT.bridge(after, tools=TOOLS) == WITH_SCHEMAS.bridge(after, tools=TOOLS)
    turns = [assistant(calls=[call("look_up", table="towns", row='A "b"')]), assistant(r"\boxed{Ashton}")]
    for turn in turns:
        ids = CHAT.render_turn(turn, TOOLS)
        assert ids == WITH_SCHEMAS.render_turn(turn, TOOLS)
        parsed = CHAT.parse(ids, TOOLS)
        assert (parsed.content, [(each.name, each.arguments) for each in parsed.tool_calls]) == (
            turn.content,
            [(each.name, each.arguments) for each in turn.tool_calls],
        )
