"""A collection that is killed again and again: nothing that was received is asked for, or paid, twice."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from chat_servers import KEY, ChatServer, serving
from doubling import next_step

HERE = Path(__file__).parent
RECIPE = """
mentorkit: 1
name: asked
student: {{model: tiny-student}}
task: arithmetic
tools: [math]
teacher:
  use: openai
  with: {{model: m, url: "{url}/v1", cache: answers.sqlite, key: "${{env:TEACHER_KEY}}", attempts: 2, when_none: show,
    price: {{input: 1000, output: 1000}}}}
"""


def start(server: ChatServer, folder: Path, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "collecting.py"), f"{server.url}/v1", str(folder), str(count)]
    environment = {**os.environ, "OPENAI_API_KEY": KEY, "PYTHONPATH": str(HERE)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def kept(folder: Path) -> dict[str, tuple[int, int, float]]:
    """What the file holds, read as it lies there after a kill."""
    file = folder / "answers.sqlite"
    if not file.exists():
        return {}
    database = sqlite3.connect(file)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'").fetchone():
        return {}
    rows = database.execute("SELECT hash, input_tokens, output_tokens, cost, reply FROM answers").fetchall()
    database.close()
    assert all(json.loads(reply)["choices"] for *_, reply in rows)
    return {key: (sent, received, cost) for key, sent, received, cost, _ in rows}


@pytest.mark.parametrize(
    ("kills", "count"), [(2, 8), pytest.param(20, 60, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
)
def test_killed_and_resumed(tmp_path, kills, count):
    chance = random.Random(kills)
    server = ChatServer(
        # every fifth problem is guessed wrong at the first attempt
        lambda question, results, times: (
            (r"\boxed{0}", None)
            if times == 0 and not results and int(question.split()[1]) % 5 == 0
            else next_step(question, results)
        )
    )
    server.delay = 0.04
    resumed = 0
    with serving(server):
        for _ in range(kills):
            before, asked = kept(tmp_path), len(server.asked)
            process = start(server, tmp_path, count)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            # with four requests at once, a fifth answer means that the first has reached the file
            enough = len(server.answered) + chance.randint(5, 5 + count // 12)
            while len(server.answered) < enough and process.poll() is None:
                time.sleep(0.002)
            time.sleep(chance.uniform(0.0, 0.05))
            process.send_signal(signal.SIGKILL)
            process.wait()
            time.sleep(0.1)  # the server finishes what it was asked
            assert not set(before) & set(server.asked[asked:])
            resumed += bool(before)
        before, asked = kept(tmp_path), len(server.asked)
        resumed += bool(before)
        process = start(server, tmp_path, count)
        out, _ = process.communicate()
    assert resumed == kills  # all but the first start found answers
    assert not set(before) & set(server.asked[asked:])
    lines = [json.loads(line) for line in out.splitlines()[1:]]
    assert [line["problem_id"] for line in lines] == [f"d{n}" for n in range(1, count + 1)]
    assert all(line.get("correct", True) for line in lines)
    final = kept(tmp_path)
    assert set(final) == set(server.answered)
    assert [sum(found[0] for found in final.values()), sum(found[1] for found in final.values())] == server.tokens
    assert sum(found[2] for found in final.values()) == pytest.approx(sum(server.tokens) / 1e6)


class Watched:
    """Looks at a run's demonstrations and at the file of answers again and again: they are valid whenever one looks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.looks = 0
        self.faults: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            try:
                for path in self.folder.glob("runs/*/*/demonstrations.jsonl"):
                    written = path.read_bytes()
                    lines = written[: written.rfind(b"\n") + 1].splitlines()
                    assert all(json.loads(line)["provenance"]["source"] for line in lines)
                kept(self.folder)
                self.looks += 1
            except Exception as error:  # noqa: BLE001 (told at the end)
                self.faults.append(f"{type(error).__name__}: {error}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_is_killed_at_twenty_moments_and_resumed(tmp_path):
    """Through the command line: also while it starts, loads, and writes demonstrations batch by batch."""
    chance = random.Random(5)
    server = ChatServer(lambda question, results, times: (rf"\boxed{{{len(question)}}}", None))
    server.delay = 0.02
    stage = "train: [{use: collect, with: {problems: 150, batch: 8, keep: all}}]\nevaluate: {at_end: false}\n"
    (tmp_path / "asked.yaml").write_text(RECIPE.format(url=server.url) + stage)

    def begin() -> subprocess.Popen[str]:
        there = any((tmp_path / "runs" / "asked").glob("*/recipe.yaml"))
        command = [sys.executable, "-m", "mentor_kit.cli", "run", "asked.yaml", *(["--resume"] if there else [])]
        environment = {**os.environ, "TEACHER_KEY": KEY, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment)

    with serving(server), Watched(tmp_path) as watched:
        for number in range(20):
            before, asked = kept(tmp_path), len(server.asked)
            process = begin()
            if number % 4:  # at work, else at any moment from its start on
                enough = len(server.answered) + chance.randint(1, 20)
                while len(server.answered) < enough and process.poll() is None:
                    time.sleep(0.002)
            time.sleep(chance.uniform(0.0, 0.1 if number % 4 else 4.0))
            process.send_signal(signal.SIGKILL)
            process.wait()
            time.sleep(0.1)  # the server finishes what it was asked
            assert not set(before) & set(server.asked[asked:])
        before, asked = kept(tmp_path), len(server.asked)
        assert 0 < len(before) < 300
        process = begin()
        out, _ = process.communicate()
    assert process.returncode == 0
    assert not set(before) & set(server.asked[asked:])
    assert watched.looks > 100
    assert watched.faults == []
    (run,) = (tmp_path / "runs" / "asked").iterdir()
    shown = [json.loads(line) for line in (run / "demonstrations.jsonl").read_text().splitlines()]
    wanted = [f"train-0-{number}" for number in range(150)]
    assert [*dict.fromkeys(demonstration["problem_id"] for demonstration in shown)] == wanted
    # every attempt once, none lost: those of a problem end with a right one, or are two
    attempts = [(demonstration["problem_id"], demonstration["provenance"]["attempt"]) for demonstration in shown]
    assert len(set(attempts)) == len(attempts)
    bill = sum(server.tokens) / 1000
    (line,) = [line for line in out.splitlines() if line.startswith("collected:")]
    assert float(line.rpartition("cost_in_all ")[2]) == pytest.approx(bill)
    assert sum(found[2] for found in kept(tmp_path).values()) == pytest.approx(bill)
    assert sum(demonstration["provenance"]["cost"] for demonstration in shown) == pytest.approx(bill)


def test_the_command_line_collects_says_what_it_took_and_never_shows_the_key(tmp_path):
    server = ChatServer(lambda question, results, times: (r"\boxed{0}", None))
    server.shape = lambda answer: answer | {"echo": KEY}  # a server that repeats what it should not
    (tmp_path / "asked.yaml").write_text(RECIPE.format(url=server.url))
    with serving(server):
        done = subprocess.run(
            [sys.executable, "-m", "mentor_kit.cli", "collect", "asked.yaml", "--problems", "3", "--keep", "all"],
            cwd=tmp_path,
            env={**os.environ, "TEACHER_KEY": KEY, "OPENAI_LOG": "debug"},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    spent = sum(server.tokens) / 1000
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("collected:")]
    assert "problems 3, demonstrations 6, teacher openai, attempts 6, right_attempts 0, unsolved 3, requests 6" in line
    assert f"cost {spent:g}" in line
    (run,) = (tmp_path / "runs" / "asked").iterdir()
    shown = [json.loads(line) for line in (run / "demonstrations.jsonl").read_text().splitlines()]
    assert len(shown) == 6
    assert sum(demonstration["provenance"]["cost"] for demonstration in shown) == pytest.approx(spent)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not [file for file in files if KEY.encode() in file.read_bytes()]
    assert KEY not in done.stdout + done.stderr
