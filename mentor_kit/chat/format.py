"""A dialogue as tokens: the prompt once, then only the tokens between the sampled turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from mentor_kit.chat.calls import canonical, essence, valid_unicode
from mentor_kit.chat.families import BUILT_IN, Family, families
from mentor_kit.chat.lru import LRUCache
from mentor_kit.chat.markup import MarkupParser
from mentor_kit.chat.parsing import HermesParser, Parser, ResponseTemplateParser, parse
from mentor_kit.chat.rendering import Renderer
from mentor_kit.chat.tokenizer import ChatTokenizer
from mentor_kit.chat.truncation import truncate
from mentor_kit.core.conversation import CallState, Message, ToolCall, assistant, call
from mentor_kit.core.errors import ChatError
from mentor_kit.core.tool import Tool
from mentor_kit.hooks.registry import Registry

_GIVE_ANOTHER = "give one that does in the recipe: `student: {chat_template: hermes}` or a file"
_UNKNOWN = (
    "a plugin can teach mentor-kit this family: a parser, by the hook `register_families` "
    "(docs/families.md); or give another template: `student: {chat_template: hermes}`"
)
_HERMES = next(family for family in BUILT_IN if family.name == "hermes")
_PROBE = assistant(calls=[call("probe", text="a", number=1)])
_MORE_PROBES = (assistant("Words."), assistant(reasoning="Hm.", calls=_PROBE.tool_calls))


class ChatFormat:
    """Turns dialogues into tokens and sampled tokens into messages, for one tokenizer.

    Control tokens in the content of users and tools are broken by a space, so that they cannot alter the template.

    Args:
        tokenizer: with its chat template.
        parser: reads the assistant's turns; None chooses one (`choose_parser`).
        registry: the plugins whose families are known; those of this environment if left out.

    Raises:
        ChatError: the template does not end an assistant's turn with a special token.
    """

    def __init__(
        self, tokenizer: ChatTokenizer, parser: Parser | None = None, *, registry: Registry | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self._families = families(registry)
        self._renderer = Renderer(tokenizer)
        self.parser, self.family = (parser, None) if parser else _choose(tokenizer, self._renderer, self._families)
        """Reads the assistant's turns; and the family it belongs to, None for a parser from elsewhere."""
        form = None if self.family is None else self.family.written
        self._renderer.family = (self.parser, form)
        self._escape = form.escape if form else None
        if isinstance(self.parser, MarkupParser):
            self._renderer.think = self.parser.think
        self._opened: LRUCache[tuple[tuple[int, ...], tuple[Tool, ...]]] = LRUCache(256)
        self._first: LRUCache[tuple[int, ...]] = LRUCache(16)
        self._inserted: LRUCache[tuple[tuple[int, ...], tuple[Tool, ...]]] = LRUCache(4096)
        self._question_ids = tokenizer.encode(self._renderer.question_prompt)

    @property
    def turn_openings(self) -> tuple[str, ...]:
        """The texts that begin an assistant's turn in a prompt: after a user's message, and after a tool's result."""
        return self._renderer.turn_openings

    @property
    def stops(self) -> frozenset[str]:
        """The special tokens with which the template ends an assistant's turn, as text."""
        return self._renderer.traits.stops

    @property
    def reasoning_marks(self) -> tuple[str, str]:
        """The marks before and after reasoning."""
        return self._renderer.think

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end a turn: the template's own, and the tokenizer's end of text."""
        found = {self.tokenizer.special[token] for token in self._renderer.traits.stops}
        return frozenset(found if self.tokenizer.eos_id is None else {*found, self.tokenizer.eos_id})

    def open(self, messages: Sequence[Message], tools: Mapping[str, Tool]) -> list[int]:
        """The prompt: the messages a dialogue begins with, the tools, and the opening of the assistant's turn.

        Raises:
            ChatError: the template refuses the messages, or there are tools and it does not show them.
        """
        if tools and self._tool_fault:
            raise ChatError(
                f"the chat template of {self.tokenizer.name!r} {self._tool_fault}",
                hint=_UNKNOWN if self._tool_fault.startswith("writes") else _GIVE_ANOTHER,
            )
        ids, _ = self._opened.get(_key(messages, tools), lambda: (self._open(messages, tools), tuple(tools.values())))
        return list(ids)

    def bridge(self, messages: Sequence[Message], *, tools: Mapping[str, Tool], closed: bool = True) -> list[int]:
        """The ids to insert after a sampled turn, up to the assistant's next turn.

        Args:
            messages: the messages after the turn: tool results, or a user's.
            tools: the dialogue's tools.
            closed: whether the turn ended with its stop token; if not, it is inserted first.

        Raises:
            ChatError: the template changes the turn's end when messages follow.
        """
        key = (closed, _key(messages, tools))
        ids, _ = self._inserted.get(key, lambda: (self._bridge(messages, tools, closed), tuple(tools.values())))
        return list(ids)

    def parse(self, ids: Sequence[int], tools: Mapping[str, Tool] | None = None) -> Message:
        """Return the message that sampled ids stand for, with or without their stop token. Never raises.

        With the dialogue's tools, values that a family writes bare are read by their schemas.
        """
        end = len(ids) - 1 if ids and ids[-1] in self.stop_ids else len(ids)
        return parse(self.parser, self.tokenizer.decode(ids[:end]), tools)

    def render_turn(self, message: Message, tools: Mapping[str, Tool] | None = None) -> list[int]:
        """Return the ids of `message` as the model would sample them, its stop token included.

        With the same tools they parse back to the message, but for spaces around content and reasoning.

        Raises:
            ChatError: the template or the parser loses something of the message.
        """
        message = self._renderer.as_written(message)
        ids = self._after(self._renderer.question_prompt, self._question_ids, self._renderer.turn(message))
        lost = _lost(message, self.parse(ids, tools))
        if lost and self._escape:
            escaped = self._renderer.turn(message, self._escape)
            ids = self._after(self._renderer.question_prompt, self._question_ids, escaped)
            lost = _lost(message, self.parse(ids, tools)) and lost
        if lost:
            raise ChatError(
                f"the chat template of {self.tokenizer.name!r} cannot say a turn so that it reads back the same: "
                f"its {lost}",
                hint="give a template that shows content, reasoning and calls of a turn: "
                "`student: {chat_template: hermes}` or a file",
            )
        return ids

    def truncate(self, text: str, max_tokens: int) -> tuple[str, bool]:
        """A text cut to a number of tokens, with a visible mark of the cut inside the limit; valid Unicode.

        Returns:
            The text that fits, and whether it was cut.
        """
        cut, was_cut = truncate(self._renderer.harmless(text), max_tokens, self.tokenizer)
        return (cut, True) if was_cut else (valid_unicode(text), False)

    def _open(self, messages: Sequence[Message], tools: Mapping[str, Tool]) -> tuple[int, ...]:
        # the first message with the tools is the longest by far, and the same for all problems of a task
        stop = self._renderer.traits.plain.stop
        first, ended, rest = self._renderer.prompt(messages, tools).partition(stop)
        first_ids = self._first.get((first, ended), lambda: tuple(self.tokenizer.encode(first + ended)))
        return (*first_ids, *self._after(stop, [self.tokenizer.special[stop]], rest)) if rest else first_ids

    def _bridge(self, messages: Sequence[Message], tools: Mapping[str, Tool], closed: bool) -> tuple[int, ...]:
        stop, text = self._renderer.bridge(messages, tools)
        stop_id = self.tokenizer.special[stop]
        ids = self._after(stop, [stop_id], text)
        return tuple(ids if closed else [stop_id, *ids])

    def _after(self, before: str, before_ids: list[int], text: str) -> list[int]:
        """The ids of a text that follows another one, whose ids stay as they are."""
        # together, so that a tokenizer that marks the beginning of a text does not do so in its middle
        together = self.tokenizer.encode(before + text)
        if together[: len(before_ids)] == before_ids:
            return together[len(before_ids) :]
        return self.tokenizer.encode(text)

    @cached_property
    def _tool_fault(self) -> str:
        """Why the template cannot be used with tools; empty if it can."""
        if not self._renderer.traits.shows_tools:
            return "does not show tools to the model"
        try:
            self._renderer.turn(_PROBE)
        except ChatError:
            return "does not show an assistant's tool calls"
        if not _reads(self.parser, _PROBE, self._renderer):
            known = ", ".join(family.name for family in self._families)
            own = "does not read them back" if self.tokenizer.has_response_template else "is missing"
            return (
                f"writes tool calls in a form that none of the known families ({known}) has, "
                f"and the tokenizer's own response template {own}"
            )
        return ""


def choose_parser(tokenizer: ChatTokenizer) -> Parser:
    """The parser that reads what the tokenizer's template writes.

    It is the one that reads back most of a call, content, and reasoning before a call: of the families in their order,
    and then the tokenizer's own response template, if it has one.

    Raises:
        ChatError: the template does not end an assistant's turn with a special token.
    """
    return _choose(tokenizer, Renderer(tokenizer), families())[0]


def _choose(tokenizer: ChatTokenizer, renderer: Renderer, families: Sequence[Family]) -> tuple[Parser, Family | None]:
    """The parser, and its family if it has one."""
    known: list[tuple[Parser, Family | None]] = [
        (family.parser(renderer.opens_reasoning), family) for family in families
    ]
    if tokenizer.has_response_template:
        own = ResponseTemplateParser(tokenizer, prefix=renderer.question_prompt, write=renderer.turn)
        known.append((own, None))
    readers = [(parser, family) for parser, family in known if _reads(parser, _PROBE, renderer)]
    if not readers:
        return HermesParser(in_reasoning=renderer.opens_reasoning), _HERMES
    more = _MORE_PROBES if renderer.traits.reasoning_key else _MORE_PROBES[:1]
    return max(readers, key=lambda reader: sum(_reads(reader[0], turn, renderer) for turn in more))


def _reads(parser: Parser, turn: Message, renderer: Renderer) -> bool:
    """Whether a parser reads back a turn as the template writes it."""
    try:
        written = renderer.turn(turn)
    except ChatError:
        return False
    stop = max((token for token in renderer.traits.stops if written.endswith(token)), key=len, default="")
    return not _lost(turn, parser.parse(written.removesuffix(stop)))


def _lost(written: Message, parsed: Message) -> str:
    """Return what of a message changes when it is rendered and parsed again; empty if nothing does."""
    if written.reasoning.strip() != parsed.reasoning.strip():
        return "reasoning changed"
    if [essence(made) for made in written.tool_calls] != [essence(made) for made in parsed.tool_calls]:
        return f"tool calls changed{_changed(written.tool_calls, parsed.tool_calls)}"
    return "" if written.content.strip() == parsed.content.strip() else "content changed"


def _changed(written: Sequence[ToolCall], parsed: Sequence[ToolCall]) -> str:
    """Where the first difference is, for a message."""
    for one, other in zip(written, parsed, strict=False):
        if essence(one) == essence(other):
            continue
        if other.state is CallState.MALFORMED:
            return f": {one.name!r} reads as a {other.error}"
        for key in [*one.arguments, *other.arguments]:
            values = [canonical(made.arguments.get(key, "nothing")) for made in (one, other)]
            if values[0] != values[1]:
                return f": argument {key!r} of {one.name!r} reads as {values[1][:80]} instead of {values[0][:80]}"
    return f": {len(parsed)} instead of {len(written)}" if len(written) != len(parsed) else ""


def _key(messages: Sequence[Message], tools: Mapping[str, Tool]) -> tuple[object, ...]:
    # tools by identity: cached values keep references to them, so no other tool can have their ids
    return (*map(_identity, messages), *(id(tool) for tool in tools.values()))


def _identity(message: Message) -> tuple[object, ...]:
    # by hand, as the fields' own `repr` takes long, and arguments cannot be hashed
    result = message.result
    result_values = None if result is None else (result.name, result.content, result.ok, result.truncated)
    return message.role, message.content, message.reasoning, result_values, *map(repr, message.tool_calls)
