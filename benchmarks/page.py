"""Measures the page of a large run: generates a run, and times `mentorkit report` on it in a process of its own.

    python benchmarks/page.py --steps 1000 --rollouts 256 --tokens 500 --folder /tmp/large

Rollouts have the form that `mentor_kit.runs` writes, with words, calls and log-probabilities from a seed. The run of
these numbers is 3 GB. It is kept where a folder is named, and used again where its numbers are the same.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

GROUP = 8
#: Distinct responses; further ones repeat them, farther apart than a compressor looks back.
POOL = 512
EVALUATED = 200


def main() -> None:
    """Make the run and time its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rollouts", type=int, default=256, help="a step's")
    parser.add_argument("--tokens", type=int, default=500, help="of a response")
    parser.add_argument("--folder", type=Path, help="where the run is kept; a temporary folder if left out")
    parser.add_argument("--keep", nargs="*", default=["all", "every=10", "worst=200"], help="values of --rollouts")
    parser.add_argument("--megabytes", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary)
        run = made(root, options.steps, options.rollouts, options.tokens)
        size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
        print(f"{run}: {size / 1e9:.2f} GB")
        print(f"{'--rollouts':>12} {'seconds':>8} {'memory, MB':>11} {'page, MB':>9} {'rollouts':>9}")
        for kept in options.keep:
            print("{:>12} {:8.1f} {:11.0f} {:9.2f} {:9}".format(kept, *measured(run, root, kept, options.megabytes)))


#: Runs a command and prints its largest memory: a small process between, as a child's figure begins with its parent's.
_MEASURING = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def measured(run: Path, root: Path, kept: str, megabytes: float) -> tuple[float, float, float, int]:
    """Seconds, the process's largest memory in MB, the page's size in MB, and the number of rollouts in it."""
    command = [sys.executable, "-m", "mentor_kit.cli", "report", str(run), "-o", str(root / "page.html"), "--json"]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _MEASURING, *command, "--rollouts", kept, "--megabytes", str(megabytes)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"mentorkit report failed: {done.stdout}{done.stderr}")
    page, largest = json.loads(done.stdout), int(done.stderr.split()[-1])
    per_unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - began, largest * per_unit / 1e6, page["bytes"] / 1e6, page["rollouts"]


