"""The contract of a backend's memory: estimates, and more sequences than there is room for; subclass it in its tests.

class TestMyMemory(MemoryContract):
    @pytest.fixture
    def backend(self): ...            # with the options `policy_factory` has, and at most eight sequences at once
    @pytest.fixture
    def student(self): ...            # a `StudentSpec`: a tiny model in float32, all of which is trained
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mentor_kit.backend.memory import SAMPLING_PARTS, UPDATE_PARTS, MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Backend
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.errors import BackendError
from mentor_kit.testing.material import TOLERANCE, drive, request

LOAD = MemoryLoad(sequences=4, context=64, train_tokens=512)
FLOAT = 4  # bytes
PARTS = {"weights", "gradients", "optimizer", "reference", *UPDATE_PARTS, *SAMPLING_PARTS}


class MemoryContract:
    """The tests; see the module for the two fixtures a subclass gives."""

    def test_an_estimate_is_of_what_is_loaded(self, backend: Backend, student: StudentSpec) -> None:
        for spec in (student, replace(student, adapter=AdapterSpec(rank=4))):
            found, info = backend.estimate(spec, LOAD), backend.load(spec, 0).info
            assert found.trainable == info.trainable
            assert set(found.parts) >= PARTS
            updating = sum(found.parts[part] for part in UPDATE_PARTS)
            sampling = sum(found.parts[part] for part in SAMPLING_PARTS)
            assert found.total == sum(found.parts.values()) - min(updating, sampling)
        whole = backend.estimate(student, LOAD)
        count = backend.load(student, 0).info.parameters
        assert whole.parameters == whole.trainable == count
        assert (whole.parts["weights"], whole.parts["gradients"]) == (FLOAT * count, FLOAT * count)

    def test_an_estimate_of_a_saved_adapter_is_of_that_one(
        self, backend: Backend, student: StudentSpec, tmp_path: Path
    ) -> None:
        policy = backend.load(replace(student, adapter=AdapterSpec(rank=3)), 0)
        policy.export(tmp_path / "adapter", format="adapter")
        spec = replace(student, adapter=AdapterSpec(path=tmp_path / "adapter"))
        assert backend.estimate(spec, LOAD).trainable == backend.load(spec, 0).info.trainable == policy.info.trainable

    def test_a_target_that_no_layer_has_is_refused(self, backend: Backend, student: StudentSpec) -> None:
        spec = replace(student, adapter=AdapterSpec(targets=("no_such_layer",)))
        for attempt in (lambda: backend.load(spec, 0), lambda: backend.estimate(spec, LOAD)):
            with pytest.raises(BackendError, match="no_such_layer"):
                attempt()

    def test_an_estimate_follows_what_is_asked(self, backend: Backend, student: StudentSpec) -> None:
        def parts(spec: StudentSpec = student, **changes: object) -> dict[str, int]:
            return backend.estimate(spec, replace(LOAD, **changes)).parts  # type: ignore[arg-type]

        plain = parts()
        assert parts(context=128)["keys and values"] == 2 * plain["keys and values"]
        assert parts(sequences=8)["keys and values"] == 2 * plain["keys and values"]
        # no more than eight are held at once
        assert parts(sequences=800)["keys and values"] == 2 * plain["keys and values"]
        assert 0 < plain["activations"] < parts(train_tokens=1024)["activations"] <= 2 * plain["activations"]
        assert plain["reference"] == 0 < parts(reference=True)["reference"]
        assert parts(optimizer=OptimizerSpec(use="muon"))["optimizer"] <= plain["optimizer"]
        adapted = parts(replace(student, adapter=AdapterSpec(rank=1)))
        assert adapted["gradients"] < plain["gradients"]
        assert adapted["weights"] > plain["weights"]

    def test_a_backend_is_held_to_a_memory(self, backend: Backend, student: StudentSpec) -> None:
        """As where a teacher's model is beside the student's; a backend without limits returns itself."""
        wide = replace(LOAD, sequences=8, context=4096, train_tokens=0)
        whole = backend.estimate(student, wide)
        enough = whole.total * 3 // 4
        held = backend.held_to(enough)
        if held is backend:
            return
        assert held.place() == backend.place()
        assert held.memory_limit() == enough
        assert backend.memory_limit() is None
        assert held.usable_memory() == backend.usable_memory()
        assert held.estimate(student, wide).total <= enough
        assert len(drive(held.load(student, 0).engine(), [request(f"{i}", range(1, 9)) for i in range(8)])) == 8
        with pytest.raises(BackendError, match="it may take"):
            backend.held_to(whole.parts["weights"] // 2).load(student, 0)

    def test_more_requests_than_there_is_room_for(self, backend: Backend, student: StudentSpec) -> None:
        requests = [request(f"{i}", range(1, 3 + i % 7), max_new_tokens=1 + i % 5, seed=i) for i in range(30)]
        together = drive(backend.load(student, 0).engine(), requests)
        assert len(together) == len(requests)
        alone = backend.load(student, 0).engine()
        for item in requests[::4]:
            twin = drive(alone, [item])[item.id]
            alone.release(item.session)
            assert together[item.id].ids == twin.ids
            np.testing.assert_allclose(together[item.id].log_probs, twin.log_probs, atol=TOLERANCE)

    def test_a_session_that_was_given_up_goes_on(self, backend: Backend, student: StudentSpec) -> None:
        """More sessions than fit are kept between turns: some lose their keys and values, and are prefilled again."""
        engine = backend.load(student, 0).engine()
        contexts = {f"s{i}": [1, 2, 3, 4 + i] for i in range(20)}
        first = drive(engine, [request(f"{s}.0", c, session=s, max_new_tokens=4) for s, c in contexts.items()])
        again = [
            request(f"{s}.1", [*c, *first[f"{s}.0"].ids, 5], session=s, max_new_tokens=3) for s, c in contexts.items()
        ]
        done, fresh = drive(engine, again), backend.load(student, 0).engine()
        for item in again[::3]:
            twin = drive(fresh, [replace(item, session=f"fresh {item.id}")])[item.id]
            assert done[item.id].ids == twin.ids
            np.testing.assert_allclose(done[item.id].log_probs, twin.log_probs, atol=TOLERANCE)
