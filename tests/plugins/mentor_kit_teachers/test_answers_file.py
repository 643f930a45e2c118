"""The file of answers, and the small words around it, without a server."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_teachers.answers import Answers, StoredAnswer, Usage, content_hash
from mentor_kit_teachers.retry import retry_after
from mentor_kit_teachers.server_options import OpenAIOptions
from mentor_kit_teachers.spending import Prices, Spending

from mentor_kit.core.errors import MentorKitError


def test_two_runs_share_a_file(tmp_path):
    one, other = Answers(tmp_path / "a"), Answers(tmp_path / "a")
    one.keep("k", "teacher", StoredAnswer({"text": "é\ud800"}, Usage(3, 4, 0.5), fresh=True))
    found = other.find("k")
    assert found == StoredAnswer({"text": "é\ud800"}, Usage(3, 4, 0.5), fresh=False)
    other.keep("k", "teacher", StoredAnswer({"text": "later"}, Usage(9, 9, 9.0), fresh=True))
    assert one.find("k") == found  # the first answer stays
    assert one.spent("teacher") == Usage(3, 4, 0.5)
    assert one.spent("another") == Usage()
    assert one.find("unknown") is None


def test_what_was_kept_is_on_disk_without_closing(tmp_path):
    Answers(tmp_path / "a").keep("k", "t", StoredAnswer({}, Usage(1, 2, 3.0), fresh=True))
    assert sqlite3.connect(tmp_path / "a").execute("SELECT hash, cost FROM answers").fetchall() == [("k", 3.0)]


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))


@given(st.dictionaries(st.text(), JSON))
def test_the_hash_follows_the_content_and_not_its_order(content):
    turned = dict(reversed(content.items()))
    assert content_hash(content) == content_hash(turned)
    assert content_hash(content) != content_hash(content | {"one more": 1})


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    found = retry_after({"retry-after": date})
    assert found is not None
    assert 25 <= found <= 30
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0


def test_cost_by_hand():
    prices = Prices(input=2.0, output=8.0, cached=0.5)
    assert prices.cost(1_000_000, 500_000, 400_000) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 0.5 * 8)
    assert Prices(input=2.0).cost(500_000, 1, 500_000) == pytest.approx(1.0)


def test_requests_wait_for_others_rather_than_pass_the_limit():
    spending = Spending(Prices(input=1.0, output=1.0, limit=1.0))
    order: list[str] = []

    async def request(name: str, most: float, seconds: float, cost: float) -> None:
        async with spending.reserve(most):
            order.append(name)
            await asyncio.sleep(seconds)
            spending.pay(Usage(1, 1, cost), estimated=False)

    async def both() -> None:
        spending.begin(Usage())
        # together they could cost 1.4; the first turns out cheap, so that the second may follow
        await asyncio.gather(request("a", 0.7, 0.05, 0.1), request("b", 0.7, 0.0, 0.1))
        with pytest.raises(MentorKitError, match="the limit is"):
            await request("c", 0.9, 0.0, 0.9)

    asyncio.run(both())
    assert order == ["a", "b"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (None, "official.example/v1"),
        ("http://user:password@host:81/v1/?key=hidden", "host:81/v1"),
        ("https://host", "host"),
    ],
)
def test_nothing_private_of_an_address_is_shown(url, shown):
    assert OpenAIOptions(model="m", url=url).server("https://official.example/v1") == shown