def made(root: Path, steps: int, rollouts: int, tokens: int) -> Path:
    """The made-up run, made where it is not there yet."""
    folder = root / "large" / f"{steps}x{rollouts}x{tokens}"
    if (folder / "recipe.yaml").exists():
        return folder
    (folder / "rollouts" / "0-grpo").mkdir(parents=True, exist_ok=True)
    (folder / "evaluation").mkdir(exist_ok=True)
    rng = random.Random(0)
    pool = [response(rng, tokens) for _ in range(POOL)]
    events: list[dict[str, Any]] = [{"kind": "run_start", "time": moment(0), "values": {"trains": ["0-grpo"]}}]
    with (folder / "demonstrations.jsonl").open("w") as demonstrations:
        for step in range(1, steps + 1):
            problems = [f"train-{step}-{number}" for number in range(max(1, rollouts // GROUP))]
            demonstrations.writelines(f"{demonstration(problem, rng)}\n" for problem in problems)
            lines = [line(problem, attempt, pool, rng) for problem in problems for attempt in range(GROUP)]
            file = folder / "rollouts" / "0-grpo" / f"step-{step:06d}.jsonl"
            file.write_text("".join(f"{each}\n" for each in lines))
            values = {"reward": rng.random(), "accuracy": rng.random(), "entropy": rng.random(), "seconds": 1.0}
            events.append({"kind": "step", "time": moment(step), "stage": "0-grpo", "step": step, "values": values})
        names = [f"test-{number}" for number in range(EVALUATED)]
        demonstrations.writelines(f"{demonstration(problem, rng)}\n" for problem in names)
    for step in range(0, steps + 1, max(1, steps // 10)):
        evaluation(folder / "evaluation", step, names, pool, rng)
    events.append({"kind": "run_end", "time": moment(steps + 1), "values": {"outcome": "done"}})
    (folder / "events.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events))
    (folder / "environment.json").write_text("{}")
    (folder / "recipe.yaml").write_text("name: large\nseed: 0\nstudent: {model: made-up}\n")
    return folder


def evaluation(folder: Path, step: int, names: Sequence[str], pool: Sequence[tuple[str, str]], rng: Any) -> None:
    """An evaluation's report and episodes."""
    name = f"0-grpo-{step:06d}-in-domain"
    right = {problem: [rng.randrange(2)] for problem in names}
    greedy = {"accuracy": 0.5, "low": 0.4, "high": 0.6, "correct": EVALUATED // 2, "episodes": EVALUATED}
    report = {"step": step, "stage": "0-grpo", "split": "in-domain", "problems": EVALUATED, "greedy": greedy}
    lines = [line(problem, 0, pool, rng, correct=bool(found[0])) for problem, found in right.items()]
    (folder / f"{name}.jsonl").write_text("".join(f"{each}\n" for each in lines))
    (folder / f"{name}.json").write_text(json.dumps({**report, "outcomes": right}))


def line(
    problem: str, attempt: int, pool: Sequence[tuple[str, str]], rng: random.Random, *, correct: bool | None = None
) -> str:
    """A scored trajectory, as a run folder has it."""
    messages, tokens = rng.choice(pool)
    correct = rng.random() < 0.5 if correct is None else correct
    total = 1.1 if correct else 0.1
    verdict = ',"correct":true' if correct else ""
    terms = f'"correct":{{"score":{float(correct)},"value":{total - 0.1}}},"known-tools":{{"score":1.0,"value":0.1}}'
    return (
        f'{{"trajectory":{{"id":"{problem}#{attempt}","problem_id":"{problem}","agent":"student","messages":['
        f'{{"role":"user","content":"What is asked in {problem}?"}},{messages}],"opening":1,"ending":"answered",'
        f'"answer":"{rng.randrange(10**6)}"{verdict},{tokens}}},"reward":{{"total":{total},"terms":{{{terms}}}}}}}'
    )


def response(rng: random.Random, tokens: int) -> tuple[str, str]:
    """The messages of a response, and its tokens."""
    messages = []
    for number in range(3):
        call = {"name": f"tool_{rng.randrange(20)}", "arguments": {"a": rng.random(), "b": words(rng, 4)}}
        raw = f"<tool_call>{json.dumps(call)}</tool_call>"
        calls = [{**call, "state": "executed", "raw": raw}]
        messages.append({"role": "assistant", "content": words(rng, tokens // 6), "tool_calls": calls})
        result = words(rng, 12)
        messages.append({"role": "tool", "content": result, "result": {"name": f"tool_{number}", "content": result}})
    messages.append({"role": "assistant", "content": words(rng, tokens // 6)})
    mask = [int(place % 120 < 90) for place in range(tokens)]
    trace = {
        "prompt_ids": [rng.randrange(50_000) for _ in range(200)],
        "ids": [rng.randrange(50_000) for _ in range(tokens)],
        "mask": mask,
        "log_probs": [-rng.expovariate(3) if sampled else 0.0 for sampled in mask],
        "temperature": 1.0,
        "turns": [{"start": 0, "end": 90, "version": 1}],
    }
    compact = [json.dumps(each, separators=(",", ":")) for each in messages]
    return ",".join(compact), f'"tokens":{json.dumps(trace, separators=(",", ":"))}'


def demonstration(problem: str, rng: random.Random) -> str:
    """A teacher's solution of a problem."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": f"What is asked in {problem}?"}]
    messages += [{"role": "assistant", "content": words(rng, 40)}, {"role": "assistant", "content": words(rng, 40)}]
    trajectory = {"id": problem, "problem_id": problem, "agent": "t", "messages": messages, "opening": 1}
    found = {"problem_id": problem, "teacher": "made-up", "tools_used": ["tool_1"]}
    return json.dumps({**found, "trajectory": {**trajectory, "ending": "answered"}}, separators=(",", ":"))


def words(rng: random.Random, count: int) -> str:
    """Words with the entropy of a small model's."""
    return " ".join(_word(rng) for _ in range(count))


def _word(rng: random.Random) -> str:
    return VOCABULARY[min(int(rng.paretovariate(0.7)) - 1, len(VOCABULARY) - 1)]


def vocabulary() -> Iterator[str]:
    """Made-up words."""
    rng = random.Random(1)
    for _ in range(20_000):
        yield "".join(rng.choice("aeioubcdfglmnprst") for _ in range(rng.randrange(2, 10)))


VOCABULARY = tuple(vocabulary())


def moment(seconds: int) -> str:
    """A time in ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000+00:00", time.gmtime(1_800_000_000 + seconds))


if __name__ == "__main__":
    main()
