"""The module with a new plugin's hooks, made of the hooks of the examples that it is made from."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Collection, Iterable, Iterator


def hooks_of(source: str) -> dict[str, str]:
    """Return the source of every hook of a module by its name, decorators included."""
    lines = source.splitlines()
    return {node.name: "\n".join(lines[start:end]) for node, start, end in _functions(source)}


def with_hooks(source: str, hooks: Collection[str], further: Collection[str]) -> str:
    """Return a module with some of its hooks and further ones, without the imports that these do not need.

    Args:
        source: the module; its hooks come last in it.
        hooks: the names of those to keep.
        further: the sources of hooks to append.
    """
    lines = source.splitlines()
    first = min(start for _, start, _ in _functions(source))
    kept = [text for name, text in hooks_of(source).items() if name in hooks]
    body = "\n\n\n".join([*kept, *further])
    head = _needed("\n".join(lines[:first]), body)
    return f"{head}\n\n\n{body}\n"


def _functions(source: str) -> Iterator[tuple[ast.FunctionDef, int, int]]:
    """The functions of a module, each with its first line and the one after its last."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield node, start - 1, node.end_lineno or node.lineno


def _needed(head: str, body: str) -> str:
    """The lines above the hooks without the imports and constants of which neither they nor the hooks use a name."""
    while dropped := {line for node in ast.parse(head).body for line in _unused_lines(node, head, body)}:
        lines = (line for number, line in enumerate(head.splitlines(), 1) if number not in dropped)
        head = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return head.strip()


def _unused_lines(node: ast.stmt, head: str, body: str) -> Iterable[int]:
    """The lines of a statement that bind unused names: all of it, or those inside `if TYPE_CHECKING:`."""
    if isinstance(node, ast.If):
        unused = [statement for statement in node.body if _is_unused(statement, head, body)]
        # a block is not left empty
        return _lines(node) if len(unused) == len(node.body) else itertools.chain.from_iterable(map(_lines, unused))
    return _lines(node) if _is_unused(node, head, body) else ()


def _is_unused(node: ast.stmt, head: str, body: str) -> bool:
    own = _lines(node)
    others = "\n".join(line for number, line in enumerate(head.splitlines(), 1) if number not in own)
    names = _bound(node)
    return bool(names) and not any(re.search(rf"\b{name}\b", f"{others}\n{body}") for name in names)


def _bound(node: ast.stmt) -> list[str]:
    """The names that an import or a constant binds; none for what is there for its effect."""
    if isinstance(node, ast.ImportFrom) and node.module != "__future__":
        return [alias.asname or alias.name for alias in node.names]
    names = [target.id for target in getattr(node, "targets", ()) if isinstance(target, ast.Name)]
    return [name for name in names if name != "MENTORKIT_API"]


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)
