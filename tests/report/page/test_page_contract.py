"""What stands in a page, compared with a run's files that are read independently of it."""

import base64
import json
import math
import random
import shutil

import pytest
from page_helpers import GROUP, SPLITS, STEPS, ReadPage, read_lines_of, write_page_run

from mentor_kit.core.errors import DataError, UsageError
from mentor_kit.report.page import PageData, PageLimits, write_page
from mentor_kit.runs import Run
from mentor_kit.runs.compression import compress
from mentor_kit.runs.records import read_demonstrations, read_scored


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_page_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def page(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "run.html"
    write_page([Run(folder)], path)
    return ReadPage(path)


def test_the_run_of_these_tests_is_one_that_the_package_reads(folder):
    assert len(list(Run(folder).rollouts())) == STEPS * 4 * GROUP
    assert len(Run(folder).problems()) == STEPS * 4 + sum(SPLITS.values())
    assert len(read_demonstrations(folder / "demonstrations.jsonl")) == STEPS * 4 + sum(SPLITS.values())
    assert len(read_scored(folder / "evaluation" / "0-grpo-000004-in-domain.jsonl")) == 2 * SPLITS["in-domain"]


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_rollouts_are_those_of_the_file(folder, page, step):
    rows = read_lines_of(folder / "rollouts" / "0-grpo" / f"step-{step:06d}.jsonl")
    keys = {each["id"]: each["key"] for each in read_lines_of(folder / "problems.jsonl")}
    chunk = page.chunk(f"rollouts/0-grpo/{step}")
    shown = [(problem, attempt) for problem in chunk["problems"] for attempt in problem["attempts"]]
    assert len(shown) == len(rows) == 4 * GROUP
    for row, (problem, attempt) in zip(rows, shown, strict=True):
        trajectory = row["trajectory"]
        assert attempt["id"] == trajectory["id"]
        assert problem["id"] == trajectory["problem_id"]
        assert problem["key"] == keys[problem["id"]]
        assert attempt["reward"] == row["reward"]
        assert attempt["advantage"] == row["advantage"]
        assert attempt["correct"] is trajectory.get("correct", False)
        assert attempt.get("answer") == trajectory.get("answer")
        assert attempt["ending"] == trajectory["ending"]
        assert problem["opening"] == trajectory["messages"][:2]
        assert [each["role"] for each in attempt["messages"]] == [each["role"] for each in trajectory["messages"][2:]]
        for ours, theirs in zip(attempt["messages"], trajectory["messages"][2:], strict=True):
            assert ours.get("content") == theirs.get("content")
            assert ours.get("reasoning") == theirs.get("reasoning")
            for call, recorded in zip(ours.get("tool_calls", []), theirs.get("tool_calls", []), strict=True):
                assert {**recorded, **call} == recorded
                assert {"name", "arguments", "state", "error"} & set(recorded) == set(call) - {"raw"}


def test_a_result_that_differs_from_its_message_is_kept(page):
    attempt = page.chunk("rollouts/0-grpo/1")["problems"][0]["attempts"][2]
    assert attempt["messages"][1]["result"] == {"name": "add", "content": "other", "ok": False}
    assert attempt["messages"][0]["tool_calls"][0]["raw"] == "<tool_call>plain"


def test_flags(page):
    (problem, *_) = page.chunk("rollouts/0-grpo/1")["problems"]
    flags = [attempt["flags"] for attempt in problem["attempts"]]
    assert flags == [[], ["tools"], ["paid", "call"], ["unended"]]
    assert problem["flags"] == ["mixed"]
    (step, *_) = page.index["runs"][0]["rollouts"]["steps"]
    assert step["flags"] == {"paid": 4, "tools": 4, "call": 4, "unended": 4, "mixed": 4}


def test_tokens_are_those_of_the_file(folder, page):
    rows = read_lines_of(folder / "rollouts" / "0-grpo" / "step-000003.jsonl")
    shown = page.chunk("tokens/0-grpo/3")["problems"]
    for row in rows:
        trace = row["trajectory"]["tokens"]
        number = int(row["trajectory"]["id"].split("#")[1])
        problem = shown[row["trajectory"]["problem_id"]]
        tokens = problem["attempts"][number]
        mask = [1 - place % 2 for place, length in enumerate(tokens["spans"]) for _ in range(length)]
        sampled = [value for value, bit in zip(trace["log_probs"], trace["mask"], strict=True) if bit]
        assert problem["prompt"] == trace["prompt_ids"]
        assert tokens["ids"] == trace["ids"]
        assert mask == trace["mask"]
        assert tokens["nats"] == pytest.approx([-1000 * value for value in sampled], abs=0.5)
    assert page.chunk("vocabulary") == {"1": "a", "2": " b", "3": "\n", "4": "plain", "5": "<|im_end|>"}


def test_evaluations_are_those_of_the_files(folder, page):
    plans = {plan["name"]: plan for plan in page.index["runs"][0]["evaluations"]["plans"]}
    assert set(plans) == set(SPLITS)
    for split, plan in plans.items():
        assert [checkpoint["at"] for checkpoint in plan["checkpoints"]] == [0, 2, STEPS]
        problems = page.chunk(f"problems/{split}")["problems"]
        for checkpoint in plan["checkpoints"]:
            report = json.loads((folder / "evaluation" / f"{checkpoint['name']}.json").read_text())
            rows = read_lines_of(folder / "evaluation" / f"{checkpoint['name']}.jsonl")
            assert dict(zip(plan["problems"], checkpoint["outcomes"], strict=True)) == report["outcomes"]
            assert checkpoint["metrics"]["greedy"] == report["greedy"]
            episodes = page.chunk(f"evaluation/{checkpoint['name']}")["problems"]
            assert set(episodes) == set(report["outcomes"]) == set(problems)
            for place, row in enumerate(rows):
                kind = "greedy" if place < len(rows) / 2 else "sampled"
                (one,) = [each for each in episodes[row["trajectory"]["problem_id"]] if each["decoding"] == kind]
                assert one["reward"] == row["reward"]
                assert one.get("answer") == row["trajectory"].get("answer")


def test_demonstrations_stand_beside_their_problems(page):
    for chunk in (page.chunk("rollouts/0-grpo/1")["problems"], page.chunk("problems/in-domain")["problems"].values()):
        for problem in chunk:
            (shown,) = problem["demonstrations"]
            assert shown["messages"][0]["tool_calls"][0]["name"] == "add"
            assert len(shown["messages"]) == 3


def test_the_overview(page):
    found = page.index["runs"][0]["overview"]
    assert found["steps"]["at"] == [1, 2, 3, 4]
    assert found["steps"]["metrics"]["reward/correct"] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    # four steps of four seconds, in the minute between the first event and the last
    assert found["time"]["total"] == 60
    assert found["time"]["parts"] == {"rollout": 8, "update": 4, "rest of the steps": 4, "outside steps": 44}
    assert [change["after"] for change in found["before_after"] if change["kind"] == "greedy"] == [3 / 5, 1.0]
    assert [note["values"]["text"] for note in found["notes"]] == ["a note: plain"]


def test_nothing_of_the_users_home(page):
    assert "somebody" not in json.dumps(page.index)


def test_paths_in_settings_and_notes_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    folder = write_page_run(tmp_path / "runs", "/home/somebody/models/small is missing")
    write_page([Run(folder)], tmp_path / "run.html")
    found = ReadPage(tmp_path / "run.html").index["runs"][0]
    assert found["environment"]["settings"] == {"a": "~/models/small is missing"}
    assert [note["values"]["text"] for note in found["overview"]["notes"]] == ["a note: ~/models/small is missing"]
    assert "/home/somebody/models" not in json.dumps(found)


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        (PageLimits("every", 2), [2, 4]),
        (PageLimits("none"), []),
        (PageLimits("every", 100), [4]),
        (PageLimits(), [1, 2, 3, 4]),
    ],
)
def test_selected_steps(folder, tmp_path, limits, steps):
    written = write_page([Run(folder)], tmp_path / "run.html", limits)
    found = ReadPage(tmp_path / "run.html").index["runs"][0]
    assert [step["step"] for step in found["rollouts"]["steps"]] == steps
    assert found["rollouts"]["recorded"] == STEPS
    assert written.rollouts == len(steps) * 4 * GROUP
    assert bool(found["notes"]) == (len(steps) < STEPS)


