"""The served page in a real browser: the list of runs, runs side by side, a run in progress, and what is refused."""

import json
import subprocess
import sys
import time
from urllib.parse import urlparse

import pytest
from browser import Tab
from page_helpers import GROUP, HOSTILE, STEPS, event, rollout, step_metrics, write_lines, write_page_run

from mentor_kit.report.live import LiveServer, LiveSite
from mentor_kit.runs import Run

pytestmark = pytest.mark.slow

#: What the list of runs calls once it is drawn; it has no tabs, and so no place that is drawn.
LISTED = "document.querySelectorAll('main table, main .empty').length > 0"


#: What a page of another site may try.
READ = "async address => { try { return await (await fetch(address)).text(); } catch (error) { return 'refused'; } }"
FRAME = "address => { document.body.append(Object.assign(document.createElement('iframe'), { src: address })); }"


def open_list(browser, address):
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.goto(address)
    until(lambda: page.evaluate(LISTED))
    page.evaluate("window.same = true")
    return page


def until(holds, seconds=120):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def rows(page):
    return page.eval_on_selector_all(
        "tbody tr", "all => all.map(row => [...row.cells].slice(1, 5).map(cell => cell.textContent))"
    )


def more(folder, step):
    """One step more of a run."""
    lines = [rollout(f"train-{step}-0", attempt, "new", step) for attempt in range(GROUP)]
    write_lines(folder / "rollouts" / "0-grpo" / f"step-{step:06d}.jsonl", lines)
    text = json.dumps(event("step", 90 + step, "0-grpo", step, **step_metrics(step)))
    events = (folder / "events.jsonl").read_text().splitlines()
    (folder / "events.jsonl").write_text("\n".join([*events[:-1], text, events[-1]]) + "\n")


def test_the_list_follows_the_runs_and_leads_to_their_pages(browser, tmp_path):
    first = write_page_run(tmp_path, name="first")
    with LiveServer(LiveSite(tmp_path), port=0) as server:
        server.start()
        page = open_list(browser, server.address)
        name = f"first {first.name}"
        assert rows(page)[0][:3] == [name, "done", f"{STEPS}/{STEPS}"]
        more(first, STEPS + 1)
        until(lambda: rows(page)[0][2] == f"{STEPS + 1}/{STEPS}")
        hostile = write_page_run(tmp_path, name="<img src=x onerror=window.hit=1>", seed=1)
        (hostile.parent / "20260101-000000-abcd").mkdir()
        until(lambda: len(rows(page)) == 2)
        assert rows(page)[0][0] == f"{hostile.parent.name} {hostile.name}"
        assert "20260101-000000-abcd: it has no recipe.yaml" in page.text_content(".notes")
        assert page.evaluate("window.hit") is None
        assert page.evaluate("window.same") is True
        # two runs side by side, and the way back
        for box in page.query_selector_all("tbody input"):
            box.check()
        page.click("#together")
        page.wait_for_selector("header select")
        assert len(page.query_selector_all("header select option")) == 2
        page.click("a.home")
        until(lambda: page.evaluate(LISTED))
        page.click(f"text={first.name}")
        page.wait_for_selector("nav a")
        assert page.text_content("header h1") == name
        assert page.complaints == []
        page.close()


def test_what_a_run_wrote_does_nothing_in_the_served_page(browser, tmp_path):
    folder = write_page_run(tmp_path, HOSTILE)
    with LiveServer(LiveSite(tmp_path, [Run(folder)]), port=0) as server:
        server.start()
        tab = Tab(browser, server.address)
        tab.show(tab="rollouts", step=f"0-grpo/{STEPS}", problem=f"train-{STEPS}-2", attempt=2)
        assert "<img src=x onerror=" in tab.text("main")
        tab.show(tab="evaluations")
        assert tab.page.evaluate("window.hit") is None
        assert tab.complaints == []
        assert {urlparse(request).netloc for request in tab.requests} == {f"127.0.0.1:{server.port}"}
        tab.close()


def test_another_page_can_neither_frame_nor_read_it(browser, tmp_path):
    folder = write_page_run(tmp_path)
    with LiveServer(LiveSite(tmp_path, [Run(folder)]), port=0) as server:
        server.start()
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.route("http://evil.localhost/**", lambda route: route.fulfill(body="<p>evil", content_type="text/html"))
        page.goto("http://evil.localhost/")
        assert page.evaluate(READ, f"{server.address}data.json") == "refused"
        page.evaluate(FRAME, server.address)
        time.sleep(1)
        (frame,) = [each for each in page.frames if each != page.main_frame]
        assert frame.query_selector("nav") is None
        page.close()


@pytest.mark.timeout(300)
def test_a_run_with_a_view_shows_its_steps_as_they_are_made(browser, tmp_path):
    settings = ["train.0.steps=12", "train.0.problems=16", "evaluate.on.0.problems=4", "evaluate.on.1.problems=4"]
    command = [sys.executable, "-m", "mentor_kit.cli", "run", "quickstart", "--view", "--json"]
    command += [part for setting in settings for part in ("--set", setting)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    found = json.loads(process.stdout.readline())
    assert found["kind"] == "view"
    tab = Tab(browser, found["address"])
    tab.page.evaluate("window.same = true")
    tab.show(tab="rollouts")
    seen = set()

    def steps():
        seen.add(len(tab.texts('select[aria-label="step"] option')))
        return len(seen)

    until(lambda: steps() >= 3, 120)
    assert tab.page.evaluate("window.same") is True
    assert tab.texts("header .state") == ["running"]
    process.communicate(timeout=200)
    assert process.returncode == 0
    tab.close()
