"""The tool `search`: its ranking against BM25 written out, and what it shows."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mentor_kit_tools.search import Document, Index, best_passage, read_corpus

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import CallState, call
from mentor_kit.core.errors import DataError, MissingError
from mentor_kit.core.task import Problem
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.hooks.loader import load_plugins
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.rollout import run_async
from mentor_kit.rollout.tools import cut_by_characters, run_call

pytest.importorskip("bm25s")

REGISTRY = Registry(load_plugins())
PROBLEM = Problem(id="p", question="?", answer="")
TEXTS = [
    "Oslo lies on a fjord in Norway, and has trams.",
    "Rome lies on the Tiber. Rome has seven hills, and trams.",
    "Cairo lies on the Nile, south of its delta.",
    "The Nile flows north through Egypt to the sea, past Cairo, from Sudan, from Uganda.",
    "Trams run on rails.",
]


def built(folder: Path, **options: Any) -> Any:
    spec = ComponentSpec.model_validate({"use": "search", "with": options})
    return REGISTRY.build("tools", spec, BuildContext(REGISTRY, recipe_folder=folder))


def ranking(query: str) -> list[int]:
    """The documents that have a word of the query, best first: BM25 as Lucene has it, k1 1.5 and b 0.75."""
    documents = [re.findall(r"\w\w+", text.lower()) for text in TEXTS]
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for words in documents:
        counts, score = Counter(words), 0.0
        for word in set(re.findall(r"\w\w+", query.lower())):
            having = sum(word in other for other in documents)
            weight = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
            score += weight * counts[word] / (counts[word] + 1.5 * (0.25 + 0.75 * len(words) / mean))
        scores.append(score)
    order = sorted(range(len(TEXTS)), key=lambda index: -scores[index])
    return [index for index in order if scores[index] > 0]


@pytest.mark.parametrize("query", ["Nile", "trams", "Rome trams", "cairo nile delta", "fjord", "sea", "rails Norway"])
def test_the_ranking_is_that_of_bm25(query: str) -> None:
    index = Index([Document("", text) for text in TEXTS], stopwords="", results=5, characters=1000)
    found = [TEXTS.index(line.split("] ", 1)[1]) for line in index.call("search", {"query": query}).split("\n\n")]
    assert found == ranking(query)


@pytest.mark.parametrize("query", ["", "   ", "xylophone", "?!", "the", "\udc80", "a" * 100_000])
def test_nothing_found_is_said(query: str) -> None:
    index = Index([Document("", text) for text in TEXTS], stopwords="english", results=5, characters=1000)
    assert index.call("search", {"query": query}) == "nothing was found"


def test_a_corpus_of_rows_through_a_worker(tmp_path: Path) -> None:
    rows = [{"text": text, "name": text.split()[0]} for text in TEXTS]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = built(tmp_path, corpus="c.jsonl", title="name", results=2, characters=30, name="wiki")
    toolbox = Toolbox([source])

    async def episode() -> tuple[Any, Any]:
        async with toolbox.open(PROBLEM, 1) as session:
            return await run_call(
                call("wiki", query="delta of the Nile"),
                toolbox.tools(PROBLEM),
                session,
                max_result_tokens=100,
                cut=cut_by_characters,
            )

    done, result = run_async(episode())
    source.runner.close()
    assert done.state is CallState.EXECUTED
    first, second = result.content.split("\n\n")
    assert first == "[1] Cairo: …Nile, south of its delta."
    assert second.startswith("[2] The: ")


def test_a_folder_of_documents(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "rome.md").write_text("seven hills")
    (tmp_path / "cairo.txt").write_text("the Nile")
    (tmp_path / "picture.png").write_bytes(b"hills")
    assert list(read_corpus(tmp_path, "text", None)) == [Document("cairo", "the Nile"), Document("rome", "seven hills")]


def test_the_best_passage_has_the_querys_words() -> None:
    text = "start " + "filler " * 100 + "the golden needle lies here " + "filler " * 100
    shown = best_passage(text, "golden needle", 60)
    assert "golden needle" in shown
    assert shown.startswith("…")
    assert shown.endswith("…")
    assert len(shown) <= 62
    assert best_passage("short  text", "x", 60) == "short text"


def test_what_cannot_be_searched_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="nowhere"):
        built(tmp_path, corpus="nowhere")
    (tmp_path / "c.jsonl").write_text('{"text": "a"}\n{"txt": "b"}\n')
    with pytest.raises(DataError, match="row 2, column text"):
        built(tmp_path, corpus="c.jsonl")
    monkeypatch.setattr("mentor_kit.hooks.references.find_spec", lambda name: None)
    with pytest.raises(MissingError) as caught:
        built(tmp_path, corpus="c.jsonl")
    assert caught.value.hint == "pip install 'mentor-kit[search]'"
