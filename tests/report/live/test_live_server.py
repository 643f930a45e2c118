"""What the server answers with, while runs are made and changed beside it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_helpers import RECIPE, Serve, ask, take_step, write_run

from mentor_kit import api
from mentor_kit.core.errors import UsageError
from mentor_kit.hooks.tracker import TrackedRun
from mentor_kit.report.live import LiveServer, LiveSite, LiveView
from mentor_kit.report.live.site import address_of
from mentor_kit.runs import RunContext, RunFolder, RunRecorder


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a server of all runs, and the folder around theirs, in which a secret lies."""
    root = tmp_path_factory.mktemp("served")
    write_run(root / "runs")
    (root / "recipe.yaml").write_text("secret")
    with LiveServer(LiveSite(root / "runs"), port=0) as server:
        yield server.start().port, root


def test_the_list_of_runs_and_their_pages(serve: Serve, tmp_path: Path) -> None:
    one, other = (write_run(tmp_path / "runs", name) for name in ("a b", "c"))
    (tmp_path / "runs" / "c" / "20260101-000000-abcd").mkdir()
    port = serve().port
    assert "text/html" in ask(port, "/").headers["Content-Type"]
    found = {run["id"]: run for run in ask(port, "/runs.json").json["runs"]}
    assert set(found) == {one.id, other.id, "20260101-000000-abcd"}
    assert (found[one.id]["name"], found[one.id]["state"], found[one.id]["step"]) == ("a b", "done", 2)
    assert found[one.id]["accuracy"]["accuracy"] == 0.5
    assert "path" not in found[one.id]
    for run in (one, other):
        page = f"/{found[run.id]['page']}"
        assert ask(port, page).status == 200
        index = ask(port, f"{page}data.json").json
        assert [each["id"] for each in index["runs"]] == [run.id]
        chunk = ask(port, f"{page}chunk.json?run=0&name=rollouts/0-grpo/2").json
        assert [attempt["id"] for problem in chunk["problems"] for attempt in problem["attempts"]] == ["p2#1", "p2#2"]
        assert chunk["problems"][0]["key"] == "2"
    together = address_of([(one.name, one.id), (other.name, other.id)])
    assert [run["id"] for run in ask(port, f"{together}data.json").json["runs"]] == [one.id, other.id]
    assert ask(port, together.rstrip("/")).headers["Location"] == together


def test_one_named_run_is_the_first_page(serve: Serve, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "elsewhere")
    port = serve([folder]).port
    index = ask(port, "/data.json").json
    assert [run["id"] for run in index["runs"]] == [folder.id]
    assert ask(port, f"/data.json?since={index['version']}").status == 204
    assert ask(port, "/runs.json").status == 404


def test_several_named_runs_are_a_list_without_others(serve: Serve, tmp_path: Path) -> None:
    one, other, third = (write_run(tmp_path / "runs", name) for name in "abc")
    port = serve([one, other]).port
    assert {run["id"] for run in ask(port, "/runs.json").json["runs"]} == {one.id, other.id}
    assert ask(port, address_of([(one.name, one.id)])).status == 200
    assert ask(port, address_of([(third.name, third.id)])).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere", "/etc/passwd", "/../../etc/passwd", "/pages/..:x/data.json", "/pages/%2e%2e%2f%2e%2e:etc/data.json",
        "/pages/quick:..%2f..%2fx/data.json", "/pages/quick:nothing/", "/pages/:/", "/pages/quick/", "/pages//",
        "/pages/.:./data.json", "/pages/quick%00:x/", "/data.json", "/chunk.json?run=0&name=x", "/pages/a/b/c",
    ],
)  # fmt: skip
def test_there_is_nothing_anywhere_else(many: tuple[int, Path], path: str) -> None:
    port, root = many
    found = ask(port, path)
    assert found.status == 404
    assert "secret" not in found.text
    assert str(root) not in found.text


@pytest.mark.parametrize(
    "name", ["../../recipe.yaml", "rollouts/../../x", "rollouts/0-grpo/99", "tokens/", "", "evaluation/../x"]
)
def test_chunks_are_those_of_the_run(many: tuple[int, Path], name: str) -> None:
    port, root = many
    (run,) = (root / "runs" / "quick").iterdir()
    page = address_of([("quick", run.name)])
    assert ask(port, f"{page}chunk.json?run=0&name={name}").status == 404
    assert ask(port, f"{page}chunk.json?run=7&name=rollouts/0-grpo/1").status == 404
    assert ask(port, f"{page}chunk.json?run=0&name=rollouts/0-grpo/1").status == 200


