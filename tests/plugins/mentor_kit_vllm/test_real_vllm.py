"""A vLLM of its own environment, on the CPU: the contract of samplers, runs beside local ones, servers that are killed.

`make engine-vllm` makes the environment and runs these tests, in a quarter of an hour on two idle cores.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.options import TorchOptions
from mentor_kit_vllm.options import VLLMOptions
from mentor_kit_vllm.process import ServerProcess
from mentor_kit_vllm.service import VLLMService
from mentor_kit_vllm.untied import untie
from processes import children

from mentor_kit import api
from mentor_kit.backend.policy import Policy
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.component import ComponentSpec
from mentor_kit.hooks import BuildContext, default_registry
from mentor_kit.testing.samplers import SamplerContract

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(3600)]

#: What vLLM needs on a CPU: seeded requests fail where prompts are read in chunks.
ARGUMENTS = ["--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens=65536"]
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}
STEPS = 12
SETTINGS = {
    "train.0.steps": STEPS,
    "train.0.problems": 16,
    "train.0.minibatches": 1,  # else the second update's drift counts as mismatch
    "train.0.objective.entropy": 0.0,
    "evaluate.every": 6,
    "evaluate.on.0.problems": 40,
    "evaluate.on.1.problems": 40,
}
LORA = {"student.adapter": {"use": "lora", "with": {"rank": 8}}, "train.0.optimizer.lr": 3e-3}


@pytest.fixture(scope="module")
def python() -> str:
    return str(Path(os.environ["MENTORKIT_VLLM_PYTHON"]).absolute())


@pytest.fixture(scope="module")
def tiny() -> Path:
    registry = default_registry()
    return Path(registry.build("students", ComponentSpec(use="tiny-student"), BuildContext(registry)))


@pytest.fixture(scope="module")
def untied(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untied") / "student"
    shutil.copytree(tiny, folder)
    untie(folder)
    return folder


@pytest.fixture(scope="module")
def server(python: str, untied: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that was not started by a run, as a user starts it."""
    arguments = ["--model", str(untied), "--dtype", "float32", "--enable-scale-out", *ARGUMENTS]
    arguments += ["--logprobs-mode", "processed_logprobs", "--enable-lora", "--max-lora-rank", "16", "--max-loras", "2"]
    process = ServerProcess(python, arguments, ENVIRONMENT, tmp_path_factory.mktemp("log") / "server.log")
    process.start()
    try:
        deadline = time.monotonic() + 900
        while True:
            if not process.alive or time.monotonic() > deadline:
                raise process.died()
            try:
                if httpx2.get(process.url + "/health").is_success:
                    break
            except httpx2.HTTPError:
                time.sleep(1)
        yield process.url
    finally:
        process.stop()


class Served(SamplerContract):
    draws = 300

    @pytest.fixture
    def policy_factory(self, student: StudentSpec) -> Callable[[int | None], Policy]:
        return lambda token_budget: TorchBackend(TorchOptions(device="cpu", dtype="float32")).load(student, seed=0)

    @pytest.fixture
    def service_factory(self, server: str, student: StudentSpec, tmp_path: Path) -> Callable[[], VLLMService]:
        options = VLLMOptions(servers=(server,), untie=student.adapter is None)
        return lambda: VLLMService(options, tmp_path)


class TestRealVLLMAdapter(Served):
    @pytest.fixture
    def student(self, tiny: Path) -> StudentSpec:
        return StudentSpec(str(tiny), adapter=AdapterSpec(rank=8))


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [found for line in lines if (found := json.loads(line))["kind"] == kind]


def greedy(folder: Path, step: int) -> list[Any]:
    return [one["values"]["greedy"]["accuracy"] for one in events(folder, "evaluation") if one["step"] == step]


def check_beside_local(served: Path, tmp_path: Path, **settings: Any) -> None:
    """The served run against a local one: the same greedy episodes, rewards as far apart as draws are, no mismatch."""
    steps = events(served, "step")
    assert [one["step"] for one in steps] == list(range(1, STEPS + 1))
    assert max(one["values"]["mismatch_max"] for one in steps) < 1e-4
    local = api.run("quickstart", overrides=SETTINGS | settings, output=tmp_path / "local").path
    assert greedy(served, 0) == greedy(local, 0)
    # the student that the servers sampled last, by the local engine
    found = api.evaluate("quickstart", trained=served, overrides=SETTINGS | settings, output=tmp_path / "again").path
    assert greedy(found, 0) == greedy(served, STEPS)
    rewards = [[one["values"]["reward"] for one in events(folder, "step")] for folder in (served, local)]
    # the first step has the same weights: 128 episodes of rewards in [0, 1] have a mean's deviation of 0.04 each
    assert abs(rewards[0][0] - rewards[1][0]) < 0.2
    assert abs(sum(rewards[0]) - sum(rewards[1])) / STEPS < 0.12


def test_a_run_with_an_adapter_is_a_local_one(server: str, tmp_path: Path) -> None:
    sampler = {"sampler": {"use": "vllm", "with": {"servers": [server]}}}
    run = api.run("quickstart", overrides=SETTINGS | LORA | sampler, output=tmp_path / "served")
    check_beside_local(run.path, tmp_path, **LORA)


class TestRealVLLM(Served):
    # after those with an adapter: a server's own weights are replaced here
    @pytest.fixture
    def student(self, tiny: Path) -> StudentSpec:
        return StudentSpec(str(tiny))


def test_a_run_with_two_servers_of_its_own_one_of_them_killed_is_a_local_one(python: str, tmp_path: Path) -> None:
    start = {"count": 2, "python": python, "arguments": ARGUMENTS, "environment": ENVIRONMENT, "seconds": 1800}
    sampler = {"sampler": {"use": "vllm", "with": {"start": start, "untie": True}}}
    before, killed = children(), []

    def kill() -> None:
        """Kill a server in the middle of the fourth step."""
        while not killed:
            time.sleep(0.1)
            found = list((tmp_path / "served").glob("quickstart/*/events.jsonl"))
            if found and len(events(found[0].parent, "step")) >= 3:
                time.sleep(1)
                mine = [pid for pid in children() - before if b"vllm" in Path(f"/proc/{pid}/cmdline").read_bytes()]
                killed.append(mine[0])
                os.kill(mine[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    run = api.run("quickstart", overrides=SETTINGS | sampler, output=tmp_path / "served")
    thread.join(10)
    assert killed
    assert children() <= before
    check_beside_local(run.path, tmp_path)
