"""The contract of engines that keep rows: what is computed once, however many sequences need it, and what stays right.

    class TestMyRows(RowsContract):
        @pytest.fixture
        def engine_factory(self): ...     # slots, prefill_chunk, token_budget by name -> a fresh `StepEngine`

The numbers are those of `mentor_kit.testing.sampling`; here passes of the device are counted. The model's vocabulary
has at least 96 tokens, its context at least 64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from mentor_kit.backend.engine import StepEngine
from mentor_kit.backend.sampling import Completion
from mentor_kit.testing.material import TOLERANCE, drive, request

EngineFactory = Callable[..., StepEngine]


class Passes(list[tuple[int, int]]):
    """The passes of an engine's device from now on: rows and tokens of each."""

    def __init__(self, engine: StepEngine) -> None:
        super().__init__()
        self._inside = False
        device: Any = engine.device
        for name in ("forward", "fill", "hold_prefix"):
            setattr(device, name, self._counted(getattr(device, name), name))

    def _counted(self, plain: Callable[..., Any], name: str) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            # a device may make one of these out of another
            if self._inside:
                return plain(*arguments, **more)
            if name == "hold_prefix":
                ids, chunk = (*arguments, *more.values())
                self.extend((1, min(chunk, len(ids) - start)) for start in range(0, len(ids), chunk))
            else:
                rows, width = np.shape(arguments[0].ids)
                self.append((rows, width))
            self._inside = True
            try:
                return plain(*arguments, **more)
            finally:
                self._inside = False

        return counted


