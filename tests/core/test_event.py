"""Events as lines of JSON."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.core.event import Event

values = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name not in ("step", "stage")),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@given(st.text(min_size=1), st.text(), st.none() | st.integers(0), values)
def test_events_read_back_as_written(kind: str, stage: str, step: int | None, found: dict[str, object]) -> None:
    event = Event.now(kind, stage, found if step is None else {**found, "step": step})
    text = event.to_json()
    assert "\n" not in text
    assert Event.from_json(text) == event
    assert (event.kind, event.stage, event.step, event.values) == (kind, stage, step, found)


def test_numbers_that_are_no_json_become_null() -> None:
    import numpy as np

    event = Event.now(
        "step", "1-grpo", {"loss": float("nan"), "worst": float("inf"), "mean": np.float32(0.5), "n": np.int64(3)}
    )
    assert Event.from_json(event.to_json()).values == {"loss": None, "worst": None, "mean": 0.5, "n": 3}
