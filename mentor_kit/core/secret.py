"""Secrets: values of the environment that a recipe names, and that are never written out."""

from __future__ import annotations

#: What was read from the environment in this process, with the references that stand for it.
_read: dict[str, str] = {}

#: Shorter values are no secrets: hiding `1` would make messages unreadable.
SHORTEST = 4


class Secret(str):
    """A value from the environment; written out, it is the reference again."""

    __slots__ = ("reference",)
    reference: str

    def __new__(cls, value: str, reference: str) -> Secret:
        """The value, with the text (`${env:NAME}`) it came from."""
        made = super().__new__(cls, value)
        made.reference = reference
        return made

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return str(self), self.reference

    def __repr__(self) -> str:
        return repr(self.reference)


def remember(value: str, reference: str) -> None:
    """Let `hide` know a value that was read from the environment."""
    if len(value) >= SHORTEST:
        _read[value] = reference


def hide(text: str) -> str:
    """The text with every secret this process has read replaced by its reference, for messages."""
    for value in sorted(_read, key=len, reverse=True):
        text = text.replace(value, _read[value])
    return text
