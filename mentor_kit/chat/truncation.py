"""Cuts long strings to a number of tokens, with a visible mark."""

from __future__ import annotations

from mentor_kit.chat.tokenizer import ChatTokenizer

# a string is cut to this many characters a token before it is tokenised, so that a huge one costs little
_CHARACTERS_PER_TOKEN = 32


def truncate(text: str, max_tokens: int, tokenizer: ChatTokenizer) -> tuple[str, bool]:
    """Return a string of at most `max_tokens` tokens, and whether it was cut.

    A string that was cut ends with how much is missing, as far as the limit leaves room for that.
    """
    limit = max(max_tokens, 0)
    if len(text) < limit and text.isascii():
        return text, False  # no character of it is more than a token
    beginning = text[: (limit + 1) * _CHARACTERS_PER_TOKEN]
    ids = tokenizer.encode(beginning)
    if len(ids) <= limit and len(beginning) == len(text):
        return text, False
    kept = limit
    while kept > 0:
        start = tokenizer.decode(ids[:kept]).rstrip("\ufffd")
        missing = (
            f"{len(ids) - kept} more tokens" if len(beginning) == len(text) else f"{len(text) - len(start)} characters"
        )
        cut = f"{start}… [cut: {missing}]"
        over = len(tokenizer.encode(cut)) - limit
        if over <= 0:
            return cut, True
        kept -= over
    return ("…" if len(tokenizer.encode("…")) <= limit else ""), True
