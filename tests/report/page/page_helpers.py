"""A run folder of known content, written line by line as a run writes it, and a page read back."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

#: Markup and scripts, as a student or a tool may write them; set off, each marks the page.
HOSTILE = (
    "</script><script>window.hit=1</script><img src=x onerror='window.hit=2'><svg onload=window.hit=3>"
    '<a href="javascript:window.hit=4">x</a><style>*{display:none}</style>{{7*7}} & "quoted" \'too\' \u2028\u202e end'
)
STEPS = 4
GROUP = 4
SPLITS = {"in-domain": 5, "out-of-domain": 3}


def write_page_run(root: Path, text: str = "plain", *, name: str = "small", seed: int = 0) -> Path:
    """A run of `STEPS` steps with four problems each; `text` stands wherever something can be written.

    Of a problem's four attempts, by place: right as the teacher, right with another tool, wrong with a call that failed
    and a malformed one, and cut before its end.
    """
    folder = root / name / f"20261129-0000{seed:02d}-abcd"
    (folder / "rollouts" / "0-grpo").mkdir(parents=True)
    (folder / "evaluation").mkdir()
    events = [event("run_start", 0, trains=["0-grpo"], stages=["0-grpo"])]
    events.append(event("note", 0, text=f"a note: {text}"))
    problems, demonstrations = [], []
    for step in range(1, STEPS + 1):
        lines = []
        for number in range(4):
            problem = f"train-{step}-{number}"
            problems.append(problem_record(problem, text))
            demonstrations.append(demonstration(problem, text))
            lines += [rollout(problem, attempt, text, step) for attempt in range(GROUP)]
        write_lines(folder / "rollouts" / "0-grpo" / f"step-{step:06d}.jsonl", lines)
        events.append(event("step", 10 * step, "0-grpo", step, **step_metrics(step)))
    for split, count in SPLITS.items():
        ids = [f"{split}-{number}" for number in range(count)]
        problems += [problem_record(problem, text) for problem in ids]
        demonstrations += [demonstration(problem, text) for problem in ids]
        for step in (0, 2, STEPS):
            write_evaluation(folder / "evaluation", split, step, ids, text, seed)
    events.append(event("run_end", 10 * STEPS + 20, outcome="done"))
    write_lines(folder / "events.jsonl", events)
    write_lines(folder / "problems.jsonl", problems)
    write_lines(folder / "demonstrations.jsonl", demonstrations)
    (folder / "environment.json").write_text(json.dumps({"python": "CPython 3", "cpu": text, "settings": {"a": text}}))
    recipe = f"name: {name}\nseed: {seed}\nfolder: /home/somebody/recipes\nstudent: {{model: tiny-student}}\n"
    (folder / "recipe.yaml").write_text(f"{recipe}comment: {json.dumps(text)}\n")
    student = folder / "student"
    student.mkdir()
    vocab = {"a": 1, "Ġb": 2, "Ċ": 3, f"{text}": 4}
    tokenizer = {"decoder": {"type": "ByteLevel"}, "model": {"vocab": vocab}}
    tokenizer["added_tokens"] = [{"id": 5, "content": "<|im_end|>"}]
    (student / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def rollout(problem: str, attempt: int, text: str, step: int) -> dict[str, Any]:
    """An attempt at a problem, of one of the four kinds."""
    opening = [{"role": "system", "content": f"system {text}"}, {"role": "user", "content": f"question {text}"}]
    add = {"name": "add", "arguments": {"a": 1, "b": text}, "state": "executed", "raw": f"raw {text}"}
    result = {"role": "tool", "content": f"3 {text}", "result": {"name": "add", "content": f"3 {text}"}}
    final = {"role": "assistant", "content": f"\\boxed{{3}} {text}", "reasoning": f"because {text}"}
    found: dict[str, Any] = {"ending": "answered", "answer": f"3 {text}", "correct": True}
    reward: dict[str, Any] = {"total": 1.1, "terms": terms(1.0, 1.0)}
    if attempt == 0:
        own = [{"role": "assistant", "tool_calls": [add]}, result, final]
    elif attempt == 1:
        other = {**add, "name": f"sum {text}", "arguments": {text: [1, 2]}}
        own = [{"role": "assistant", "tool_calls": [other]}, result, final]
        reward = {"total": 0.8, "terms": terms(1.0, 0.0)}
    elif attempt == 2:
        bad = {"state": "malformed", "raw": f"<tool_call>{text}", "error": f"not JSON: {text}"}
        failed = {**add, "arguments": {"a": 2, "b": text}, "state": "failed", "error": f"division by zero {text}"}
        error = {"role": "tool", "content": f"error {text}", "result": {"name": "add", "content": "other", "ok": False}}
        own = [{"role": "assistant", "tool_calls": [bad, failed]}, error, {"role": "assistant", "content": text}]
        found = {"ending": "answered", "answer": f"4 {text}"}
        reward = {"total": 0.25, "terms": terms(0.0, 0.5)}
    else:
        own = [{"role": "assistant", "content": f"cut {text}"}]
        found = {"ending": "length", "reason": f"no tokens left {text}"}
        reward = {"total": 0.0, "gate": f"ended {text}"}
    ids = [1, 2, 3, 5, 4, 1]
    trace = {"prompt_ids": [1, 2, step], "ids": ids, "mask": [1, 1, 0, 0, 1, 1], "temperature": 1.0}
    trace["log_probs"] = [-0.5, -0.25, 0.0, 0.0, -0.001, -2.0]
    trajectory = {"id": f"{problem}#{attempt}", "problem_id": problem, "agent": "student"}
    trajectory |= {"messages": [*opening, *own], "opening": 2, **found, "tokens": trace}
    advantage = [1.0, 0.4, -0.2, -1.2][attempt]
    return {"trajectory": trajectory, "reward": reward, "advantage": advantage}


def terms(correct: float, match: float) -> dict[str, Any]:
    """A reward's terms."""
    found = {"correct": (correct, 0.7), "tool-match": (match, 0.3)}
    return {name: {"score": score, "value": score * weight} for name, (score, weight) in found.items()}


