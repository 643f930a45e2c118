"""Renders a chat template in pieces: the prompt, one assistant turn, and the text between two turns.

Rendering a whole conversation again would change what was sampled: Qwen3 drops old reasoning, others trim or
re-format. So only the prompt is rendered in full; everything later is a part of a small fixed conversation:

    <user>Question<assistant>SENTINEL<stop>        what a turn ends with
    <user>Question<assistant>SENTINEL<stop><tool>42<assistant>
                                          └─ between the turns ─┘
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from mentor_kit.chat.calls import valid_unicode
from mentor_kit.chat.forms import Form
from mentor_kit.chat.lru import LRUCache
from mentor_kit.chat.parsing import END_THINK, THINK, HermesParser, Parser
from mentor_kit.chat.template_cache import ResultTemplate, plain_results, result_template
from mentor_kit.chat.template_probe import (
    QUESTION,
    SENTINEL,
    TurnEnd,
    assistant_form,
    calling_end,
    common_start,
    probe_template,
    probe_tool,
    sentinel_turn,
    tool_form,
)
from mentor_kit.chat.tokenizer import ChatTokenizer
from mentor_kit.chat.unreadable import CallWriter
from mentor_kit.core.conversation import CallState, Message
from mentor_kit.core.errors import ChatError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import Tool

#: Stands for a tool's result in a rendered probe.
_RESULT = "mentorkit7result"
_TAG = re.compile(r"</?[^\s<>]{1,60}>|\[/?[A-Z_]{3,40}\]")


class Renderer:
    """Renders with one tokenizer's template.

    Raises:
        ChatError: the template does not end an assistant's turn with a special token.
    """

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self.traits = probe_template(tokenizer)
        self.question_prompt = self._render([QUESTION], generation_prompt=True)
        """The prompt of a question alone, up to the start of the assistant's turn."""
        plain, called = self._probed_dialogues()
        marks = {token for token in tokenizer.special if _TAG.fullmatch(token)}
        self._shows_results = _RESULT in called
        control = tokenizer.control | {token for token in marks if token in plain} - {THINK, END_THINK}
        self._control = _any_of(control)
        self._control_of_results = _any_of(control | {token for token in marks if token in called} | _frames(called))
        self._stops = _any_of(self.traits.stops | _eos(tokenizer))
        self._ends: LRUCache[TurnEnd] = LRUCache(256)
        self._result_templates: LRUCache[ResultTemplate | None] = LRUCache(256)
        self._fixed_tools = not self._tools_show_in_bridge()
        self.think = (THINK, END_THINK)
        """The marks around reasoning, where the template itself shows none."""
        self.family: tuple[Parser, Form | None] | None = None
        """What reads the student's turns, and how such turns are written if that is known."""

    @property
    def opens_reasoning(self) -> bool:
        """Whether the prompt ends with an opening `<think>`."""
        return self.question_prompt.rstrip().endswith(THINK)

    @cached_property
    def turn_openings(self) -> tuple[str, ...]:
        """The texts with which the assistant's turn begins: after a user's message, and after a tool's result.

        Where the template writes nothing there (Gemma 4's after a result), it is what ends the message before.
        """
        dialogues = [[QUESTION], self._called] if self._shows_results else [[QUESTION]]
        openings = (self._turn_opening(forms) for forms in dialogues)
        return tuple(dict.fromkeys(filter(None, openings)))

    def _turn_opening(self, forms: Sequence[dict[str, Json]]) -> str:
        prompt = self._render(forms, generation_prompt=True)
        opening = prompt[len(common_start(prompt, self._render(forms, generation_prompt=False))) :]
        return opening or prompt.rpartition(str(forms[-1]["content"]))[2]

    def prompt(self, messages: Sequence[Message], tools: Mapping[str, Tool]) -> str:
        """The whole text of a conversation, up to the start of the assistant's turn."""
        return self._render(list(self._forms(messages)), tools=self._schemas(tools), generation_prompt=True)

    def bridge(self, messages: Sequence[Message], tools: Mapping[str, Tool]) -> tuple[str, str]:
        """The stop token of the turn before, and the text from there to the assistant's next turn.

        Raises:
            ChatError: the template changes the turn's end when messages follow.
        """
        forms = list(self._forms(messages))
        if not self._fixed_tools:
            return self._bridge(forms, self._schemas(tools))
        schemas: list[Json] = [probe_tool("tool")] if tools else []
        if plain_results(forms):
            key = (bool(tools), *(str(form["name"]) for form in forms))
            template = self._result_templates.get(
                key, lambda: result_template(forms, lambda given: self._bridge(given, schemas))
            )
            if template is not None:
                return template.stop, template.filled([str(form["content"]) for form in forms])
        return self._bridge(forms, schemas)

    def turn(self, message: Message, escape: Callable[[str], str] | None = None) -> str:
        """What the assistant writes to say `message`, its stop token included.

        Args:
            message: the turn.
            escape: for texts among the calls' arguments, where the template should but does not.

        Raises:
            ChatError: the template cannot show the message after its own generation prompt.
        """
        forms = [QUESTION, self._assistant(message, escape)]
        text = self._render(forms, generation_prompt=False)
        end = self._end(["probe"] if "tool_calls" in forms[1] else [])
        if end.borrowed:
            text += end.stop
        if not text.endswith(end.stop + end.trailer):
            raise self._fault("ends an assistant's turn in different ways")
        body = self._after_opening(text.removesuffix(end.trailer))
        return self._with_reasoning(body, message.reasoning)

    def as_written(self, message: Message) -> Message:
        """The message as its turn reads: if a call of it could not be read, with the texts that stand for its calls."""
        if not _unreadable(message):
            return message
        calls = tuple(call for _, group in self._writer.parts(message.tool_calls) for call in group)
        return message.model_copy(update={"tool_calls": calls})

    @cached_property
    def _writer(self) -> CallWriter:
        parser, form = self.family or (HermesParser(in_reasoning=self.opens_reasoning), None)
        words = self._after_opening(self._render([QUESTION, sentinel_turn([], False)], generation_prompt=False))
        return CallWriter(parser, form, before=words.partition(SENTINEL)[0], stops=self.traits.stops)

    def harmless(self, text: str) -> str:
        """The text with control tokens broken by a space: what others say must not steer the model.

        Control tokens are those that the tokenizer calls special, and those that the template begins and ends messages
        with, as some tokenizers call few of them special (DeepSeek's).
        """
        return _broken(self._control, valid_unicode(text))

    def harmless_result(self, text: str) -> str:
        """The same for a tool's result, which may not end itself, or look like a call or reasoning, either."""
        return _broken(self._control_of_results, valid_unicode(text))

    @property
    def _called(self) -> list[dict[str, Json]]:
        """A dialogue of a question, a call and its result."""
        return [QUESTION, sentinel_turn(["probe"], self.traits.arguments_as_text), tool_form("probe", 0, _RESULT)]

    def _probed_dialogues(self) -> tuple[str, str]:
        """A dialogue of words, and one with a call and its result, as far as the template shows them."""
        dialogue: list[dict[str, Json]] = [QUESTION, assistant_form(SENTINEL), {"role": "user", "content": "More"}]
        texts = []
        for forms in ([{"role": "system", "content": "Be brief."}, *dialogue], dialogue):
            try:
                texts.append(self._render(forms, generation_prompt=True))
            except ChatError:
                continue
        try:
            called = self._render(self._called, generation_prompt=True)
        except ChatError:
            called = ""
        return "".join(texts), called

    def _bridge(self, forms: list[dict[str, Json]], schemas: list[Json]) -> tuple[str, str]:
        names = [form["name"].replace(SENTINEL, "") for form in forms if form["role"] == "tool"]
        end = self._end(names)
        turn = sentinel_turn(names, self.traits.arguments_as_text)
        text = self._render([QUESTION, turn, *forms], tools=schemas, generation_prompt=True)
        place = text.find(end.text)
        if place < 0:
            raise self._fault("changes an assistant's turn when other messages follow it")
        return end.stop, text[place + len(end.text) :]

    def _end(self, names: Sequence[str]) -> TurnEnd:
        """How a turn that called these tools ends."""
        if not names:
            return self.traits.plain
        return self._ends.get(tuple(names), lambda: self._calling_end(names))

    def _calling_end(self, names: Sequence[str]) -> TurnEnd:
        traits = self.traits
        end = calling_end(self._tokenizer, names, traits.arguments_as_text, traits.plain.stop)
        if traits.calling is None or end is None:
            raise self._fault("does not show an assistant's tool calls up to a special token")
        return end

    def _tools_show_in_bridge(self) -> bool:
        """Whether the text between turns depends on the tools' schemas (Mistral's does: they move down)."""
        follow_up: dict[str, Json] = {"role": "user", "content": "More"}
        try:
            texts = {self._bridge([follow_up], [probe_tool(name)]) for name in ("one", "two")}
        except ChatError:
            return True
        return len(texts) > 1

    def _after_opening(self, text: str) -> str:
        """The part of a rendered turn that comes after the generation prompt."""
        if text.startswith(self.question_prompt):
            return text[len(self.question_prompt) :]
        if self.opens_reasoning:
            # the prompt opens the reasoning and finished turns are shown without it
            opening = self.question_prompt[: self.question_prompt.rindex(THINK)]
            if text.startswith(opening):
                body = text[len(opening) :].removeprefix(THINK)
                return body if END_THINK in body else f"\n{END_THINK}\n\n{body}"
        raise self._fault("shows an assistant's turn otherwise than its generation prompt begins one")

    def _with_reasoning(self, body: str, reasoning: str) -> str:
        if not reasoning or self.traits.reasoning_key:
            return body
        thought = _broken(self._stops, valid_unicode(reasoning)).strip()
        opening, closing = self.think
        return f"{thought}{body}" if self.opens_reasoning else f"{opening}\n{thought}\n{closing}\n\n{body}"

    def _forms(self, messages: Sequence[Message]) -> Iterator[dict[str, Json]]:
        """Messages as templates take them."""
        results = 0
        for message in messages:
            if message.role == "assistant":
                results = 0
                yield self._assistant(message)
            elif message.role == "tool":
                name = message.result.name if message.result else ""
                content = self.harmless_result(message.content)
                yield tool_form(self.harmless(name) or "unknown", results, content)
                results += 1
            else:
                yield {"role": message.role, "content": self.harmless(message.content)}

    def _assistant(self, message: Message, escape: Callable[[str], str] | None = None) -> dict[str, Json]:
        content = message.content
        calls = message.tool_calls
        if _unreadable(message):
            # no template can say what could not be read: it is imitated as it was written
            texts = [text for text, _ in self._writer.parts(calls)]
            content = "\n".join(part for part in (content, *texts) if part)
            calls = ()
        key = self.traits.reasoning_key
        reasoning = _broken(self._stops, valid_unicode(message.reasoning))
        return assistant_form(
            _broken(self._stops, valid_unicode(content)),
            calls=[(call.name, self._arguments(call.arguments, escape)) for call in calls],
            as_text=self.traits.arguments_as_text,
            extra={key: reasoning} if key and reasoning else None,
        )

    def _arguments(self, arguments: Mapping[str, Json], escape: Callable[[str], str] | None) -> dict[str, Json]:
        text = json.dumps(arguments, ensure_ascii=False)
        found = dict(json.loads(_broken(self._stops, text)))
        if escape is None:
            return found
        return {key: escape(value) if isinstance(value, str) else value for key, value in found.items()}

    def _schemas(self, tools: Mapping[str, Tool]) -> list[Json]:
        """The tools' schemas, which may come from a server that nobody knows."""
        return [self._harmless_value(tool.schema) for tool in tools.values()]

    def _harmless_value(self, value: Json) -> Json:
        if isinstance(value, str):
            return self.harmless(value)
        if isinstance(value, Mapping):
            return {self.harmless(key): self._harmless_value(item) for key, item in value.items()}
        return [self._harmless_value(item) for item in value] if isinstance(value, list | tuple) else value

    def _render(
        self, forms: Sequence[dict[str, Json]], *, tools: Sequence[dict[str, Json]] = (), generation_prompt: bool
    ) -> str:
        return self._tokenizer.render(forms, tools=tools, generation_prompt=generation_prompt)

    def _fault(self, what: str) -> ChatError:
        return ChatError(
            f"the chat template of {self._tokenizer.name!r} {what}, so a dialogue cannot go on token by token",
            hint="give another template in the recipe: `student: {chat_template: hermes}` or a file",
        )


def _unreadable(message: Message) -> bool:
    return any(call.state is CallState.MALFORMED for call in message.tool_calls)


def _frames(called: str) -> set[str]:
    """The tags that stand around a result."""
    before, found, after = called.partition(_RESULT)
    tags = [*_TAG.findall(before)[-1:], *_TAG.findall(after)[:1]] if found else []
    return set(tags)


def _eos(tokenizer: ChatTokenizer) -> set[str]:
    return {token for token, index in tokenizer.special.items() if index == tokenizer.eos_id}


def _any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    """A pattern for any of the tokens; those too short to be broken are left out."""
    longest_first = sorted({token for token in tokens if len(token) > 2}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _broken(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda match: f"{match.group()[0]} {match.group()[1:]}", text)
