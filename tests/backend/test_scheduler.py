"""An engine's waiting requests, by a model of them that is a list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.backend.scheduler import RequestQueue


def request(number: int) -> SampleRequest:
    return SampleRequest(f"r{number}", "s", (1,), 1.0, 1, frozenset(), seed=number)


@given(st.lists(st.sampled_from(["add", "pop", "cancel", "due"]), max_size=40), st.data())
def test_first_come_first_served_and_all_are_due_once(events: list[str], data: st.DataObject) -> None:
    queue = RequestQueue()
    waiting: list[int] = []
    running: list[int] = []
    cancelled: list[int] = []
    given_back: list[str] = []
    submitted = 0
    for event in events:
        if event == "add":
            queue.add(request(submitted))
            waiting.append(submitted)
            submitted += 1
        elif event == "pop" and waiting:
            order, first = queue.pop()
            assert (order, first.id) == (waiting[0], f"r{waiting[0]}")
            running.append(waiting.pop(0))
        elif event == "cancel" and submitted:
            number = data.draw(st.integers(0, submitted - 1))
            queue.cancel(f"r{number}", 7)
            if number in waiting:
                waiting.remove(number)
                cancelled.append(number)
        elif event == "due":
            ended = [(number, Completion(f"r{number}", (3,), (-1.0,), "stop", 7)) for number in reversed(running)]
            found = queue.due(ended)
            assert [done.id for done in found] == [f"r{number}" for number in sorted(running + cancelled)]
            assert all((done.finish == "cancelled") == (done.ids == ()) for done in found)
            given_back += [done.id for done in found]
            running, cancelled = [], []
        assert [item.id for item in queue] == [f"r{number}" for number in waiting]
        assert len(queue) == len(waiting)
        assert queue.busy == bool(waiting or cancelled)
        if waiting:
            assert queue.first[1].id == f"r{waiting[0]}"
    assert len(given_back) == len(set(given_back))
