"""Turns while they are sampled: their tokens, and the words in them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from chat_tokenizers import HERMES, make_format
from rollout_fakes import END, ScriptedEngine, encode

from mentor_kit.backend.engine_sampler import EngineSampler
from mentor_kit.backend.sampling import SampleRequest
from mentor_kit.rollout import StreamingSampler, TurnStream, run_async

REQUEST = SampleRequest("a/0", "a", (1, 2), 1.0, 10_000, frozenset({END}), 3)


def test_tokens_are_reported_as_they_are_drawn() -> None:
    words = "some words that take their time " * 100
    engine, reports = ScriptedEngine(lambda request: words), list[Sequence[int]]()
    step = engine.step

    def slow_step() -> list[object]:
        time.sleep(0.0001)
        return step()  # type: ignore[return-value]

    engine.step = slow_step  # type: ignore[assignment,method-assign]
    sampler = StreamingSampler(EngineSampler(engine, deterministic=False), reports.append)
    completion = run_async(sampler.sample(REQUEST))
    assert completion.ids == (*encode(words), END)
    assert len(reports) > 2
    assert reports[-1] == completion.ids
    assert all(tuple(completion.ids[: len(ids)]) == tuple(ids) for ids in reports)
    assert [len(ids) for ids in reports] == sorted(len(ids) for ids in reports)


def test_temperature_and_seed_can_be_changed_between_requests() -> None:
    engine = ScriptedEngine(lambda request: "x")
    sampler = StreamingSampler(EngineSampler(engine, deterministic=False), lambda ids: None)

    async def both() -> None:
        await sampler.sample(REQUEST)
        sampler.temperature, sampler.seed = 0.0, 8
        await sampler.sample(replace(REQUEST, id="a/1"))

    asyncio.run(both())
    assert [(made.temperature, made.seed) for made in engine.requests] == [(1.0, 3), (0.0, 8)]


def test_words_come_in_pieces_and_marks_do_not() -> None:
    hermes = make_format(HERMES)
    text = 'First I add.\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    ids = hermes.tokenizer.encode(text)
    stream = TurnStream(hermes, {})
    pieces = [piece for end in range(1, len(ids) + 1) for piece in stream.pieces(ids[:end])]
    pieces += stream.rest(hermes.parse(ids))
    assert {kind for kind, _ in pieces} == {"content"}
    assert "".join(text for _, text in pieces) == "First I add."
    assert len(pieces) > 3


def test_what_only_looks_like_the_beginning_of_a_mark_is_shown_in_the_end() -> None:
    hermes = make_format(HERMES)
    ids = hermes.tokenizer.encode("2 <")
    stream = TurnStream(hermes, {})
    assert "".join(text for _, text in stream.pieces(ids)) == "2"
    assert "".join(text for _, text in stream.rest(hermes.parse(ids))) == " <"