def test_new_steps_and_runs_appear_while_a_run_is_in_progress(serve: Serve, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "runs", "quick", RECIPE)
    list_port, port = serve().port, serve([folder]).port
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    first = ask(list_port, "/runs.json").json
    assert ask(list_port, f"/runs.json?since={first['version']}").status == 204
    assert ask(port, "/data.json").status == 200
    # nothing is written by those who look
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before
    with RunRecorder(folder) as recorder:
        recorder.start(None, {}, ["0-grpo"])
        context = RunContext(recorder, "0-grpo", is_first=True)
        version = ""
        for step in (1, 2, 3):
            take_step(context, step)
            found = ask(port, f"/data.json?since={version}")
            version, [run] = found.json["version"], found.json["runs"]
            assert [each["step"] for each in run["rollouts"]["steps"]] == list(range(1, step + 1))
            assert run["outcome"] == "running"
            assert ask(port, f"/data.json?since={version}").status == 204
            [row] = ask(list_port, f"/runs.json?since={first['version']}").json["runs"]
            assert (row["state"], row["step"]) == ("running", step)
    assert ask(port, f"/data.json?since={version}").json["runs"][0]["outcome"] == "done"
    other = write_run(tmp_path / "runs", "later")
    assert other.id in {run["id"] for run in ask(list_port, "/runs.json").json["runs"]}


def test_a_folder_that_is_not_there_yet_has_no_runs(serve: Serve, tmp_path: Path) -> None:
    assert ask(serve().port, "/runs.json").json["runs"] == []


def test_a_broken_run_is_an_error_of_its_own(serve: Serve, tmp_path: Path) -> None:
    good, broken = (write_run(tmp_path / "runs", name) for name in ("good", "broken"))
    broken.events.write_text("nonsense\n")
    port = serve().port
    assert ask(port, f"{address_of([(broken.name, broken.id)])}data.json").status == 500
    assert ask(port, f"{address_of([(good.name, good.id)])}data.json").status == 200


def test_long_answers_are_compressed_for_those_who_take_it(serve: Serve, tmp_path: Path) -> None:
    port = serve([write_run(tmp_path / "runs")]).port
    plain, packed = ask(port, "/"), ask(port, "/", Accept_Encoding="gzip, br")
    assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 2
    assert packed.body == plain.body
    head = ask(port, "/", "HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", plain.headers["Content-Length"])


def test_nonsense_costs_nobody_else_anything(serve: Serve) -> None:
    port = serve().port
    for sent in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 70_000, b""):
        with socket.create_connection(("127.0.0.1", port), timeout=300) as connection:
            connection.sendall(sent)
    assert ask(port, "/runs.json").status == 200


def test_ports(tmp_path: Path) -> None:
    site = LiveSite(tmp_path)
    with LiveServer(site, port=0) as first:
        with pytest.raises(UsageError):
            LiveServer(site, port=first.port)
        with LiveServer(site) as usual, LiveServer(site) as another:
            assert usual.port != another.port
    for host, port in (("nowhere.invalid", 0), ("127.0.0.1", 70_000), ("192.0.2.1", 0)):
        with pytest.raises(UsageError):
            LiveServer(site, host, port, token="x")


def test_ctrl_c_ends_the_command_with_code_0(tmp_path: Path) -> None:
    write_run(tmp_path / "runs")
    command = [sys.executable, "-m", "mentor_kit.cli", "view", "--port", "0", "--json"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = int(json.loads(process.stdout.readline())["address"].rsplit(":", 1)[1].rstrip("/"))
    assert len(ask(port, "/runs.json").json["runs"]) == 1
    process.send_signal(2)
    _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, "")


def test_wrong_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in ({"runs": "nobody"}, {"output": "nowhere"}, {"port": "x"}, {"host": 3}):
        with pytest.raises(UsageError):
            api.view(**arguments)


def test_a_token_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with api.view(port=0) as server:
        assert "token" not in server.address
    with api.view(port=0, token=True) as server, api.view(port=0, token=True) as other:
        assert server.address.partition("token=")[2] != other.address.partition("token=")[2] != ""
    monkeypatch.setenv("MENTORKIT_VIEW_TOKEN", "of my own")
    with api.view(port=0) as server:
        assert server.address.endswith("?token=of+my+own")


def gone(port: int) -> bool:
    """Whether nobody listens on a port any more, or soon."""
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return True
        time.sleep(0.1)
    return False


def test_a_runs_own_view_ends_with_it(tmp_path: Path) -> None:
    said: list[str] = []
    view = LiveView(said.append, port=0)
    folder = RunFolder.create(tmp_path / "runs", "quick", RECIPE)
    view.start(TrackedRun(name="quick", id=folder.id, folder=folder.path, recipe={}, stages=()))
    port = int(view.address.rsplit(":", 1)[1].rstrip("/"))
    assert said == [view.address]
    assert [run["id"] for run in ask(port, "/data.json").json["runs"]] == [folder.id]
    view.close("done")
    assert gone(port)


def test_the_view_of_a_killed_run_ends_too(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs")
    code = f"""
from pathlib import Path
from mentor_kit.hooks.tracker import TrackedRun
from mentor_kit.report.live import LiveView
view = LiveView(lambda address: print(address, flush=True), port=0)
view.start(TrackedRun(name="quick", id="x", folder=Path({str(folder.path)!r}), recipe={{}}, stages=()))
input()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = int(process.stdout.readline().strip().rsplit(":", 1)[1].rstrip("/"))
    assert ask(port, "/data.json").status == 200
    process.kill()
    process.communicate()
    assert gone(port)
