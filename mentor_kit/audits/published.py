r"""The published reward as a rule about text (arXiv 2510.18383 and its authors' code), for comparison only.

Written from a description of that code, not from the code: it scores the text of a whole episode, tool results
included, and looks for `\boxed{…}` in the prompt, too. Any box with the right answer counts, and so does any item of a
list in one; a tool counts as used where the text has `"name": "tool"`.

| condition | value |
| --- | --- |
| the text did not end | 0 |
| no box, or an empty one; or the teacher used no tool | 0.1 |
| a right answer in a box | 0.7 |
| the set of names equals the teacher's | 0.3; 0.06 when the answer is wrong |
| every name is a tool's | 0.1 |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

_BOX = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_NAME = re.compile(r'"name"\s*:\s*(?:"([^"]*)"|([^\s,}]+))')
_BETWEEN = re.compile(r"\\text\s*\{[^{}]*\}|[,;\s\\{}]+")


class Crashed(Exception):
    """The published code would have stopped with an error."""


def published_reward(
    prompt: str,
    completion: str,
    *,
    ended: bool,
    is_right: Callable[[str], bool],
    known: Collection[str],
    shown: Sequence[str],
) -> float:
    """What the published rule pays.

    Args:
        prompt: the question's text.
        completion: everything after it.
        ended: whether the last turn has its stop token.
        is_right: the answer checker.
        known: the names of the tools there are.
        shown: the names of the tools that the teacher used.

    Raises:
        Crashed: a name is not a text.
    """
    if not ended:
        return 0.0
    boxes = _BOX.findall(prompt + completion)
    if not shown or not any(box.strip() for box in boxes):
        return 0.1
    used = set()
    for text, other in _NAME.findall(completion):
        if other:
            raise Crashed(f"the name {other[:20]!r} is not a text")
        used.add(text)
    right = any(is_right(item) for box in boxes for item in (box, *_BETWEEN.split(box)) if item)
    same = bool(used) and used == set(shown)
    return 0.7 * right + 0.3 * same * (1.0 if right else 0.2) + 0.1 * used.issubset(known)
