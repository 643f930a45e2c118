"""Which numbers of a run's events are tracked, and under which names."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_trackers.curves import point_of, stage_names

from mentor_kit.core.event import Event

TIME = "2026-11-29T11:30:12.033+00:00"


def event(kind: str, stage: str, step: int | None, **values: Any) -> Event:
    return Event(kind, TIME, stage, step, values)


@pytest.mark.parametrize(
    ("stages", "names"),
    [
        (["0-grpo"], {"0-grpo": "grpo"}),
        (["0-sft", "1-grpo"], {"0-sft": "sft", "1-grpo": "grpo"}),
        # a kind that a run has twice is told apart by its place
        (["0-grpo", "1-sft", "2-grpo"], {"0-grpo": "0-grpo", "1-sft": "sft", "2-grpo": "2-grpo"}),
        (["0-acme-stage"], {"0-acme-stage": "acme-stage"}),
    ],
)
def test_stages_are_called_by_their_kinds(stages: list[str], names: dict[str, str]) -> None:
    assert stage_names(stages) == names


def test_a_steps_numbers_are_its_point() -> None:
    found = point_of(
        event("step", "1-grpo", 7, steps=60, reward=0.5, clipped_gradient=True, loss=math.nan, note="x", seconds=None),
        {"1-grpo": "grpo"},
    )
    assert found is not None
    assert (found.series, found.step) == ("grpo", 7)
    assert found.time == pytest.approx(1795951812.033, abs=1e-6)
    assert found.values == {"grpo/reward": 0.5, "grpo/clipped_gradient": 1.0}


def test_an_evaluation_is_a_series_of_its_own() -> None:
    values = {
        "plan": "in-domain",
        "greedy": {"accuracy": 0.27, "interval": "wilson"},
        "groups": {"easy": {"greedy": {"accuracy": 1.0}}},
        "agent": {"seed": 3},
    }
    names = {"0-grpo": "grpo"}
    whole = point_of(event("evaluation", "0-grpo", 20, **values), names)
    some = point_of(event("evaluation", "0-grpo", 20, **values), names, ["*/groups/*"])
    assert whole is not None
    assert some is not None
    assert (some.series, some.step) == ("grpo/evaluation/in-domain", 20)
    assert some.values == {"grpo/evaluation/in-domain/greedy/accuracy": 0.27}
    assert whole.values == {**some.values, "grpo/evaluation/in-domain/groups/easy/greedy/accuracy": 1.0}


@pytest.mark.parametrize(
    "found",
    [
        event("run_start", "", None, stages=["0-grpo"]),
        event("run_end", "", None, seconds=3),
        event("checkpoint", "0-grpo", 10, metrics={"accuracy": 0.5}),
        event("diagnosis", "0-grpo", 10, name="equal-rewards", value=1),
        event("note", "0-grpo", 10, text="x", value=1),
        event("export", "0-grpo", None, folder="x"),
    ],
)
def test_events_without_metrics_are_no_points(found: Event) -> None:
    assert point_of(found, {}) is None


def test_a_stages_own_events_are_tracked_too() -> None:
    found = point_of(event("collected", "0-collect", None, problems=12), {"0-collect": "collect"})
    assert found is not None
    assert (found.series, found.step, dict(found.values)) == (
        "collect/collected",
        0,
        {"collect/collected/problems": 12.0},
    )


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.floats(), st.integers(-(2**53), 2**53)),
    lambda inner: st.one_of(
        st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3), st.lists(inner, max_size=2)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), VALUES, max_size=4))
def test_every_finite_number_is_tracked_and_nothing_else(values: dict[str, Any]) -> None:
    def count(value: Any) -> int:
        if isinstance(value, dict):
            return sum(map(count, value.values()))
        return isinstance(value, int | float) and math.isfinite(value)

    found = point_of(event("step", "0-grpo", 1, **values), {"0-grpo": "grpo"})
    kept = dict(found.values) if found is not None else {}
    assert len(kept) == count(values)
    for name, value in kept.items():
        inner: Any = values
        for part in name.removeprefix("grpo/").split("/"):
            inner = inner[part]
        assert value == float(inner)
