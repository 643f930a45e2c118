"""A preview for the terminal: coloured where colours are shown, with marks around trained tokens elsewhere."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.text import Text

from mentor_kit.core.frozen_model import Json
from mentor_kit.report.preview.model import (
    CollectionCost,
    Measured,
    Preview,
    PreviewedDemonstration,
    PreviewedProblem,
    TokenSpan,
)
from mentor_kit.report.tables import Sheet

#: The styles of a terminal.
HEAD, TRAINED, MASKED, RIGHT, WRONG = "bold", "bold cyan", "dim", "green", "red"
#: The marks around trained tokens where there are no colours.
OPEN, CLOSE = "⟦", "⟧"


def preview_text(preview: Preview, *, colours: bool, width: int | None = None) -> Text:
    """A preview as text for a terminal.

    Args:
        preview: the preview.
        colours: whether trained tokens are coloured; they stand between `OPEN` and `CLOSE` if not.
        width: columns for tables.
    """
    return Text("\n").join(_Writer(preview, colours, width).lines())


@dataclass(frozen=True)
class _Writer:
    preview: Preview
    colours: bool
    width: int | None

    def lines(self) -> Iterator[Text]:
        preview = self.preview
        yield Text(f"{preview.recipe}: nothing was run", HEAD)
        yield Text(f"student  {visible(preview.model)}")
        if preview.teacher:
            yield Text(f"teacher  {visible(preview.teacher)}")
        yield from (Text(f"note     {visible(note)}", WRONG) for note in preview.notes)
        yield from self._tools()
        shared = ""
        for number, problem in enumerate(preview.problems, start=1):
            yield from self._problem(problem, number, shared)
            shared = problem.prompt
        yield from self._lengths()
        if preview.cost is not None:
            yield from self._cost(preview.cost)

    def _tools(self) -> Iterator[Text]:
        if self.preview.tools:
            yield Text(f"\nTools ({len(self.preview.tools)})", HEAD)
        for name, schema in self.preview.tools.items():
            yield Text(f"  {visible(signature(name, schema))}")

    def _problem(self, problem: PreviewedProblem, number: int, previous: str) -> Iterator[Text]:
        group = f", {problem.group}" if problem.group else ""
        title = f"\nProblem {number} of {len(self.preview.problems)}: {problem.id} ({problem.split}{group})"
        yield Text(visible(title), HEAD)
        yield Text(f"  answer key: {visible(problem.key)}")
        if problem.prompt_tokens is None:
            yield from _indented(Text(visible(problem.question)))
        else:
            yield Text(f"  prompt, {problem.prompt_tokens:,} tokens, as the student reads it:")
            same = common_lines(previous, problem.prompt)
            if same:
                yield Text(f"    … (the first {same} lines are those of the problem before)", MASKED)
            yield from _indented(Text(visible("\n".join(problem.prompt.splitlines()[same:]))), 4)
        if not problem.demonstrations and self.preview.teacher:
            yield Text("  no demonstration is shown")
        for shown in problem.demonstrations:
            yield from self._demonstration(shown)

    def _demonstration(self, shown: PreviewedDemonstration) -> Iterator[Text]:
        verdict = Text("right", RIGHT) if shown.correct else Text("wrong", WRONG)
        earned = Text(f", earns {earnings(shown)}") if shown.reward is not None else Text("")
        yield Text.assemble(f"  demonstration by {visible(shown.teacher)}: ", verdict, earned)
        yield from (Text(f"  ! {visible(fault)}", WRONG) for fault in shown.faults)
        if shown.spans:
            how = "coloured" if self.colours else f"between {OPEN} and {CLOSE}"
            yield Text(f"  {shown.trained_tokens} of {shown.response_tokens} tokens are trained on ({how}):")
            yield from _indented(Text.assemble(*(self._span(span) for span in shown.spans)), 4)
        elif shown.trajectory is None:
            yield Text(f"    tools: {visible(', '.join(shown.tools_used)) or 'none'}")
        else:
            for message in shown.trajectory.episode:
                yield from _indented(Text(visible(message_line(message.model_dump(mode="json")))), 4)

    def _span(self, span: TokenSpan) -> Text:
        string = visible(span.string)
        if self.colours:
            return Text(string, TRAINED if span.trained else MASKED)
        return Text(f"{OPEN}{string}{CLOSE}" if span.trained else string)

    def _lengths(self) -> Iterator[Text]:
        if not self.preview.lengths:
            return
        sheet = lengths_sheet(self.preview)
        yield Text("")
        yield from map(Text, sheet.text(self.width).rstrip().splitlines())
        if (found := self.preview).demonstrations:
            share = f"{found.faulty} of {found.demonstrations} demonstrations"
            yield Text(f"{share} cannot be imitated or exceed a limit", WRONG if found.faulty else RIGHT)

    def _cost(self, cost: CollectionCost) -> Iterator[Text]:
        yield Text("\nCollecting the demonstrations", HEAD)
        yield from (Text(f"  {line}") for line in cost_lines(cost))


def lengths_sheet(preview: Preview) -> Sheet:
    """The lengths against their limits, as a table."""
    rows = tuple(
        (one.name, f"{one.mean:.0f}", str(one.largest), _limit(one), _above(one), str(one.samples))
        for one in preview.lengths
    )
    title = f"Lengths in tokens, of the first {preview.measured} problems"
    return Sheet(title, ("length", "mean", "largest", "limit", "above it", "of"), rows)


def _limit(measured: Measured) -> str:
    return "–" if measured.limit is None else str(measured.limit)


def _above(measured: Measured) -> str:
    return "–" if measured.limit is None else str(measured.above)


def cost_lines(cost: CollectionCost) -> list[str]:
    """The cost of collection in lines."""
    money = "no prices are known (--price-in, --price-out)" if cost.dollars is None else f"about ${cost.dollars:.2f}"
    return [
        f"{cost.problems:,} problems, {cost.requests:,} requests, {cost.input_tokens:,} tokens sent, "
        f"{cost.output_tokens:,} received",
        f"{money}, about {duration(cost.seconds)}",
        *(f"assumed: {assumption}" for assumption in cost.assumptions),
    ]


def duration(seconds: float) -> str:
    """Seconds as minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def earnings(shown: PreviewedDemonstration) -> str:
    """A reward by term, such as `1.1 = 0.7 correct + 0.3 tool-match + 0.1 known-tools`."""
    reward = shown.reward
    if reward is None:
        return "–"
    if reward.gate:
        return f"{reward.total:g} (the gate {reward.gate} is not passed)"
    return f"{reward.total:.4g} = " + " + ".join(f"{term.value:.4g} {name}" for name, term in reward.terms.items())


