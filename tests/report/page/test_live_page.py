"""The live page in a real browser, with as little of a server as it needs."""

import http.server
import json
import threading
import time
from urllib.parse import parse_qs, urlparse

import pytest
from browser import Tab
from page_helpers import GROUP, STEPS, event, rollout, step_metrics, write_lines, write_page_run

from mentor_kit.report.page import PageData, live_page
from mentor_kit.runs import Run

pytestmark = pytest.mark.slow


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
        end = time.monotonic() + 120
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
