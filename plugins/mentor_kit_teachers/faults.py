"""Classifies a server's faults: transient, of one dialogue, or of the recipe.

Servers describe faults in many forms: an object, a list, a string, nested `detail`s, a web page, nothing. Some have
status 200.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from mentor_kit.core.frozen_model import Json
from mentor_kit.core.secret import hide
from mentor_kit_teachers.retry import Rejected, Trouble, retry_after

#: Statuses that may pass: timeouts, conflicts, too early, too many requests; besides all from 500 on.
_PASSING = frozenset({408, 409, 425, 429})
#: Statuses of a dialogue that is too long, with servers' messages.
_LONG = frozenset({400, 413, 422, 500})
_TOO_LONG = (
    "context_length_exceeded",
    "context length",
    "context window",
    "context size",
    "context_size",
    "context limit",
    "maximum context",
    "prompt is too long",
    "range of input length",
    "input is too long",
    "too many tokens",
)
#: A fault of the account, whatever the status: there is no money left.
_NO_MONEY = ("insufficient_quota", "exceeded your current quota", "credit balance is too low", "billing_hard_limit")
#: A fault of one dialogue, whatever the status.
_ONE_DIALOGUE = {403: ("flagged", "moderation"), 429: ("request too large",)}
#: Keys of a server's message, the best first.
_WORDS = ("error", "message", "msg", "detail", "details", "errors", "description", "title", "reason")
#: The largest number of a list's entries that are shown.
_SHOWN = 3
_MARKUP = re.compile(r"<(script|style|head)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_PAGE = re.compile(r"\s*<(!doctype|html)\b", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.DOTALL | re.IGNORECASE)


def as_fault(error: Exception, sdk: Any) -> Exception:
    """A fault of an official package (`openai` and `anthropic` name theirs alike) as `Trouble` or `Rejected`."""
    if isinstance(error, sdk.APIStatusError):
        return status_fault(int(error.status_code), _body(error), error.response.headers)
    if isinstance(error, sdk.APITimeoutError):
        return Trouble("the server was too slow", own=True)
    if isinstance(error, sdk.APIConnectionError):
        cause = error.__cause__ or error
        return Trouble(f"no connection: {one_line(f'{type(cause).__name__}: {cause}')}")
    return Trouble(f"the response cannot be read: {one_line(f'{type(error).__name__}: {error}')}", own=True)


def status_fault(status: int, text: str, headers: Mapping[str, str]) -> Exception:
    """The fault of a response with such a status, text and headers."""
    reason = f"HTTP {status}: {words(text) or _phrase(status)}"
    lowered = text.lower()
    if any(word in lowered for word in _NO_MONEY):
        return Rejected(reason, status=402)
    if status in _LONG and any(word in lowered for word in _TOO_LONG):
        return Rejected(reason, status=status, too_long=True)
    if any(word in lowered for word in _ONE_DIALOGUE.get(status, ())):
        return Rejected(reason, status=400)
    if status in _PASSING or status >= 500:
        wait = retry_after(headers)
        return Trouble(reason, wait=wait, everyone=status == 429 or wait is not None, own=status == 500)
    return Rejected(reason, status=status)


def error_inside(reply: Mapping[str, Json]) -> Exception | None:
    """Return the fault of a response of status 200 that holds an error; None if it holds none."""
    choices = reply.get("choices")
    inner = choices[0].get("error") if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    marked = "error" in (reply.get("object"), reply.get("type"))
    error = reply.get("error") or inner or (reply if marked else None)
    if not error or (choices and not inner):
        return None
    text = json.dumps(error)
    code = (
        next((_status(error.get(key)) for key in ("code", "status") if _status(error.get(key))), 0)
        if (isinstance(error, dict))
        else 0
    )
    if code:
        return status_fault(code, text, {})
    if "unexpected endpoint" in text.lower():
        return Rejected(words(text), status=404)
    fault = status_fault(HTTPStatus.BAD_REQUEST, text, {})
    if isinstance(fault, Rejected) and (fault.too_long or not fault.of_dialogue):
        return fault
    return Trouble(f"an error in place of an answer: {words(text)}", own=True)


def words(text: str) -> str:
    """Return an error body's message in one short line without secrets: JSON, a web page, or a plain string."""
    if _PAGE.match(text):
        title = _TITLE.search(text)
        title_or_content = title.group(1) if title and title.group(1).strip() else _MARKUP.sub(" ", text)
        return one_line(f"a web page: {html.unescape(title_or_content)}")
    try:
        return one_line(_words(json.loads(text)))
    except (ValueError, RecursionError):
        return one_line(html.unescape(_MARKUP.sub(" ", text)) if text.lstrip().startswith("<") else text)


def one_line(text: str) -> str:
    """Return a server's message in one short line, without secrets: servers echo keys."""
    return hide(" ".join(text.split()))[:300]


def _words(body: Json) -> str:
    """Return the message in an error's body; its JSON where no key of a message is found."""
    if isinstance(body, str):
        return body
    if isinstance(body, list):
        return "; ".join(found for entry in body[:_SHOWN] if (found := _words(entry)))
    if not isinstance(body, dict):
        return "" if body is None else json.dumps(body)
    for key in _WORDS:
        found = _words(body[key]) if body.get(key) else ""
        if found:
            place = body.get("loc")
            return f"{'.'.join(map(str, place))}: {found}" if isinstance(place, list) else found
    return json.dumps(body, ensure_ascii=False) if body else ""


def _body(error: Any) -> str:
    try:
        return str(error.response.text)
    except Exception:  # noqa: BLE001 (a body that broke off, or in no encoding: the package's own words remain)
        return str(error.message)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"


def _status(value: Json) -> int:
    """An HTTP status of a fault; 0 if the value is none."""
    number = int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else 0
    return number if 400 <= number <= 599 else 0
