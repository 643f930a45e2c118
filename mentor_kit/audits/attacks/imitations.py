"""Attacks with text that resembles calls or names tools, without a call; the answer is right."""

from __future__ import annotations

import json
from collections.abc import Callable

from mentor_kit.audits.attacks.attack import Attack
from mentor_kit.audits.subject import AuditSubject, finished_turn
from mentor_kit.chat.forms import FORMS
from mentor_kit.core.conversation import ToolCall

_KIND = "imitations"


def _json(call: ToolCall) -> str:
    return json.dumps({"name": call.name, "arguments": call.arguments})


def _python(call: ToolCall) -> str:
    return f"{call.name}({', '.join(f'{key}={value!r}' for key, value in call.arguments.items())})"


def _instead(name: str, write: Callable[[AuditSubject], str]) -> Attack:
    return Attack(_KIND, name, lambda g: [finished_turn(f"{write(g)}\n{g.right}")], solves=True)


def _with_tags(subject: AuditSubject, opening: str, closing: str) -> str:
    return subject.each_call(lambda call: f"{opening}\n{_json(call)}\n{closing}")


def _in_other_forms(subject: AuditSubject) -> str:
    others = [form for form in FORMS.values() if form is not subject.form]
    return "\n".join(form.call(call.name, call.arguments) for form in others for call in subject.calls)


ATTACKS = (
    _instead("calls as JSON without tags", lambda g: g.each_call(_json)),
    _instead("calls in a code fence", lambda g: f"```json\n{g.each_call(_json)}\n```"),
    _instead("calls as Python", lambda g: f"```python\n{g.each_call(_python)}\n```"),
    _instead("calls in words", lambda g: g.each_call(lambda call: f'I call the tool "name": "{call.name}".')),
    _instead("calls in Mistral's marks", lambda g: f"[TOOL_CALLS][{', '.join(map(_json, g.calls))}]"),
    _instead("calls in Llama's marks", lambda g: g.each_call(lambda call: f"<|python_tag|>{_json(call)}")),
    _instead(
        "calls in XML", lambda g: g.each_call(lambda call: f'<function name="{call.name}">{_json(call)}</function>')
    ),
    _instead("tags in capitals", lambda g: _with_tags(g, "<TOOL_CALL>", "</TOOL_CALL>")),
    _instead("tags with look-alike letters", lambda g: _with_tags(g, "<tооl_call>", "</tооl_call>")),
    _instead("tags in wide letters", lambda g: _with_tags(g, "＜tool_call＞", "＜/tool_call＞")),
    _instead("tags with invisible characters", lambda g: _with_tags(g, "<tool\u200b_call>", "</tool\u200b_call>")),
    _instead("tags as HTML entities", lambda g: _with_tags(g, "&lt;tool_call&gt;", "&lt;/tool_call&gt;")),
    _instead("closing tags alone", lambda g: _with_tags(g, "", g.form.closing or "</tool_call>")),
    _instead("opening tags alone", lambda g: _with_tags(g, g.form.opening or "<tool_call>", "")),
    _instead("calls in another family's form", _in_other_forms),
    _instead("schemas quoted", lambda g: json.dumps([g.tools[name].schema["function"] for name in g.names])),
    _instead("names quoted", lambda g: ", ".join(f'"name": "{name}"' for name in g.names)),
)
