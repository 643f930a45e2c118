"""The tools `search`: BM25 over a local corpus, indexed and searched in a worker process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from mentor_kit.core.errors import DataError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.options import ToolOptions
from mentor_kit.core.tool import Tool, ToolError
from mentor_kit.hooks.references import path_fault
from mentor_kit.hooks.registry import BuildContext
from mentor_kit_tools.functions import IsolatedTools
from mentor_kit_tools.limits import Limits
from mentor_kit_tools.names import ToolName
from mentor_kit_tools.runner import Runner

#: Files of a folder that are a document each.
_DOCUMENTS = (".txt", ".md")


class SearchOptions(ToolOptions):
    """Full-text search in a corpus."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    corpus: Path
    """A file of rows (JSONL, CSV, TSV, parquet), or a folder of .txt and .md files; relative to the recipe's folder."""
    text: str = "text"
    """The column with a document's text; or with several, as HotpotQA's `context`: pairs of a title and sentences."""
    title: str | None = None
    """The column with its title, which is searched and shown, too; in a folder the file's name is."""
    name: ToolName = "search"
    """The tool's name."""
    description: str = "Search a collection of documents. Gives the passages that fit best."
    """The tool's description for the model."""
    results: int = Field(default=3, gt=0, le=100)
    """The largest number of documents a call returns."""
    characters: int = Field(default=800, gt=0)
    """Characters of each document that are shown, from the best match on."""
    stopwords: str = "english"
    """The language whose most frequent words are left out; empty for none."""
    workers: int = Field(default=1, gt=0)
    """Calls that run concurrently; each has the whole index in memory."""
    limits: Limits = Limits(memory_mb=8192, start_seconds=1800.0)
    """Limits of one call; memory includes the index."""

    @property
    def tool_names(self) -> list[str]:
        """The tool's name."""
        return [self.name]


def look(options: SearchOptions, context: BuildContext) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Whether the corpus is there."""
    if fault := path_fault(options.corpus, context.recipe_folder):
        yield ("corpus",), fault


def build(options: SearchOptions, context: BuildContext) -> IsolatedTools:
    """The tool, with its index made.

    Raises:
        DataError: the corpus cannot be read.
    """
    corpus = (context.recipe_folder / options.corpus.expanduser()).resolve()
    if not corpus.exists():
        raise DataError(
            f"tools search: there is no corpus {corpus}", hint="`corpus` is relative to the recipe's folder"
        )
    setup = options.model_dump(mode="json", include={"text", "title", "results", "characters", "stopwords"})
    try:
        runner = Runner(
            f"{__name__}:serve", {**setup, "corpus": str(corpus)}, limits=options.limits, workers=options.workers
        )
    except ToolError as error:
        raise DataError(f"tools search: the corpus {corpus} cannot be used: {error}") from None
    query = {"type": "string", "description": "Words to look for."}
    parameters = {"type": "object", "properties": {"query": query}, "required": ["query"]}
    tool = Tool.declared(options.name, options.description, {**parameters, "additionalProperties": False})
    return IsolatedTools(runner, [tool])


@dataclass(frozen=True)
class Document:
    """One text of the corpus."""

    title: str
    text: str


def read_corpus(corpus: Path, text: str, title: str | None) -> Iterator[Document]:
    """The documents of a file or folder, in order.

    Raises:
        DataError: a file cannot be read, or a row has no text; names file, row and column.
    """
    from mentor_kit.runs.rows import BadRow, read_rows

    if corpus.is_dir():
        for file in sorted(path for path in corpus.rglob("*") if path.suffix.lower() in _DOCUMENTS):
            yield Document(file.stem, file.read_text(encoding="utf-8", errors="replace"))
        return
    seen: set[Document] = set()
    for row in read_rows(corpus):
        try:
            found = _several(row.get(text), text) or [
                Document("" if title is None else row.text(title), row.text(text))
            ]
        except BadRow as bad:
            raise row.fault(bad) from None
        # questions share their paragraphs
        fresh = [document for document in found if document not in seen]
        seen.update(fresh)
        yield from fresh


def _several(value: Json, column: str) -> list[Document]:
    """The paragraphs of a question's row; empty where the column has none, but a text.

    Raises:
        BadRow: it is a list of something else.
    """
    from mentor_kit.runs.rows import BadRow

    if isinstance(value, Mapping):
        # as the Hugging Face hub has it: a list of titles beside a list of lists of sentences
        value = [list(pair) for pair in zip(value.get("title", ()), value.get("sentences", ()), strict=False)]
    if not isinstance(value, list):
        return []
    try:
        return [Document(str(title), "".join(sentences)) for title, sentences in value]
    except (TypeError, ValueError):
        raise BadRow(column, "expected a text, or pairs of a title and sentences") from None


def serve(setup: Mapping[str, Json]) -> Index:
    """In the worker: the index of the corpus."""
    documents = list(read_corpus(Path(str(setup["corpus"])), str(setup["text"]), setup["title"]))
    if not documents:
        raise ToolError("it holds no documents")
    return Index(documents, str(setup["stopwords"]), int(setup["results"]), int(setup["characters"]))


class Index:
    """A `mentor_kit_tools.worker.Program` that searches."""

    def __init__(self, documents: list[Document], stopwords: str, results: int, characters: int) -> None:
        import bm25s

        self.catalogue: Json = {"documents": len(documents)}
        self._documents = documents
        self._stopwords: str | list[str] = stopwords or []
        self._results = min(results, len(documents))
        self._characters = characters
        self._index = bm25s.BM25()
        self._index.index(self._tokens([f"{one.title} {one.text}" for one in documents]), show_progress=False)

    def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        query = str(arguments["query"])
        found, scores = self._index.retrieve(self._tokens([query]), k=self._results, show_progress=False)
        fitting = [int(index) for index, score in zip(found[0], scores[0], strict=True) if score > 0]
        if not fitting:
            return "nothing was found"
        shown = [self._shown(self._documents[index], query) for index in fitting]
        return "\n\n".join(f"[{number}] {text}" for number, text in enumerate(shown, start=1))

    def _tokens(self, texts: list[str]) -> Any:
        import bm25s

        return bm25s.tokenize(texts, stopwords=self._stopwords, show_progress=False)

    def _shown(self, document: Document, query: str) -> str:
        passage = best_passage(document.text, query, self._characters)
        return f"{document.title}: {passage}" if document.title else passage


def best_passage(text: str, query: str, characters: int) -> str:
    """The piece of a text with the most different words of a query, at most `characters` long; `…` marks cuts."""
    text = " ".join(text.split())
    if len(text) <= characters:
        return text
    words = {word for word in query.casefold().split() if len(word) > 1}
    folded = text.casefold()
    step = max(characters // 2, 1)
    starts = range(0, len(text) - step, step)
    start = max(starts, key=lambda place: sum(word in folded[place : place + characters] for word in words))
    start = text.find(" ", start) + 1 if start else 0
    piece = text[start : start + characters]
    return f"{'…' if start else ''}{piece}{'…' if start + characters < len(text) else ''}"
