"""Runs an assistant's tool calls: checks them, executes the valid ones, and words the results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from mentor_kit.core.conversation import CallState, ToolCall, ToolResult
from mentor_kit.core.tool import Tool, ToolError
from mentor_kit.core.toolbox import ToolSession, check_call

#: (text, limit in tokens) -> (text that fits, whether it was cut); the cut is visible in the text.
Cut = Callable[[str, int], tuple[str, bool]]

_CHARACTERS_PER_TOKEN = 4


def cut_by_characters(text: str, max_tokens: int) -> tuple[str, bool]:
    """For agents without a tokenizer: four characters count as a token."""
    limit = max_tokens * _CHARACTERS_PER_TOKEN
    if len(text) <= limit:
        return text, False
    mark = f"… [cut: {len(text)} characters]"
    return text[: max(limit - len(mark), 0)] + mark, True


async def run_call(
    call: ToolCall, tools: Mapping[str, Tool], session: ToolSession, *, max_result_tokens: int, cut: Cut
) -> tuple[ToolCall, ToolResult]:
    """The call in its final state, and what the dialogue says about it. Never raises for a tool's fault."""
    call = check_call(call, tools)
    if call.state is CallState.VALID:
        call, text = await _execute(call, session)
    else:
        text = f"error: {call.error}"
    text, truncated = cut(text, max_result_tokens)
    return call, ToolResult(name=call.name, content=text, ok=call.state is CallState.EXECUTED, truncated=truncated)


async def _execute(call: ToolCall, session: ToolSession) -> tuple[ToolCall, str]:
    try:
        text = as_text(await session.call(call.name, call.arguments))
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a tool may raise anything, even SystemExit: its call failed
        if isinstance(error, asyncio.CancelledError) and _episode_is_cancelled():
            raise
        reason = _reason(error)
        return call.at(CallState.FAILED, reason), f"error: {reason}"
    return call.at(CallState.EXECUTED), text


def as_text(value: Any) -> str:
    """A tool's value as the model reads it: text as it is, everything else as JSON."""
    return _unicode(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def _reason(error: BaseException) -> str:
    text = _unicode(str(error)).strip()
    if isinstance(error, ToolError):
        return text or type(error).__name__
    return f"{type(error).__name__}: {' '.join(text.split()) or type(error).__name__}"


def _unicode(text: str) -> str:
    """Lone surrogates, as in odd file names, become '?': no tokenizer and no file could take them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _episode_is_cancelled() -> bool:
    """Whether the episode itself is to end; otherwise only something inside a tool was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