def test_the_worst_groups(folder, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(folder, path)
    file = path / "rollouts" / "0-grpo" / "step-000002.jsonl"
    rows = read_lines_of(file)
    for row in rows:
        if row["trajectory"]["problem_id"] == "train-2-1":
            row["reward"] = {"total": -3.5e-1}
    file.write_text("".join(f"{json.dumps(row, separators=(',', ':'))}\n" for row in rows))
    write_page([Run(path)], tmp_path / "run.html", PageLimits("worst", 3))
    page = ReadPage(tmp_path / "run.html")
    kept = {
        step["step"]: [problem["id"] for problem in page.chunk(f"rollouts/{step['key']}")["problems"]]
        for step in page.index["runs"][0]["rollouts"]["steps"]
    }
    # the others have equal means: the later step comes first
    assert kept == {2: ["train-2-1"], 4: ["train-4-0", "train-4-1"]}


def test_what_does_not_fit_is_left_out_and_said(tmp_path):
    rng = random.Random(0)
    folder = write_page_run(tmp_path)
    for file in folder.glob("rollouts/*/*.jsonl"):
        rows = read_lines_of(file)
        for row in rows:
            row["trajectory"]["messages"][-1]["content"] = base64.b64encode(rng.randbytes(12_000)).decode()
        file.write_text("".join(f"{json.dumps(row, separators=(',', ':'))}\n" for row in rows))
    # a page of 1 MB has room for its scripts and for some of this
    written = write_page([Run(folder)], tmp_path / "run.html", PageLimits(megabytes=1))
    assert written.bytes <= 1_000_000
    assert (tmp_path / "run.html").stat().st_size == written.bytes
    assert 0 < written.rollouts < STEPS * 4 * GROUP
    assert list(written.notes) == ReadPage(tmp_path / "run.html").index["runs"][0]["notes"] != []


def test_an_old_run_without_problems_advantages_and_tokens(tmp_path):
    folder = write_page_run(tmp_path)
    (folder / "problems.jsonl").unlink()
    for file in folder.glob("rollouts/*/*.jsonl"):
        rows = read_lines_of(file)
        for row in rows:
            del row["advantage"], row["trajectory"]["tokens"]
        file.write_text("".join(f"{json.dumps(row, separators=(',', ':'))}\n" for row in rows))
    write_page([Run(folder)], tmp_path / "run.html")
    page = ReadPage(tmp_path / "run.html")
    (problem, *_) = page.chunk("rollouts/0-grpo/1")["problems"]
    assert "key" not in problem
    assert problem["opening"][-1]["content"] == "question plain"
    assert "advantage" not in problem["attempts"][0]
    assert not [name for name in page.index["runs"][0]["chunks"] if name.startswith(("tokens", "vocabulary"))]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_rollouts_and_episodes(folder, page, tmp_path, suffix):
    if suffix == ".zst":
        pytest.importorskip("backports.zstd")
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for file in [*copy.glob("rollouts/*/*.jsonl"), *copy.glob("evaluation/*.jsonl")]:
        file.with_name(file.name + suffix).write_bytes(
            compress(file.read_bytes(), "gzip" if suffix == ".gz" else "zstd")
        )
        file.unlink()
    write_page([Run(copy)], tmp_path / "run.html")
    found = ReadPage(tmp_path / "run.html")
    for name in page.index["runs"][0]["chunks"]:
        assert found.chunk(name) == page.chunk(name)


def test_several_runs_are_paired_by_problem(tmp_path):
    folders = [write_page_run(tmp_path, seed=seed) for seed in (0, 3)]
    write_page([Run(folder) for folder in folders], tmp_path / "runs.html")
    index = ReadPage(tmp_path / "runs.html").index
    assert [run["seed"] for run in index["runs"]] == [0, 3]
    (comparison,) = index["comparisons"]
    counts = {pair["split"]: pair["counts"] for pair in comparison["pairs"] if pair["kind"] == "greedy"}
    # at step 4 of run 0 problems 0 to 2 are right, of run 3 problem 0 alone
    assert (counts["in-domain"]["both"], counts["in-domain"]["only_a"], counts["in-domain"]["only_b"]) == (1, 2, 0)


def test_a_server_gets_the_same_data(folder, page):
    data = PageData([Run(folder)])
    index = data.index()
    assert index["runs"][0]["evaluations"] == page.index["runs"][0]["evaluations"]
    assert data.chunk("0", "rollouts/0-grpo/2") == page.chunk("rollouts/0-grpo/2")
    assert data.chunk("0", "evaluation/0-grpo-000002-in-domain") == page.chunk("evaluation/0-grpo-000002-in-domain")
    assert data.index(since=index["version"]) is None


def test_a_server_sees_what_is_new(tmp_path):
    folder = write_page_run(tmp_path)
    data = PageData([Run(folder)])
    before = data.index()
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"kind":"note","time":"2026-11-29T00:10:00.000+00:00","values":{"text":"new"}}\n')
    after = data.index(since=before["version"])
    assert after["runs"][0]["overview"]["notes"][-1]["values"] == {"text": "new"}


