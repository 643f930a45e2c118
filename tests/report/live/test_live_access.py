"""Who gets an answer: every rule is tried with a client of HTTP against a server."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest
from live_helpers import Serve, ask, write_run

from mentor_kit.core.errors import UsageError
from mentor_kit.report.live import LiveServer, LiveSite
from mentor_kit.report.live.access import is_loopback

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_run(root)
    with LiveServer(LiveSite(root), port=0) as server:
        yield server.start().port


@pytest.mark.parametrize("path", ["/", "/runs.json", "/nowhere", "/data.json"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "a@b:c:d",
        "[::1",
        "x" * 9,
    ],
)
def test_a_foreign_host_is_refused(port: int, path: str, host: str) -> None:
    found = ask(port, path, Host=host)
    assert found.status == 403
    assert "error" in found.json


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9999", "127.0.0.1", "127.0.0.1:1", "[::1]:80", "LOCALHOST", "x.localhost:3"]
)
def test_the_host_of_a_tunnel_is_answered(port: int, host: str) -> None:
    assert ask(port, "/runs.json", Host=host).status == 200


def test_a_request_without_a_host_is_refused(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=300) as connection:
        connection.sendall(b"GET /runs.json HTTP/1.1\r\n\r\n")
        assert connection.recv(100).split()[1] == b"403"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://localhost:{port}"}, 403),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "cors"}, 403),
        ({"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}, 200),
        ({"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Mode": "cors"}, 200),
        ({"Sec_Fetch_Site": "none", "Sec_Fetch_Mode": "navigate"}, 200),
    ],
)
def test_other_origins_are_refused(port: int, headers: dict[str, str], status: int) -> None:
    sent = {name: value.format(port=port) for name, value in headers.items()}
    assert ask(port, "/runs.json", **sent).status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_only_reading_is_answered(port: int, method: str) -> None:
    assert ask(port, "/", method).status in (405, 501)


@pytest.mark.parametrize("path", ["/", "/runs.json", "/nowhere", "/pages/x"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "TRACE"])
def test_every_answer_forbids_framing_guessing_and_keeping(port: int, path: str, method: str) -> None:
    headers = ask(port, path, method).headers
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Server"] == "mentorkit"
    assert not {"Access-Control-Allow-Origin"} & set(headers)


def test_pages_may_load_nothing_but_their_own_data(serve: Serve, tmp_path) -> None:
    folder = write_run(tmp_path / "runs")
    for port in (serve().port, serve([folder]).port):
        page = ask(port, "/").text
        policy = page.partition('http-equiv="Content-Security-Policy" content="')[2].partition('"')[0]
        rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
        assert rules["default-src"] == ["'none'"]
        assert rules["connect-src"] == ["'self'"]
        assert all(source.startswith("'sha256-") for source in rules["script-src"] + rules["style-src"])


def test_another_address_needs_a_token(tmp_path) -> None:
    site = LiveSite(tmp_path)
    for host in ("0.0.0.0", "::", socket.gethostname()):
        with pytest.raises(UsageError):
            LiveServer(site, host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_token_is_asked_for_once(serve: Serve, tmp_path, host: str) -> None:
    write_run(tmp_path / "runs")
    server = serve(host=host, token=TOKEN)
    port = server.port
    for path in ("/", "/runs.json", "/?token=", "/?token=wrong", f"/?token={TOKEN}x", f"/?tok={TOKEN}"):
        assert ask(port, path).status == 401
        assert TOKEN not in ask(port, path).text
    # the printed address has it; the answer moves it from the address into a cookie
    address = urlsplit(server.address)
    first = ask(port, f"{address.path}?{address.query}")
    assert (first.status, first.headers["Location"]) == (303, "/")
    kept, *rules = first.headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(rules)
    assert ask(port, "/runs.json", Cookie=f"other=1; {kept}").status == 200
    assert ask(port, "/", Cookie=kept).status == 200
    assert ask(port, f"/runs.json?since=1&token={TOKEN}").headers["Location"] == "/runs.json?since=1"
    for cookie in (f"{kept}x", kept.partition("=")[2], "x" * 5000, "=;;", f"mentorkit-view-1={TOKEN}"):
        assert ask(port, "/", Cookie=cookie).status == 401
    # the other rules hold for those who have it, too
    assert ask(port, "/", Cookie=kept, Host="evil.example").status == 403
    assert ask(port, "/", Cookie=kept, Origin="http://evil.example").status == 403


def test_the_way_back_leads_nowhere_else(serve: Serve) -> None:
    port = serve(token=TOKEN).port
    assert ask(port, f"//evil.example/?token={TOKEN}").headers["Location"].startswith("/evil.example")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("localhost.example", False), ("", False)],
)  # fmt: skip
def test_what_other_machines_reach(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected
