"""The tokenizer contract of the chat layer, and transformers' tokenizers behind it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any, Protocol

from mentor_kit.chat.hub import hub_answers
from mentor_kit.core.errors import ChatError, MissingError, UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.utils.quiet_imports import import_transformers

#: Templates that the toolkit brings, by the name a recipe gives as `student.chat_template`.
SHIPPED_TEMPLATES = Path(__file__).parent / "templates"

# Templates write today's date into the prompt, but a run must not depend on the day: Llama 3's take it as a variable,
# and in those that read the clock (gpt-oss) a macro replaces it
_TEMPLATE_VARIABLES = {"date_string": "26 Jul 2024"}
_CLOCK = "strftime_now"
_STILL_CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format.replace('%Y', '2024').replace('%m', '07').replace('%d', '26')"
    ".replace('%b', 'Jul').replace('%B', 'July') }}{%- endmacro %}"
)


class ChatTokenizer(Protocol):
    """A tokenizer with a chat template. Special tokens are never added, and control tokens in text are parsed."""

    @property
    def name(self) -> str:
        """The folder or hub id it came from, for messages."""
        ...

    @property
    def eos_id(self) -> int | None:
        """The token that ends a text, if there is one."""
        ...

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """The id of every token, special ones included, by the tokenizer's own way of writing it."""
        ...

    @property
    def special(self) -> dict[str, int]:
        """Tokens that stand for themselves and never come out of ordinary text, by their text."""
        ...

    @property
    def control(self) -> frozenset[str]:
        """Those of `special` that control the model, and that no tool's or user's content may contain."""
        ...

    @property
    def has_response_template(self) -> bool:
        """Whether `parse_response` can be used."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ids of a text, nothing added."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids, special tokens included."""
        ...

    def render(
        self, messages: Sequence[dict[str, Json]], *, tools: Sequence[dict[str, Json]], generation_prompt: bool
    ) -> str:
        """The template's text for messages and tool schemas in OpenAI's form.

        Raises:
            ChatError: the template refuses them.
        """
        ...

    def parse_response(self, text: str, prefix: str, *, tools: Sequence[dict[str, Json]] = ()) -> Any:
        """What the tokenizer's response template makes of a text that follows the prompt `prefix`.

        Values are read by the schemas of `tools`, where transformers can.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files, template included, where transformers finds them."""
        ...


