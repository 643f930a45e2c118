"""The page in a real browser: what it shows is what the files have, and nothing that a run wrote does anything."""

import json
import math
import random
import time

import pytest
from browser import Tab, shown_calls
from page_helpers import read_lines_of, rollout, write_lines

from mentor_kit import api

pytestmark = pytest.mark.slow

CELLS = ".grid .row:not(.heads) button.cell"


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """The quickstart as it is shipped."""
    return api.run("quickstart", output=tmp_path_factory.mktemp("runs"))


def call_text(call):
    if call["state"] == "malformed":
        return call["raw"]
    arguments = [
        f"{name}={json.dumps(value, ensure_ascii=False, separators=(',', ':'))}"
        for name, value in call["arguments"].items()
    ]
    return f"{call['name']}({', '.join(arguments)})"


@pytest.mark.timeout(900)
def test_the_quickstarts_report(quickstart, browser, tmp_path):
    began = time.process_time()
    page = api.report(quickstart, tmp_path / "run.html")
    assert time.process_time() - began < 5
    assert page.bytes <= 1 << 20
    (stage,), evaluated = quickstart.recipe["train"], quickstart.recipe["evaluate"]
    made = math.prod(stage["with"][name] for name in ("steps", "problems", "group"))
    evaluations = 1 + stage["with"]["steps"] // evaluated["every"]
    episodes = evaluations * 2 * sum(plan["problems"] for plan in evaluated["on"])  # greedy and sampled
    assert (page.rollouts, page.episodes) == (made, episodes)
    assert page.notes == ()

    tab = Tab(browser, f"file://{tmp_path / 'run.html'}")
    assert tab.texts("nav a")[:4] == ["Overview", "Rollouts", "Evaluations", "Recipe"]
    assert len(tab.texts("figure.card canvas")) >= 10
    keys = {problem.id: problem.key for problem in quickstart.problems().values()}
    rows = [
        (file, place, row)
        for file in sorted(quickstart.path.glob("rollouts/*/*.jsonl"))
        for place, row in enumerate(read_lines_of(file))
    ]
    assert len(rows) == made
    for file, place, row in random.Random(0).sample(rows, 50):
        trajectory, reward = row["trajectory"], row["reward"]
        step = int(file.stem.removeprefix("step-"))
        tab.show(tab="rollouts", step=f"{file.parent.name}/{step}", problem=trajectory["problem_id"], attempt=place % 8)
        assert tab.attributes(".attempt", "data-id") == [trajectory["id"]]
        assert tab.text(".attempt h2 .id") == trajectory["problem_id"]
        assert tab.text('[data-field="key"]') == keys[trajectory["problem_id"]]
        assert tab.texts('[data-field="answer"]') == ([trajectory["answer"]] if "answer" in trajectory else [])
        assert tab.text('[data-field="ending"]') == trajectory["ending"]
        assert float(tab.text('[data-field="reward"]')) == pytest.approx(reward["total"], abs=5e-4)
        assert float(tab.text('[data-field="advantage"]').replace("−", "-")) == pytest.approx(
            row["advantage"], abs=5e-4
        )
        assert tab.texts('[data-field="gate"]') == ([reward["gate"]] if reward.get("gate") else [])
        if not reward.get("gate"):
            paid = dict(zip(tab.attributes("[data-term]", "data-term"), tab.texts("[data-term]"), strict=True))
            assert set(paid) == set(reward["terms"])
            for name, term in reward["terms"].items():
                assert float(paid[name]) == pytest.approx(term["value"], abs=5e-4)
        episode = trajectory["messages"][trajectory["opening"] :]
        calls = [call for message in episode for call in message.get("tool_calls", ())]
        assert shown_calls(tab, "student") == [call_text(call) for call in calls]
        assert tab.attributes('[data-column="student"] .call', "data-state") == [call["state"] for call in calls]
        results = [message["content"] for message in episode if message["role"] == "tool"]
        assert tab.texts('[data-column="student"] .message.tool .text') == results
        tab.press("t")
        mask = trajectory["tokens"]["mask"]
        assert len(tab.texts(".tokens > .stream .token.trained")) == sum(mask)
        assert len(tab.texts(".tokens > .stream .token.masked")) == len(mask) - sum(mask)
    assert tab.complaints == []
    assert {request.split("#")[0] for request in tab.requests} == {tab.url}
    tab.close()


def test_tabs(small, open_page):
    tab = open_page(small)
    for place, (name, within) in enumerate(
        [("Overview", "figure.card canvas"), ("Rollouts", CELLS), ("Evaluations", CELLS), ("Recipe", "pre.recipe")]
    ):
        tab.page.click(f"nav a:nth-of-type({place + 1})")
        tab.settle()
        assert tab.text("nav a[aria-current]") == name
        assert tab.texts(within)
        assert name in tab.page.title()
    assert "/home" not in tab.text("pre.recipe")


FLAGGED = {
    "": [0, 1, 2, 3],
    "paid": [2],
    "tools": [1],
    "call": [2],
    "unended": [3],
    "mixed": [0, 1, 2, 3],
    "equal": [],
    "raised": [],
}


