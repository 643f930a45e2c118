"""Secrets: values of environment variables that a recipe refers to, and that are never written to files."""

from __future__ import annotations

#: What was read from the environment in this process, with the references that stand for it.
_read: dict[str, str] = {}

#: Shorter values are no secrets: hiding `1` would make messages unreadable.
SHORTEST = 4


class Secret(str):
    """A value of an environment variable, serialised as its reference `${env:NAME}`."""

    __slots__ = ("reference",)
    reference: str

    def __new__(cls, value: str, reference: str) -> Secret:
        """Create the secret from the value and its reference, `${env:NAME}`."""
        made = super().__new__(cls, value)
        made.reference = reference
        return made

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return str(self), self.reference

    def __repr__(self) -> str:
        return repr(self.reference)


def remember(value: str, reference: str) -> None:
    """Register a value that was read from the environment, for `hide`."""
    if len(value) >= SHORTEST:
        _read[value] = reference


def hide(text: str) -> str:
    """Return the string with every registered secret replaced by its reference, for messages."""
    for value in sorted(_read, key=len, reverse=True):
        text = text.replace(value, _read[value])
    return text