class RowsContract:
    """The tests; see the module for the fixture a subclass gives."""

    def test_a_prompt_is_prefilled_once_for_all(self, engine_factory: EngineFactory) -> None:
        engine = engine_factory()
        passes = Passes(engine)
        system = list(range(1, 41))
        requests = [
            request(f"{p}.{g}", [*system, 50 + p, 60, 61], max_new_tokens=3, seed=8 * p + g)
            for p in range(3)
            for g in range(4)
        ]
        drive(engine, requests)
        # the common part, the rest of three problems, two more tokens for all twelve
        assert passes == [(1, 40), (3, 3), (12, 1), (12, 1)]
        passes.clear()
        # while sessions are held, the common part is taken over
        drive(engine, [request(f"new{i}", [*system, 70 + i], max_new_tokens=1) for i in range(2)])
        assert passes == [(2, 1)]

    def test_turns_prefill_what_is_new(self, engine_factory: EngineFactory) -> None:
        engine = engine_factory()
        first = drive(engine, [request("a", range(1, 31), session="s", max_new_tokens=5)])["a"]
        passes = Passes(engine)
        drive(engine, [request("b", [*range(1, 31), *first.ids, 7, 8, 9], session="s", max_new_tokens=1)])
        # the last sampled token was never put in
        assert passes == [(1, 4)]
        engine.release("s")
        passes.clear()
        drive(engine, [request("c", [*range(1, 31), *first.ids], session="s", max_new_tokens=1)])
        assert passes == [(1, 35)]

    def test_a_latecomer_copies_what_another_row_holds(self, engine_factory: EngineFactory) -> None:
        engine = engine_factory()
        prompt = list(range(1, 31))
        first = drive(engine, [request("a", prompt, max_new_tokens=3, seed=1)])["a"]
        passes = Passes(engine)
        late = drive(engine, [request("b", prompt, max_new_tokens=3, seed=1)])["b"]
        # where the other row cannot be cut back to the prompt, it is of no use
        assert passes == [(1, 1 if engine.device.cuts_rows else 30), (1, 1), (1, 1)]
        assert late.ids == first.ids
        np.testing.assert_allclose(late.log_probs, first.log_probs, atol=TOLERANCE)

    def test_a_context_that_differs_is_continued_from_what_is_held(self, engine_factory: EngineFactory) -> None:
        engine = engine_factory()
        system = list(range(1, 21))
        asked = [
            request(f"{i}", [*system, 30 + i, 40 + i, 41, 42], session=f"{i}", max_new_tokens=3, seed=i)
            for i in range(2)
        ]
        first = drive(engine, asked)
        passes = Passes(engine)
        # the first session's next turn forgets a part of its history, the other one's is what it was
        turns = [
            request("a", [*system, 30, 50, 51, 52, 53], session="0", max_new_tokens=2),
            request("b", [*asked[1].context, *first["1"].ids, 60, 61], session="1", max_new_tokens=2),
        ]
        found = drive(engine, turns)
        # from the token that differs, or from the common prefix; and the last sampled token with two new ones
        assert passes == [(2, 4 if engine.device.cuts_rows else 5), (2, 1)]
        for turn in turns:
            alone = drive(engine_factory(), [turn])[turn.id]
            assert found[turn.id].ids == alone.ids
            np.testing.assert_allclose(found[turn.id].log_probs, alone.log_probs, atol=TOLERANCE)

    def test_prefill_keeps_to_its_budget(self, engine_factory: EngineFactory) -> None:
        engine = engine_factory(prefill_chunk=16, token_budget=32)
        passes = Passes(engine)
        drive(engine, [request(f"{i}", [i + 1, *range(1, 40)], max_new_tokens=1) for i in range(5)])
        assert max(rows * width for rows, width in passes) <= 32
        assert sum(rows * width for rows, width in passes) == 5 * 40

    def test_rows_with_the_same_tokens_are_run_once(self, engine_factory: EngineFactory) -> None:
        engine = engine_factory()
        passes = Passes(engine)
        prompts = [[1, 2, 3], [4, 5, 6]]
        asked = [
            request(f"{p} {g}", prompts[p], max_new_tokens=4, seed=s, temperature=float(g > 2), session=f"{6 * p + g}")
            for p in range(2)
            for g, s in enumerate([0, 1, 2, 3, 4, 4])  # three that are greedy, and two that draw the same
        ]
        found = drive(engine, asked)
        contexts = [(one.context, found[one.id].ids) for one in asked]
        distinct = [len({(*prompt, *ids[:n]) for prompt, ids in contexts}) for n in (1, 2, 3)]
        assert 2 < distinct[0] < 8
        assert [width for _, width in passes] == [3, 1, 1, 1]
        # a pass has a quarter of idle rows at most
        for (rows, _), needed in zip(passes[1:], distinct, strict=True):
            assert needed <= rows <= needed / 0.75
        check_next_turns(engine_factory, engine, [[*context, *ids] for context, ids in contexts])

    @pytest.mark.parametrize("ends_first", [0, 1])
    def test_one_of_two_equal_rows_may_end_earlier(self, engine_factory: EngineFactory, ends_first: int) -> None:
        engine = engine_factory()
        asked = [
            request(f"{i}", [1, 2, 3], max_new_tokens=2 if i == ends_first else 6, temperature=0.0, session=f"{i}")
            for i in range(2)
        ]
        for one in asked:
            engine.submit(one)
        early: list[Completion] = []
        while not early:
            early = list(engine.step())
        # while the other one is still sampled
        turn = request("turn", [1, 2, 3, *early[0].ids, 7], session=f"{ends_first}", max_new_tokens=2)
        found = {early[0].id: early[0], **drive(engine, [turn])}
        assert early[0].id == f"{ends_first}"
        assert early[0].ids == found[f"{1 - ends_first}"].ids[:2]
        assert found["turn"].ids == drive(engine_factory(), [turn])["turn"].ids
        check_next_turns(engine_factory, engine, [[*asked[i].context, *found[f"{i}"].ids] for i in range(2)])

    def test_rows_that_diverge_leave_waiting_ones_alone(self, engine_factory: EngineFactory) -> None:
        greedy = request("1.0", [4, 5, 6], max_new_tokens=12, temperature=0.0, session="2")
        likely = drive(engine_factory(), [greedy])["1.0"].ids
        for seed in range(100):  # one that has the same tokens for long enough, then others
            other = request("1.1", [4, 5, 6], max_new_tokens=12, temperature=0.5, seed=seed, session="3")
            ids = drive(engine_factory(), [other])["1.1"].ids
            if ids[:5] == likely[:5] and ids[5:-1] != likely[5:-1]:
                break
        engine = engine_factory()
        early = [
            request(f"0.{i}", [1, 2, 3], max_new_tokens=3, temperature=0.0 if i == 0 else 1.0, session=f"{i}")
            for i in range(2)
        ]
        found = drive(engine, [early[0], greedy, early[1], other])
        assert found["1.1"].ids == ids
        assert found["1.0"].ids == likely
        order = ("0.0", "0.1", "1.0", "1.1")
        contexts = [[1, 2, 3] if name < "1" else [4, 5, 6] for name in order]
        check_next_turns(
            engine_factory,
            engine,
            [[*context, *found[name].ids] for context, name in zip(contexts, order, strict=True)],
        )

    @pytest.mark.parametrize("crowd", [False, True], ids=["alone", "with a new one"])
    @pytest.mark.parametrize("end", ["cancel", "release"])
    @pytest.mark.parametrize("which", [0, 1, 2])
    def test_equal_rows_go_on_when_one_is_ended(
        self, engine_factory: EngineFactory, end: str, which: int, crowd: bool
    ) -> None:
        engine = engine_factory()
        asked = [request(f"{i}", [1, 2, 3], max_new_tokens=6, temperature=0.0) for i in range(3)]
        for one in asked:
            engine.submit(one)
        engine.step()
        engine.step()
        getattr(engine, end)(f"{which}")
        found = drive(engine, [request("new", [9, 8, 7], max_new_tokens=6)] if crowd else [])
        expected = drive(engine_factory(), [asked[0], request("new", [9, 8, 7], max_new_tokens=6)])
        for name in {"0", "1", "2", *(["new"] if crowd else [])} - {f"{which}"}:
            twin = expected["new" if name == "new" else "0"]
            assert found[name].ids == twin.ids
            np.testing.assert_allclose(found[name].log_probs, twin.log_probs, atol=TOLERANCE)

    def test_new_weights_while_requests_run(self, engine_factory: EngineFactory) -> None:
        engine = engine_factory()
        for i in range(3):
            engine.submit(request(f"{i}", [1, 2, 3], max_new_tokens=6))
        engine.step()
        engine.drop(1)
        found: list[Completion] = []
        while engine.busy:
            found += engine.step()
        # the version of the weights that sampled their first tokens
        assert [(done.id, len(done.ids), done.version) for done in found] == [(f"{i}", 6, 0) for i in range(3)]
        assert engine.used_rows == 3
        for i in range(3):
            engine.release(f"{i}")
        assert len(drive(engine, [request("x", [4])])["x"].ids) == 8


def check_next_turns(engine_factory: EngineFactory, engine: StepEngine, contexts: Sequence[Sequence[int]]) -> None:
    """Sessions 0, 1, … go on as new ones do."""
    for i, context in enumerate(contexts):
        asked = request(f"next {i}", [*context, 7], session=f"{i}", max_new_tokens=5)
        here, there = (drive(one, [asked])[asked.id] for one in (engine, engine_factory()))
        assert here.ids == there.ids
        np.testing.assert_allclose(here.log_probs, there.log_probs, atol=TOLERANCE)