@pytest.mark.parametrize(("flag", "attempts"), FLAGGED.items())
def test_filters(small, open_page, flag, attempts):
    tab = open_page(small)
    tab.show(tab="rollouts", step="0-grpo/2")
    tab.page.select_option('select[aria-label="show"]', flag)
    tab.settle()
    assert tab.place.get("filter", "") == flag
    rows = tab.attributes(".grid .row", "data-problem")
    assert rows == ([f"train-2-{number}" for number in range(4)] if attempts else [])
    bright = tab.attributes(f"{CELLS}:not(.dim)", "data-cell")
    assert bright == [str(attempt) for _ in rows for attempt in attempts]
    if attempts:
        assert tab.attributes(".attempt", "data-id") == [f"train-2-0#{attempts[0]}"]
    assert tab.text(".toolbar .count").startswith(f"{len(rows)} of 4 problems")


def test_finding_a_problem_by_its_question(small, open_page):
    tab = open_page(small)
    tab.show(tab="rollouts", step="0-grpo/1")
    tab.page.fill('input[type="search"]', "TRAIN-1-3")
    tab.page.keyboard.press("Enter")
    tab.page.keyboard.press("Escape")
    tab.settle()
    assert tab.attributes(".grid .row", "data-problem") == ["train-1-3"]


def test_episodes_from_elsewhere_stand_among_the_rollouts(small, browser, tmp_path):
    rows = [rollout("train-1-0", attempt, "said in a chat", 1) for attempt in (0, 2)]
    rows[1]["trajectory"]["agent"] = "scripted"
    free = rollout("chat-1", 3, "a free question", 1)
    free["reward"] = {"total": 0.0}
    write_lines(tmp_path / "chat.jsonl", [*rows, free])
    api.report([small, tmp_path / "chat.jsonl"], tmp_path / "run.html")
    tab = Tab(browser, f"file://{tmp_path / 'run.html'}#tab=rollouts")
    assert tab.texts('select[aria-label="step"] option')[-1] == "chat.jsonl"
    tab.press("l")
    assert tab.text('[data-field="agent"]') == "scripted"
    assert tab.texts(".column h3")[0].startswith("scripted")
    assert len(shown_calls(tab, "teacher")) == 1
    # what nobody has judged is neither right nor wrong
    tab.press("j")
    assert tab.texts(".attempt .chip")[0] == "not judged"
    assert tab.texts('[data-field="reward"]') == []
    assert tab.complaints == []
    tab.close()


def test_keys_of_rollouts(small, open_page):
    tab = open_page(small)
    tab.press("2")
    assert tab.attributes(".attempt", "data-id") == ["train-4-0#0"]
    tab.press("j", "j", "l")
    assert tab.attributes(".attempt", "data-id") == ["train-4-2#1"]
    tab.press("k", "h", "h")
    assert tab.attributes(".attempt", "data-id") == ["train-4-1#0"]
    tab.press("[")
    assert tab.attributes(".attempt", "data-id") == ["train-3-0#0"]
    tab.press("]", "]", "]")
    assert tab.place["step"] == "0-grpo/4"
    tab.press("t")
    assert len(tab.texts(".tokens")) == 1
    tab.press("t", "f")
    assert (tab.place["filter"], len(tab.texts(".tokens"))) == ("mixed", 0)
    assert tab.attributes(".row.current", "data-problem") == ["train-4-0"]
    tab.press("?")
    assert "next, previous problem" in tab.text("#help")
    tab.press("Escape", "4")
    assert tab.texts("#help") == []
    assert tab.text("nav a[aria-current]") == "Recipe"
    # keys of other tabs do nothing here
    tab.press("j", "t", "[")
    assert tab.text("nav a[aria-current]") == "Recipe"


def test_keys_of_evaluations(small, open_page):
    tab = open_page(small)
    tab.press("3")
    assert (tab.text(".attempt h2 .id"), tab.text(".attempt h2 small")) == ("in-domain-0", "step 4, greedy")
    tab.press("j", "h", "h")
    assert (tab.text(".attempt h2 .id"), tab.text(".attempt h2 small")) == ("in-domain-1", "step 0, greedy")
    tab.press("]")
    assert tab.text(".attempt h2 .id") == "out-of-domain-0"
    tab.press("f")
    assert tab.place["changed"] == "flips"


def test_a_place_is_a_link(small, open_page, browser):
    tab = open_page(small)
    tab.show(tab="rollouts", step="0-grpo/3", problem="train-3-2", attempt=2, view="tokens")
    other = Tab(browser, tab.page.url)
    assert other.attributes(".attempt", "data-id") == ["train-3-2#2"]
    assert len(other.texts(".tokens")) == 1
    assert other.complaints == []
    other.close()
    # steps that were made by links can be taken back
    tab.show(tab="recipe")
    tab.page.go_back()
    tab.settle()
    assert tab.attributes(".attempt", "data-id") == ["train-3-2#2"]


@pytest.mark.parametrize(
    "place",
    [
        {"tab": "nothing"},
        {"tab": "rollouts", "step": "x/9", "problem": "<b>", "attempt": "99"},
        {"tab": "rollouts", "attempt": "-1", "view": "x", "run": "7"},
        {"tab": "evaluations", "plan": "?", "column": "?", "beside": "?", "sample": "9"},
    ],
)
def test_a_wrong_link_shows_something(small, open_page, place):
    tab = open_page(small)
    tab.show(**place)
    assert tab.texts("main > .error") == []
    assert tab.texts("main *")