def signature(name: str, schema: dict[str, Json]) -> str:
    """A tool as a line, such as `add(a: number): Adds one.`; optional parameters have a question mark."""
    function = schema.get("function", schema)
    parameters = function.get("parameters") or {}
    required = parameters.get("required") or ()
    known = parameters.get("properties") or {}
    shown = [f"{key}{'' if key in required else '?'}: {_type(value)}" for key, value in known.items()]
    summary = str(function.get("description") or "").split("\n")[0]
    return f"{name}({', '.join(shown)})" + (f": {summary}" if summary else "")


def _type(schema: Json) -> str:
    if not isinstance(schema, dict):
        return "any"
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    found = schema.get("type", "any")
    return " | ".join(map(str, found)) if isinstance(found, list) else str(found)


def message_line(message: dict[str, Json]) -> str:
    """A message where there is no tokenizer: its role, content, calls and result."""
    said = [str(message.get("content") or "")]
    said += [f"{call['name']}({json.dumps(call['arguments'])})" for call in message.get("tool_calls") or ()]
    if result := message.get("result"):
        said = [f"{result['name']} -> {result['content']}"]
    return f"{message['role']}: " + "\n".join(filter(None, said))


def common_lines(first: str, second: str) -> int:
    """The number of lines that two prompts begin with in common; 0 for a few, which are better shown."""
    count = 0
    for one, other in zip(first.splitlines(), second.splitlines(), strict=False):
        if one != other:
            break
        count += 1
    return count if count > 3 else 0


def visible(string: str) -> str:
    """A string whose control characters are visible, so that what others wrote cannot steer a terminal."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf") else f"\\x{ord(char):02x}"
        for char in string
    )


def _indented(text: Text, by: int = 2) -> Iterable[Text]:
    return (Text(" " * by) + line for line in text.split("\n", allow_blank=True))
