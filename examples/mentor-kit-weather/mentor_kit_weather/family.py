"""The family `weather`: models that write a call as `<call>{"name": …, "arguments": {…}}</call>`.

`template.jinja` beside this file makes any student one of them: `student: {chat_template: template.jinja}`.
"""

from __future__ import annotations

from mentor_kit.chat.calls import CallError, call_of, read_json
from mentor_kit.chat.families import Family
from mentor_kit.chat.forms import Form, json_call
from mentor_kit.chat.markup import MarkupParser, Syntax
from mentor_kit.core.conversation import ToolCall

OPEN, CLOSE = "<call>", "</call>"


def _read(text: str, start: int) -> tuple[list[ToolCall], int]:
    """Read the call that begins at `start`; return it, and where it ends."""
    value, end = read_json(text, start + len(OPEN))
    if not text.startswith(CLOSE, end):
        raise CallError(f"{CLOSE} is missing")
    after = end + len(CLOSE)
    return [call_of(value, text[start:after])], after


_SYNTAX = Syntax(OPEN, CLOSE, _read)

WEATHER_FAMILY = Family(
    "weather",
    "students with this package's chat template",
    lambda in_reasoning: MarkupParser(_SYNTAX, in_reasoning=in_reasoning),
    # how calls are written, for audits of rewards and the reward term `format`
    Form(OPEN, CLOSE, json_call(OPEN, CLOSE), is_json=True),
)
