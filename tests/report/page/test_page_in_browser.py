"""The page in a real browser: what it shows is what the files have, and nothing that a run wrote does anything."""

import http.server
import json
import random
import threading
import time
from urllib.parse import parse_qs, urlparse

import pytest
from browser import Tab, chromium
from page_helpers import (
    GROUP,
    HOSTILE,
    SPLITS,
    STEPS,
    event,
    read_lines_of,
    rollout,
    step_metrics,
    write_lines,
    write_page_run,
)

from mentor_kit import api
from mentor_kit.report.page import PageData, live_page, write_page
from mentor_kit.runs import Run

pytestmark = pytest.mark.slow

CELLS = ".grid .row:not(.heads) button.cell"


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_page_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def open_page(browser, tmp_path):
    tabs = []

    def open_runs(*folders, **options):
        write_page([Run(folder) for folder in folders], tmp_path / "run.html")
        tabs.append(Tab(browser, f"file://{tmp_path / 'run.html'}", **options))
        return tabs[-1]

    yield open_runs
    for tab in tabs:
        tab.close()
        assert tab.complaints == []
        assert {request.split("#")[0] for request in tab.requests} == {tab.url}


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """The quickstart as it is shipped."""
    return api.run("quickstart", output=tmp_path_factory.mktemp("runs"))


def shown_calls(tab, column):
    return tab.texts(f'[data-column="{column}"] .call code')


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
    assert (page.rollouts, page.episodes) == (7680, 2000)
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
    assert len(rows) == 7680
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


def test_calls_of_one_alone_are_marked(small, open_page):
    tab = open_page(small)
    marks = {}
    for attempt in range(GROUP):
        tab.show(tab="rollouts", step="0-grpo/1", problem="train-1-0", attempt=attempt)
        marks[attempt] = [
            tab.attributes(f'[data-column="{column}"] .call', "data-mark") for column in ("student", "teacher")
        ]
    assert marks == {
        0: [["same"], ["same"]],
        1: [["tool"], ["tool"]],
        2: [["tool", "arguments"], ["arguments"]],
        3: [[], ["tool"]],
    }


def test_tokens(small, open_page):
    tab = open_page(small)
    tab.show(tab="rollouts", step="0-grpo/1", view="tokens")
    stream = ".tokens > .stream .token"
    assert tab.texts(stream) == ["a", " b", "↵\n", "<|im_end|>", "plain", "a"]
    assert [float(nats) for nats in tab.attributes(f"{stream}.trained", "data-nats")] == [0.5, 0.25, 0.001, 2.0]
    assert tab.texts(f"{stream}.masked") == ["↵\n", "<|im_end|>"]


def test_evaluations_show_flips(small, open_page):
    tab = open_page(small)
    tab.show(tab="evaluations", plan="in-domain")
    rows = {
        name: [sign == "✓" for sign in tab.texts(f'.grid .row[data-problem="{name}"] button.cell')]
        for name in tab.attributes(".grid .row:not(.heads)", "data-problem")
    }
    assert rows == {
        f"in-domain-{place}": [place * 2 < step + 1 for step in (0, 2, 4)] for place in range(SPLITS["in-domain"])
    }
    tab.page.select_option('select[aria-label="show"]', "gained")
    tab.settle()
    assert tab.attributes(".grid .row:not(.heads)", "data-problem") == ["in-domain-1", "in-domain-2"]
    # the cell of the first checkpoint opens its dialogue; the last is put beside it
    tab.page.click('.row[data-problem="in-domain-2"] button.cell >> nth=0')
    tab.settle()
    assert tab.attributes(".attempt .chip", "class")[0] == "chip wrong"
    tab.page.select_option('select[aria-label="beside"]', label="step 4")
    tab.settle()
    assert [len(shown_calls(tab, column)) for column in ("student", "beside", "teacher")] == [2, 1, 1]
    tab.show(tab="evaluations", plan="in-domain")
    tab.page.select_option('select[aria-label="played"]', "sampled")
    tab.settle()
    assert "sampled" in tab.text(".attempt h2 small")


def test_several_runs_side_by_side(open_page, tmp_path):
    tab = open_page(write_page_run(tmp_path, seed=0), write_page_run(tmp_path, seed=3))
    assert "+" in "".join(tab.texts("table"))
    assert len(tab.texts("select[aria-label=run] option")) == 2
    tab.show(tab="evaluations", plan="in-domain", problem="in-domain-1")
    assert tab.texts('.row[data-problem="in-domain-1"] button.cell') == ["", "✓", "✓", "", "", ""]
    assert len(tab.texts(".column")) == 3
    tab.show(tab="rollouts", run="1", step="0-grpo/2", problem="train-2-1")
    assert tab.attributes(".attempt", "data-id") == ["train-2-1#0"]


