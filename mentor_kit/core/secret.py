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


def refuse_plain(key: object) -> object:
    """Return an option's value that a recipe refers to, or None; for a validator that runs before conversion.

    Raises:
        ValueError: the value itself stands in the recipe, and so would in every run folder.
    """
    if key is not None and not isinstance(key, Secret):
        raise ValueError("a key stands in no recipe: write `${env:NAME}` and put it into that variable")
    return key


def remember(value: str, reference: str) -> None:
    """Register a value that was read from the environment, for `hide`."""
    # messages have a value without the line's end that a file gave it, and a URL without its last slash
    for form in (value, value.strip(), value.strip().rstrip("/")):
        if len(form) >= SHORTEST:
            _read[form] = reference


def hide(text: str) -> str:
    """Return the string with every registered secret replaced by its reference, for messages."""
    for value in sorted(_read, key=len, reverse=True):
        text = text.replace(value, _read[value])
    return text