class TransformersTokenizer:
    """A tokenizer of transformers as a `ChatTokenizer`.

    Args:
        tokenizer: transformers' own.
        name: for messages; the tokenizer's own if left out.
        variables: of its chat template, such as `enable_thinking`.

    Raises:
        ChatError: it has no chat template.
    """

    def __init__(self, tokenizer: Any, *, name: str | None = None, variables: Mapping[str, Json] | None = None) -> None:
        self.inner = tokenizer
        self._variables = {**_TEMPLATE_VARIABLES, **(variables or {})}
        self._name = name or str(tokenizer.name_or_path or "the tokenizer")
        if not getattr(tokenizer, "chat_template", None):
            raise ChatError(
                f"the tokenizer of {self._name!r} has no chat template",
                hint="give one in the recipe: `student: {chat_template: hermes}` for the one that comes with "
                "mentor-kit (ChatML with tools), or `student: {chat_template: file.jinja}` for your own",
            )

    @property
    def name(self) -> str:
        return self._name

    @property
    def eos_id(self) -> int | None:
        found = self.inner.eos_token_id
        return None if found is None else int(found)

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        return {str(token): int(index) for token, index in self.inner.get_vocab().items()}

    @cached_property
    def special(self) -> dict[str, int]:
        added = {str(token): int(index) for token, index in self.inner.get_added_vocab().items()}
        named = zip(self.inner.all_special_tokens, self.inner.all_special_ids, strict=True)
        return {**added, **{str(token): int(index) for token, index in named}}

    @cached_property
    def control(self) -> frozenset[str]:
        flagged = {str(token) for token in self.inner.added_tokens_decoder.values() if token.special}
        return frozenset(flagged | {str(token) for token in self.inner.all_special_tokens})

    @property
    def _timeless(self) -> str | None:
        """The template without the clock; None for the tokenizer's own, which does not read the time."""
        template = self.inner.chat_template
        return _STILL_CLOCK + template if isinstance(template, str) and _CLOCK in template else None

    @property
    def has_response_template(self) -> bool:
        return getattr(self.inner, "response_template", None) is not None and hasattr(self.inner, "parse_response")

    def encode(self, text: str) -> list[int]:
        return list(self.inner.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.inner.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def render(
        self, messages: Sequence[dict[str, Json]], *, tools: Sequence[dict[str, Json]], generation_prompt: bool
    ) -> str:
        try:
            text = self.inner.apply_chat_template(
                list(messages),
                tools=list(tools) or None,
                add_generation_prompt=generation_prompt,
                tokenize=False,
                chat_template=self._timeless,
                **self._variables,
            )
        except Exception as error:  # a template is a program: it may raise anything
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ChatError(
                f"the chat template of {self._name!r} refuses a conversation: {reason}",
                hint="give another template in the recipe: `student: {chat_template: hermes}` or a file",
            ) from error
        return str(text)

    def parse_response(self, text: str, prefix: str, *, tools: Sequence[dict[str, Json]] = ()) -> Any:
        # transformers before 5.15 reads values without their schemas
        schemas = {"tools": list(tools)} if tools and self._reads_with_tools else {}
        return self.inner.parse_response(text, prefix=prefix, **schemas)

    @cached_property
    def _reads_with_tools(self) -> bool:
        return "tools" in signature(self.inner.parse_response).parameters

    def save(self, folder: Path) -> None:
        self.inner.save_pretrained(str(folder))


def load_tokenizer(
    model: str | Path,
    *,
    chat_template: str | Path | None = None,
    folder: Path | None = None,
    revision: str | None = None,
    variables: Mapping[str, Json] | None = None,
) -> TransformersTokenizer:
    """The tokenizer of a model, with its chat template or another one.

    Args:
        model: a folder with tokenizer files, or a hub id.
        chat_template: replaces the tokenizer's own: the name of a shipped template, a file, or the template itself.
        folder: what a relative template file is relative to (a recipe's folder); the working folder if None.
        revision: the hub's revision.
        variables: of the chat template, such as `enable_thinking`.

    Raises:
        MissingError: transformers is not installed, or the model is neither a folder nor on the hub.
        ChatError: the folder has no tokenizer that can be read, or the tokenizer has no chat template.
        UsageError: there is no such template file.
    """
    if find_spec("transformers") is None:
        raise MissingError(
            "transformers, which reads tokenizers, is not installed", hint="pip install 'mentor-kit[torch]'"
        )
    tokenizer = _from_pretrained(str(model), revision)
    if chat_template is not None:
        tokenizer.chat_template = template_text(chat_template, folder)
    return TransformersTokenizer(tokenizer, name=str(model), variables=variables)


def unread_tokens(writer: Mapping[str, int], reader: Mapping[str, int]) -> list[str]:
    """The tokens of one vocabulary, in the order of their ids, that another one lacks or gives another id."""
    return sorted((token for token, index in writer.items() if reader.get(token) != index), key=writer.__getitem__)


def template_text(chat_template: str | Path, folder: Path | None = None) -> str:
    """The template that a name, a file or a template stands for.

    Raises:
        UsageError: it is none of them.
    """
    given = str(chat_template)
    if "{%" in given or "{{" in given:
        return given
    shipped = SHIPPED_TEMPLATES / f"{given}.jinja"
    file = shipped if given.isidentifier() and shipped.is_file() else (folder or Path()) / Path(given).expanduser()
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        known = ", ".join(sorted(path.stem for path in SHIPPED_TEMPLATES.glob("*.jinja")))
        raise UsageError(
            f"the chat template {given!r} cannot be read: {error}",
            hint=f"give a file, a template's text, or one of: {known}",
        ) from error


def _from_pretrained(model: str, revision: str | None) -> Any:
    tokenizers = import_transformers().AutoTokenizer
    here = Path(model).expanduser()
    name, local_only = (str(here), False) if here.is_dir() else (model, not hub_answers())
    try:
        with _without_warnings("huggingface_hub"):
            return tokenizers.from_pretrained(name, revision=revision, local_files_only=local_only)
    except Exception as error:  # a broken folder raises anything from OSError to JSON and Rust errors
        reason = " ".join(str(error).split())[:300]
        if here.is_dir():
            raise ChatError(
                f"the folder {model!r} has no tokenizer that can be read: {reason}",
                hint="it needs tokenizer.json and tokenizer_config.json, as `save_pretrained` writes them",
            ) from error
        why = "the hub does not answer" if local_only else f"the hub did not give it: {reason}"
        raise MissingError(
            f"no tokenizer for {model!r}: it is no folder here, it is not in the cache, and {why}",
            hint=f"check the name, or fetch it where there is a network: hf download {model}",
        ) from error


@contextmanager
def _without_warnings(logger: str) -> Iterator[None]:
    """Silences the hub client's warnings at every attempt; one error follows at the end."""
    found = logging.getLogger(logger)
    before = found.level
    found.setLevel(logging.ERROR)
    try:
        yield
    finally:
        found.setLevel(before)