def test_markup_and_scripts_of_a_run_stay_text(open_page, tmp_path):
    folder = write_page_run(tmp_path, HOSTILE, name="hostile")
    tab = open_page(folder)
    for place in (
        {"tab": "overview"},
        *(
            {"tab": "rollouts", "step": "0-grpo/1", "problem": "train-1-1", "attempt": attempt}
            for attempt in range(GROUP)
        ),
        {"tab": "rollouts", "step": "0-grpo/1", "view": "tokens"},
        {"tab": "evaluations", "plan": "in-domain"},
        {"tab": "evaluations", "plan": "in-domain", "played": "sampled", "beside": "0:0-grpo-000000-in-domain"},
        {"tab": "recipe"},
    ):
        tab.show(**place)
        assert HOSTILE in tab.page.evaluate("document.getElementById('main').textContent")
        assert tab.page.evaluate("window.hit") is None
        for made in (
            "img",
            "svg",
            "script",
            "style",
            "iframe",
            "object",
            "a[href^='javascript']",
            "[onerror]",
            "[onload]",
        ):
            assert tab.texts(f"#main {made}, #header {made}") == []
        assert tab.page.is_visible("#header")
    tab.show(tab="rollouts", step="0-grpo/1", problem="train-1-1", attempt=0)
    assert tab.text('[data-field="answer"]') == f"3 {HOSTILE}"
    assert tab.text('[data-field="key"]') == f"3 {HOSTILE}"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(
    "place",
    [
        {"tab": "overview"},
        {"tab": "rollouts", "attempt": 2},
        {"tab": "rollouts", "view": "tokens"},
        {"tab": "evaluations"},
        {"tab": "recipe"},
    ],
)
def test_a_telephone(small, open_page, place, dark):
    tab = open_page(small, width=390, height=800, dark=dark)
    tab.show(**place)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    back, text = (tab.page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
    light = [sum(map(int, colour[4:-1].split(","))) > 384 for colour in (back, text)]
    assert light == [not dark, dark]


def test_light_and_dark_by_hand(small, open_page):
    tab = open_page(small)
    tab.page.click('button[aria-label="light or dark"]')
    tab.settle()
    assert tab.page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_click_into_a_chart_opens_the_step(small, open_page):
    tab = open_page(small)
    chart = tab.page.locator("figure.card", has_text="Reward by term").locator(".u-over")
    box = chart.bounding_box()
    chart.click(position={"x": box["width"] - 2, "y": box["height"] / 2})
    tab.settle()
    assert (tab.place["tab"], tab.place["step"]) == ("rollouts", "0-grpo/4")


class Handler(http.server.BaseHTTPRequestHandler):
    """As little of a server as the live page needs."""

    data: PageData

    def do_GET(self):
        url = urlparse(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/":
            return self.answer(200, "text/html; charset=utf-8", live_page("").encode())
        if url.path == "/data.json":
            found = self.data.index(query.get("since"))
            return self.answer(
                204 if found is None else 200, "application/json", b"" if found is None else json.dumps(found).encode()
            )
        if url.path == "/chunk.json":
            return self.answer(
                200, "application/json", json.dumps(self.data.chunk(query["run"], query["name"])).encode()
            )
        return self.answer(404, "text/plain", b"")

    def answer(self, code, kind, body):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_live_page_shows_a_new_step_without_reloading(browser, tmp_path):
    folder = write_page_run(tmp_path)
    Handler.data = PageData([Run(folder)])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tab = Tab(browser, f"http://127.0.0.1:{server.server_port}/")
        tab.page.evaluate("window.same = true")
        tab.show(tab="rollouts", step=f"0-grpo/{STEPS}", problem=f"train-{STEPS}-2", attempt=1)
        before = len(tab.texts('select[aria-label="step"] option'))
        step = STEPS + 1
        rows = [rollout(f"train-{step}-0", attempt, "new", step) for attempt in range(GROUP)]
        write_lines(folder / "rollouts" / "0-grpo" / f"step-{step:06d}.jsonl", rows)
        with (folder / "events.jsonl").open("a") as file:
            file.write(json.dumps(event("step", 90, "0-grpo", step, **step_metrics(step))) + "\n")
        end = time.monotonic() + 15
        while len(tab.texts('select[aria-label="step"] option')) == before:
            assert time.monotonic() < end
            time.sleep(0.1)
        # the place that was looked at stays
        assert tab.attributes(".attempt", "data-id") == [f"train-{STEPS}-2#1"]
        tab.press("]")
        assert tab.attributes(".attempt", "data-id") == [f"train-{step}-0#0"]
        assert tab.page.evaluate("window.same") is True
        favicon = [request for request in tab.requests if request.endswith("favicon.ico")]
        assert {urlparse(request).path for request in tab.requests if request not in favicon} == {
            "/",
            "/data.json",
            "/chunk.json",
        }
        assert tab.complaints == []
        tab.close()
        server.shutdown()
