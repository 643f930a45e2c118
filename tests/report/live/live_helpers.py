"""Runs to serve, and a client of HTTP that sends what it is told to."""

from __future__ import annotations

import gzip
import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mentor_kit.core.conversation import assistant, user
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.report.live import LiveServer
from mentor_kit.rl.reward import Breakdown, Scored
from mentor_kit.runs import RunContext, RunFolder, RunRecorder

Serve = Callable[..., LiveServer]

RECIPE = "mentorkit: 1\nname: quick\nseed: 3\nstudent: {model: nobody}\n"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


def ask(port: int, path: str = "/", method: str = "GET", host: str = "127.0.0.1", **headers: str) -> Reply:
    """One request; underscores in headers' names stand for hyphens, and a Host is sent as it is given."""
    connection = http.client.HTTPConnection(host, port, timeout=300)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, path, skip_host="Host" in named, skip_accept_encoding=True)
        for name, value in named.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        found = {name.title(): value for name, value in answer.getheaders()}
        if found.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        return Reply(answer.status, found, body)
    finally:
        connection.close()


def scored(problem: str, number: int) -> Scored:
    trajectory = Trajectory(
        id=f"{problem}#{number}",
        problem_id=problem,
        agent="student",
        messages=(user("1+1?"), assistant(f"\\boxed{{{number}}}")),
        opening=1,
        ending=Ending.ANSWERED,
        answer=str(number),
        correct=number == 2,
    )
    return Scored(trajectory=trajectory, reward=Breakdown(total=float(number == 2)), advantage=0.5)


def take_step(context: RunContext, step: int, steps: int = 9) -> None:
    """One training step, with rollouts of one problem."""
    context.write_problems([Problem(id=f"p{step}", question="1+1?", answer="2")])
    context.write_rollouts(step, [scored(f"p{step}", 1), scored(f"p{step}", 2)])
    context.emit("step", step=step, steps=steps, reward=0.5, accuracy=0.5, seconds=1.0)


def write_run(root: Path, name: str = "quick", steps: int = 2) -> RunFolder:
    """A run that is done."""
    folder = RunFolder.create(root, name, RECIPE.replace("quick", name))
    with RunRecorder(folder) as recorder:
        recorder.start(None, {}, ["0-grpo"])
        context = RunContext(recorder, "0-grpo", is_first=True)
        for step in range(1, steps + 1):
            take_step(context, step, steps)
        greedy = {"accuracy": 0.5, "low": 0.1, "high": 0.9}
        report = {"step": steps, "stage": "0-grpo", "split": "dev", "plan": "dev", "greedy": greedy}
        context.write_evaluation("0-grpo-000002-dev", report, [scored("p1", 2)])
        context.emit("evaluation", **report)
    return folder
