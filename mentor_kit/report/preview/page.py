"""A preview as one HTML file without scripts: nothing is loaded, and whatever others wrote is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path

from mentor_kit.report.page.document import policy_sources, read_client_file
from mentor_kit.report.preview.model import Preview, PreviewedDemonstration, PreviewedProblem
from mentor_kit.report.preview.text import cost_lines, earnings, lengths_sheet, message_line, signature
from mentor_kit.report.tables import Sheet
from mentor_kit.runs.files import write_text

#: The report's styles, and those of previews alone.
STYLES = ("style.css", "dialogue.css", "preview.css")


class Markup(str):
    """A string that is markup already; all other strings are escaped."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str) -> Markup:
    """An element. Children that are no `Markup` are escaped, and so are the attributes' values.

    Args:
        name: of the element.
        children: strings and elements.
        attributes: `kind` is the element's class.
    """
    named = {"class" if key == "kind" else key: value for key, value in attributes.items() if value}
    opened = "".join(f' {key}="{escape(value)}"' for key, value in named.items())
    inner = "".join(child if isinstance(child, Markup) else escape(child) for child in children)
    return Markup(f"<{name}{opened}>{inner}</{name}>")


def write_preview(preview: Preview, path: Path) -> None:
    """Write a preview to a file.

    Raises:
        MentorKitError: the file cannot be written.
    """
    write_text(path, preview_page(preview))


def preview_page(preview: Preview) -> str:
    """A preview as an HTML document."""
    styles = "".join(map(read_client_file, STYLES))
    policy = f"default-src 'none'; style-src {policy_sources([styles])}; base-uri 'none'; form-action 'none'"
    head = [
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        tag("title", f"{preview.recipe}: preview"),
        tag("style", Markup(styles)),
    ]
    header = tag("header", tag("h1", f"{preview.recipe} ", tag("small", "preview: nothing was run")))
    document = tag("html", tag("head", *head), tag("body", header, tag("main", *_sections(preview))), lang="en")
    return f"<!doctype html>\n{document}\n"


def _sections(preview: Preview) -> Iterator[Markup]:
    yield _facts(preview)
    if preview.notes:
        yield tag("div", *(tag("p", note) for note in preview.notes), kind="notes")
    for problem in preview.problems:
        yield _problem(problem)
    if preview.tools:
        yield _tools(preview)
    if preview.lengths:
        share = f"{preview.faulty} of {preview.demonstrations} demonstrations cannot be imitated or exceed a limit"
        yield tag("section", _table(lengths_sheet(preview)), tag("p", share, kind="about"))
    if preview.cost is not None:
        lines = cost_lines(preview.cost)
        yield tag("section", tag("h2", "Collecting the demonstrations"), *(tag("p", line) for line in lines))


def _facts(preview: Preview) -> Markup:
    facts = {"student": preview.model, "teacher": preview.teacher or "none", "split": preview.split}
    if preview.reward_maximum is not None:
        facts["largest reward"] = f"{preview.reward_maximum:g}"
    pairs = (tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items())
    return tag("dl", *pairs, kind="facts")


def _tools(preview: Preview) -> Markup:
    shown = (
        tag(
            "details",
            tag("summary", signature(name, schema)),
            tag("pre", json.dumps(schema, indent=2, ensure_ascii=False), kind="tokens"),
        )
        for name, schema in preview.tools.items()
    )
    return tag("section", tag("h2", f"Tools ({len(preview.tools)})"), *shown)


def _problem(problem: PreviewedProblem) -> Markup:
    about = [tag("span", problem.split, kind="chip"), tag("span", f"key: {problem.key}", kind="chip")]
    if problem.group:
        about.insert(1, tag("span", problem.group, kind="chip"))
    prompt: Markup = tag("p", problem.question, kind="text")
    if problem.prompt_tokens is not None:
        prompt = Markup(
            prompt
            + tag(
                "details",
                tag("summary", f"the prompt as the student reads it, {problem.prompt_tokens:,} tokens"),
                tag("div", problem.prompt, kind="tokens"),
            )
        )
    shown = (_demonstration(one) for one in problem.demonstrations)
    return tag("section", tag("h2", problem.id), tag("div", *about, kind="chips"), prompt, *shown)


def _demonstration(shown: PreviewedDemonstration) -> Markup:
    verdict = "right" if shown.correct else "wrong"
    chips = [tag("span", f"{shown.teacher}: {verdict}", kind=f"chip {verdict}")]
    if shown.reward is not None:
        chips.append(tag("span", f"earns {earnings(shown)}", kind="chip"))
    if shown.spans:
        counts = f"{shown.trained_tokens} of {shown.response_tokens} tokens trained on"
        chips.append(tag("span", counts, kind="chip"))
        spans = (tag("span", span.string, kind="trained" if span.trained else "") for span in shown.spans)
        body = tag("div", *spans, kind="tokens")
    elif shown.trajectory is None:
        body = tag("p", f"tools: {', '.join(shown.tools_used) or 'none'}")
    else:
        lines = (message_line(message.model_dump(mode="json")) for message in shown.trajectory.episode)
        body = tag("div", "\n".join(lines), kind="tokens")
    faults = (tag("p", fault, kind="error") for fault in shown.faults)
    return tag("div", tag("div", *chips, kind="chips"), *faults, body, kind="attempt")


def _table(sheet: Sheet) -> Markup:
    heads = (tag("th", head, kind="" if place < sheet.left else "number") for place, head in enumerate(sheet.heads))
    rows = (
        tag("tr", *(tag("td", cell, kind="" if place < sheet.left else "number") for place, cell in enumerate(row)))
        for row in sheet.rows
    )
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows))
    return Markup(tag("h2", sheet.title) + tag("div", table, kind="scroll"))
