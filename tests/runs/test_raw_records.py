import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.core.errors import DataError
from mentor_kit.runs.raw_records import iterate_scored, iterate_totals, without_tokens

TOKENS = {
    "prompt_ids": [1, 2],
    "ids": [3],
    "mask": [1],
    "log_probs": [-0.5],
    "temperature": 1.0,
    "turns": [{"start": 0}],
}

#: What a student can write into the arguments of a call.
ARGUMENTS = st.recursive(
    st.none()
    | st.integers()
    | st.text()
    | st.sampled_from(['"tokens":{"prompt_ids":[', '},"reward":{"total":9', '"ending":']),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["tokens", "reward", "ending", "prompt_ids", "total", "trajectory"]), inner, max_size=3
        )
        | st.just({"tokens": {"prompt_ids": []}, "reward": {"total": 9}})
    ),
    max_leaves=8,
)


def line(arguments, *, tokens=True, total=0.25, problem="p", **reward):
    call = {"name": "add", "arguments": arguments, "state": "executed"}
    trajectory = {"id": f"{problem}#0", "problem_id": problem, "agent": "student"}
    trajectory |= {"messages": [{"role": "assistant", "tool_calls": [call]}], "opening": 0, "ending": "answered"}
    trajectory |= {"tokens": TOKENS} if tokens else {}
    return {"trajectory": trajectory, "reward": {"total": total, **reward}}


def encoded(found) -> bytes:
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")


@given(arguments=ARGUMENTS, tokens=st.booleans())
def test_only_the_trajectorys_own_tokens_are_cut_out(arguments, tokens):
    found = line({"a": arguments}, tokens=tokens)
    read = json.loads(without_tokens(encoded(found)))
    read["trajectory"].pop("tokens", None)
    found["trajectory"].pop("tokens", None)
    assert read == found


def test_tokens_are_cut_out_before_the_line_is_parsed():
    assert b"log_probs" not in without_tokens(encoded(line({})))


def test_lines_with_and_without_tokens(tmp_path):
    file = tmp_path / "step-000001.jsonl"
    file.write_bytes(encoded(line({}, problem="p")) + b"\n" + encoded(line({}, problem='q"é\\')) + b"\n{half")
    assert ["tokens" in found["trajectory"] for found in iterate_scored(file)] == [False, False]
    assert [found["trajectory"]["tokens"] for found in iterate_scored(file, tokens=True)] == [TOKENS, TOKENS]
    for problem in ("p", 'q"é\\'):
        (found,) = iterate_scored(file, problems={problem})
        assert found["trajectory"]["problem_id"] == problem
    assert not list(iterate_scored(file, problems={"r"}))


@given(totals=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4), arguments=ARGUMENTS)
def test_totals(tmp_path_factory, totals, arguments):
    file = tmp_path_factory.mktemp("totals") / "step-000001.jsonl"
    rows = [line({"a": arguments}, total=total, problem=f"p{place}") for place, total in enumerate(totals)]
    file.write_bytes(b"".join(encoded(row) + b"\n" for row in rows))
    assert list(iterate_totals(file)) == [(f"p{place}", total) for place, total in enumerate(totals)]


def test_a_reward_with_a_term_that_looks_like_one(tmp_path):
    file = tmp_path / "step-000001.jsonl"
    file.write_bytes(encoded(line({}, terms={'"reward":{"total":': {"score": 1}, "reward": {"score": 7}})) + b"\n")
    assert list(iterate_totals(file)) == [("p", 0.25)]


@pytest.mark.parametrize(
    "broken", [b"[]", b"{}", b"nothing", b'{"trajectory":{},"reward":{"total":1}}', b'{"trajectory":[],"reward":[]}']
)
@pytest.mark.parametrize("read", [iterate_scored, iterate_totals])
def test_a_line_that_is_something_else_is_named(tmp_path, broken, read):
    file = tmp_path / "step-000001.jsonl"
    file.write_bytes(encoded(line({})) + b"\n" + broken + b"\n")
    with pytest.raises(DataError) as caught:
        list(read(file))
    assert f"{file}:2:" in caught.value.message