@pytest.mark.parametrize(
    ("run", "name"),
    [("1", "vocabulary"), ("x", "vocabulary"), ("0", "rollouts/0-grpo/9"), ("0", "evaluation/../../x"), ("0", "")],
)
def test_a_server_gives_nothing_else(folder, run, name):
    with pytest.raises(UsageError):
        PageData([Run(folder)]).chunk(run, name)


def test_numbers_that_are_not_finite_are_unknown(tmp_path):
    folder = write_page_run(tmp_path)
    text = (folder / "events.jsonl").read_text().replace('"entropy":0.3', '"entropy":NaN')
    (folder / "events.jsonl").write_text(text)
    write_page([Run(folder)], tmp_path / "run.html")
    found = ReadPage(tmp_path / "run.html").index["runs"][0]["overview"]["steps"]["metrics"]
    assert all(value is None or math.isfinite(value) for values in found.values() for value in values)


def test_a_broken_line_is_named(tmp_path):
    folder = write_page_run(tmp_path)
    file = folder / "rollouts" / "0-grpo" / "step-000002.jsonl"
    file.write_text(file.read_text().replace('"messages"', '"massages"', 1))
    with pytest.raises(DataError) as caught:
        write_page([Run(folder)], tmp_path / "run.html")
    assert f"{file}:1:" in caught.value.message
    assert not list(tmp_path.glob("*.html"))
    assert not list(tmp_path.glob(".new-*"))


def test_a_folder_is_no_page(folder, tmp_path):
    with pytest.raises(UsageError):
        write_page([Run(folder)], tmp_path)
