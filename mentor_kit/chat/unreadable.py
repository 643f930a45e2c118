"""Renders turns with malformed calls: no template can render such a call, so its raw string is inserted.

A student's malformed call is kept whole, with its marks. Of a server's call only the arguments' text is known, so the
family's form (`mentor_kit.chat.forms`) writes the call around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from mentor_kit.chat.calls import essence
from mentor_kit.chat.forms import Form, Literal
from mentor_kit.chat.parsing import Parser
from mentor_kit.core.conversation import CallState, ToolCall
from mentor_kit.core.errors import ChatError


@dataclass(frozen=True)
class CallWriter:
    """Writes the calls of a turn without a template."""

    parser: Parser
    """The family's."""
    form: Form | None = None
    """The family's syntax; None where it has none."""
    before: str = ""
    """What the template writes before a turn's words: the calls stand behind it."""
    stops: frozenset[str] = frozenset()
    """Tokens that end a turn, so that no call within one has them."""

    def parts(self, calls: Sequence[ToolCall]) -> list[tuple[str, list[ToolCall]]]:
        """Return the strings of calls, one after the other, and the calls that the parser reads from each.

        Raises:
            ChatError: the text of a malformed call is not known.
        """
        found: list[tuple[str, list[ToolCall]]] = []
        for raw, group in groupby(calls, key=lambda call: call.raw):
            made = list(group)
            # some families write one list of all calls
            shared = self._own_text(raw, made)
            found += [shared] if shared else [self._part(call) for call in made]
        return found

    def _part(self, call: ToolCall) -> tuple[str, list[ToolCall]]:
        """A call's own text if that is all of it, or the family's form around it."""
        malformed = _is_malformed(call)
        if malformed and not call.raw:
            raise ChatError("a turn with a malformed call cannot be written again: the call's text is not known")
        if own := self._own_text(call.raw, [call]):
            return own
        if self.form is None:
            return call.raw, [call]
        if not malformed:
            return self._without_stop(self.form.call(call.name, call.arguments)), [call]
        text = self._without_stop(self.form.call(call.name, Literal(call.raw)))
        parsed = self._parsed(text)
        # the form's marks belong to the call now; the caller checks what is read from it
        raw = parsed[0].raw if len(parsed) == 1 and call.raw.strip() in parsed[0].raw else text
        return text, [call.model_copy(update={"raw": raw})]

    def _own_text(self, raw: str, calls: Sequence[ToolCall]) -> tuple[str, list[ToolCall]] | None:
        """What was read of calls, if that is these calls and nothing else; with marks around it that it may need."""
        text = self._without_stop(raw)
        around = [("", "")]
        begins = self.form.turn[0] if self.form is not None and self.form.content_mark else ""
        if begins and not text.startswith(begins):
            around.insert(0, (begins, ""))  # all messages of a turn have it, but the first one's is in the prompt
        if self.form is not None:
            around.insert(0, (self.form.opening, self.form.closing))  # of a list, of which this is one
        texts = (text.strip(), (begins + text).strip())
        for first, last in around if text.strip() else []:
            parsed = self._parsed(f"{first}{text}{last}")
            if len(parsed) == len(calls) and all(
                other.raw.strip() in texts if _is_malformed(one) else essence(one) == essence(other)
                for one, other in zip(calls, parsed, strict=True)
            ):
                calls_read = [
                    one.model_copy(update={"raw": other.raw}) for one, other in zip(calls, parsed, strict=True)
                ]
                return f"{first}{text}{last}", calls_read
        return None

    def _parsed(self, text: str) -> tuple[ToolCall, ...]:
        """The calls that a text is; none if it has words, too."""
        parsed = self.parser.parse(self.before + text)
        return () if parsed.content.strip() else parsed.tool_calls

    def _without_stop(self, text: str) -> str:
        text = text.rstrip()
        stop = next((token for token in self.stops if text.endswith(token)), "")
        return text.removesuffix(stop).rstrip() if stop else text


def _is_malformed(call: ToolCall) -> bool:
    return call.state is CallState.MALFORMED