def demonstration(problem: str, text: str) -> dict[str, Any]:
    """The teacher's solution: a call of `add`."""
    raw = rollout(problem, 0, text, 0)["trajectory"]
    trajectory = {**raw, "id": f"{problem}#t", "agent": f"teacher {text}"}
    del trajectory["tokens"]
    return {"problem_id": problem, "teacher": f"teacher {text}", "tools_used": ["add"], "trajectory": trajectory}


def problem_record(problem: str, text: str) -> dict[str, Any]:
    """A line of problems.jsonl."""
    return {"id": problem, "question": f"question {text}", "key": f"3 {text}", "group": f"group {text}"}


def write_evaluation(folder: Path, split: str, step: int, ids: list[str], text: str, seed: int) -> None:
    """An evaluation: one greedy episode and one sampled of each problem; the more steps, the more is right."""
    name = f"0-grpo-{step:06d}-{split}"
    right = {problem: (place * 2 + seed < step + 1) for place, problem in enumerate(ids)}
    lines = []
    for kind in ("greedy", "sampled"):
        for problem, good in right.items():
            found = rollout(problem, 0 if good and kind == "greedy" else 2, text, step)
            found["trajectory"]["id"] = f"{problem}#0"
            del found["advantage"]
            lines.append(found)
    write_lines(folder / f"{name}.jsonl", lines)
    count, correct = len(ids), sum(right.values())
    accuracy = {"accuracy": correct / count, "low": 0.1, "high": 0.9, "correct": correct, "episodes": count}
    sampled = {"accuracy": 0.0, "low": 0.0, "high": 0.4, "correct": 0, "episodes": count, "samples": 1}
    report = {"step": step, "stage": "0-grpo", "plan": split, "split": split, "problems": count, "similarity": 0.5}
    report |= {"agent": {"kind": "run", "name": text, "model": text}, "greedy": accuracy, "sampled": sampled}
    report |= {"groups": {}, "outcomes": {problem: [int(good), 0.0] for problem, good in right.items()}}
    (folder / f"{name}.json").write_text(json.dumps(report))


def step_metrics(step: int) -> dict[str, Any]:
    """A step's metrics."""
    found = {"steps": STEPS, "reward": 0.5, "reward/correct": 0.1 * step, "reward/tool-match": 0.2, "accuracy": 0.5}
    found |= {"similarity": 0.75, "entropy": 0.3, "zero_variance_groups": 0.0, "malformed_rate": 0.25}
    return found | {"sampled_tokens": 4.0, "seconds_rollout": 2.0, "seconds_update": 1.0, "seconds": 4.0}


def event(kind: str, second: int, stage: str = "", number: int | None = None, **values: Any) -> dict[str, Any]:
    """A line of events.jsonl."""
    found: dict[str, Any] = {"kind": kind, "time": f"2026-11-29T00:{second // 60:02d}:{second % 60:02d}.000+00:00"}
    found |= {"stage": stage, "step": number} if stage else {}
    return found | {"values": values}


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """JSON lines in the compact form of a run's."""
    path.write_text("".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines))


def read_lines_of(path: Path) -> list[dict[str, Any]]:
    """JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


class ReadPage:
    """A page's data, read without the code that wrote them."""

    def __init__(self, path: Path) -> None:
        self.html = path.read_text(encoding="utf-8")
        self._packed = dict(re.findall(r'<script type="application/gzip" id="([\w-]+)">([\w+/=]*)</script>', self.html))
        self.index = self._unpacked("index")

    def chunk(self, name: str, run: int = 0) -> Any:
        """A run's chunk by its name."""
        return self._unpacked(self.index["runs"][run]["chunks"][name])

    def _unpacked(self, key: str) -> Any:
        return json.loads(gzip.decompress(base64.b64decode(self._packed[key])))
