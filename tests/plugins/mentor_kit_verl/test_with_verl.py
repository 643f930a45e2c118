"""verl's own code on exported folders: `make engines`, or MENTORKIT_VERL_PYTHON=… pytest -m verl.

A small server answers for verl's: mentor-kit's own engine, in this process.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mentor_kit_verl.results import read_results
from safetensors.torch import load_file
from verl_exports import exported, registry_with_verl
from verl_process import PYTHON, in_verl

from mentor_kit import api
from mentor_kit.backend.sampling import SampleRequest
from mentor_kit.hooks.objectives import build_objective
from mentor_kit.recipe.assembly import assemble
from mentor_kit.recipe.loading import load_recipe
from mentor_kit.rl.reward import Scored
from mentor_kit.rollout import Sampling
from mentor_kit.runs import Run
from mentor_kit.stages import Experiment
from mentor_kit.stages.grpo_options import GRPOOptions
from mentor_kit.stages.schedule import OptimizerOptions, learning_rate
from mentor_kit.stages.token_groups import outcomes, rollout_groups
from mentor_kit.utils.randomness import derive_seed

pytestmark = [pytest.mark.verl, pytest.mark.timeout(1800)]

ROWS = 8


class PerTurnSeeds:
    """A sampler that gives each turn a seed of its own, as servers need it."""

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)

    async def sample(self, request: SampleRequest) -> Any:
        seed = derive_seed(request.seed, len(request.context)) % 2**63
        return await self._sampler.sample(replace(request, seed=seed))


class PolicyWithPerTurnSeeds:
    def __init__(self, policy: Any) -> None:
        self._policy = policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def sampler(self, **options: Any) -> PerTurnSeeds:
        return PerTurnSeeds(self._policy.sampler(**options))


@contextmanager
def server(experiment: Experiment) -> Iterator[str]:
    """The address of a server over the experiment's policy, whose engine runs in a thread of its own."""
    loop, numbers = asyncio.new_event_loop(), count()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    async def opened() -> Any:
        return experiment.policy.sampler(deterministic=False)

    sampler = asyncio.run_coroutine_threadsafe(opened(), loop).result()

    async def sample(body: Any) -> Any:
        drawn, name = body["sampling_params"], f"request-{next(numbers)}"
        sampler.open(name)
        request = SampleRequest(
            id=name,
            session=name,
            context=body["prompt_ids"],
            temperature=drawn["temperature"],
            top_p=drawn["top_p"],
            top_k=max(drawn["top_k"], 0),
            max_new_tokens=drawn["max_tokens"],
            stop_ids=frozenset(drawn["stop_token_ids"]),
            seed=drawn["seed"],
        )
        try:
            return await sampler.sample(request)
        finally:
            sampler.close(name)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer: Future[Any] = asyncio.run_coroutine_threadsafe(sample(body), loop)
            found = answer.result(60)
            data = json.dumps({"token_ids": list(found.ids), "log_probs": list(found.log_probs)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None: ...

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{served.server_port}"
    finally:
        served.shutdown()
        loop.call_soon_threadsafe(loop.stop)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("verl") / "run"
    splits = [{"split": "in-domain", "problems": ROWS}]
    exported(found, {"train.0.steps": 4, "train.0.problems": ROWS, "evaluate.on": splits})
    return found


@pytest.fixture(scope="module")
def experiment(folder: Path) -> Experiment:
    """The recipe as a run here has it, on our engine."""
    loaded = load_recipe(folder / "recipe.yaml")
    return assemble(loaded, registry_with_verl())


#: Recipes of every kind, as changes of the quickstart, and whether they have a reference policy.
KINDS: dict[str, tuple[dict[str, Any], bool]] = {
    "grpo": ({}, False),
    "dr-grpo": ({"train.0.objective": {"preset": "dr-grpo"}}, False),
    "dapo": ({"train.0.objective": {"preset": "dapo", "importance_cap": 2.0}, "train.0.resample": 2}, False),
    "gspo": ({"train.0.objective": {"preset": "gspo"}, "train.0.epochs": 2, "train.0.minibatches": 2}, False),
    "cispo": ({"train.0.objective": {"preset": "cispo"}, "train.0.optimizer.schedule": "constant"}, False),
    "lora": ({"train.0.objective": {"preset": "grpo", "kl": 0.01}, "student.adapter": {"use": "lora"}}, True),
    "no evaluation": ({"train.0.objective": {"preset": "rloo"}, "evaluate.on": []}, False),
}


def test_verl_composes_and_validates_every_kind_of_recipe(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in KINDS]
    for folder, (changes, _) in zip(folders, KINDS.values(), strict=True):
        exported(folder, changes)
    for found, (_, reference) in zip(in_verl("compose", *folders), KINDS.values(), strict=True):
        ours = {key for key in found["unknown"] if "override_optimizer_config" not in key}
        assert ours == {"ray_kwargs.ray_init.runtime_env.env_vars.VERL_FILE_LOGGER_PATH"}
        assert (found["critic"], found["reference"]) == (False, reference)
        config = found["config"]
        assert config["data"]["train_batch_size"] == 4
        assert config["actor_rollout_ref"]["rollout"]["n"] == 2
        assert config["actor_rollout_ref"]["actor"]["clip_ratio_c"] > 1e6


def natively(experiment: Experiment, rows: list[Any], name: str) -> list[Scored]:
    """The same episodes as a run here plays and scores them."""
    problems = [row.problem for row in rows]
    for row in rows:
        for demonstration in row.demonstrations:
            experiment.demonstrations.add(demonstration)
    if name == "evaluation":
        played = experiment.collect_rollouts(problems, 1, Sampling(temperature=0), "evaluate", problems[0].split)
    else:
        assert experiment.student is not None
        experiment.student = replace(experiment.student, policy=PolicyWithPerTurnSeeds(experiment.policy))
        played = experiment.collect_rollouts(problems, 1, experiment.sampling, "0-grpo", 1, 0)
    return experiment.score(played, problems, progress=0.0 if name == "train" else 1.0)


@pytest.mark.parametrize("name", ["evaluation", "train"])
def test_the_agent_loop_plays_our_episodes(name: str, folder: Path, experiment: Experiment) -> None:
    with server(experiment) as address:
        found = in_verl("play", folder, name, address, ROWS)
    rows = exported_rows(folder, name)
    assert found["rows"] == len(rows)
    expected = natively(experiment, rows[:ROWS], name)
    assert any(item.trajectory.executed for item in expected)
    for prompt, response, item in zip(found["prompts"], found["responses"], expected, strict=True):
        trace = item.trajectory.tokens
        assert trace is not None
        assert prompt == list(trace.prompt_ids)
        assert response["ids"] == list(trace.ids)
        assert response["mask"] == list(trace.mask)
        assert response["log_probs"] == pytest.approx(trace.log_probs, abs=1e-5)
        # verl keeps rewards in 32 bits
        assert response["reward"] == pytest.approx(item.reward.total, abs=1e-7)
    recorded = {
        episode.scored.trajectory.id: episode.scored
        for episode in read_results(folder).episodes
        if bool(episode.evaluation) == (name == "evaluation")
    }
    for item in expected:
        assert recorded[item.trajectory.id].reward == item.reward
        assert recorded[item.trajectory.id].trajectory.messages == item.trajectory.messages


def test_a_worker_on_ray_fills_the_queue_of_verls_trainer(tmp_path: Path, experiment: Experiment) -> None:
    folder = tmp_path / "run"
    exported(folder, {"evaluate.on": []})
    with server(experiment) as address:
        found = in_verl("queue", folder, address, 2)
    played = {f"{episode.row}_{episode.index}_0": episode.scored for episode in read_results(folder).episodes}
    assert found.keys() == played.keys() == {"0_0_0", "0_1_0", "1_0_0", "1_1_0"}
    for key, item in played.items():
        trace = item.trajectory.tokens
        assert trace is not None
        assert (found[key]["ids"], found[key]["mask"]) == (list(trace.ids), list(trace.mask))
        assert found[key]["reward"] == pytest.approx(item.reward.total, abs=1e-7)


def exported_rows(folder: Path, name: str) -> list[Any]:
    import pyarrow.parquet as pq

    from mentor_kit.recipe.engines import EpisodeRow

    return [EpisodeRow.from_json(text) for text in pq.read_table(folder / f"{name}.parquet")["mentorkit"].to_pylist()]


def test_learning_rates_are_ours_after_a_resumption_too(tmp_path: Path) -> None:
    steps, updates = 6, 2
    optimizer = {"lr": 3e-4, "warmup": 2, "schedule": "linear", "final": 0.1}
    changes = {"train.0.steps": steps, "train.0.optimizer": optimizer, "train.0.minibatches": updates}
    exported(tmp_path / "run", {"train.0.problems": 4, "train.0.group": 2, **changes})
    options = OptimizerOptions.model_validate(optimizer)
    expected = [learning_rate(options, step, steps) for step in range(1, steps + 1) for _ in range(updates)]
    assert in_verl("rates", tmp_path / "run", steps * updates) == pytest.approx(expected, rel=1e-12)


def test_a_step_of_verl_is_a_step_here_and_comes_back(tmp_path: Path) -> None:
    """verl plays, updates by FSDP2, saves and merges; its weights are those of a step here, and become a run."""
    folder = tmp_path / "run"
    backend = {"use": "torch", "with": {"dtype": "float32", "device": "cpu"}}
    exported(folder, {"train.0.steps": 1, "backend": backend, "evaluate.on": []}, gpus=1)
    loaded = load_recipe(folder / "recipe.yaml")
    experiment = assemble(loaded, registry_with_verl())
    with server(experiment) as address:
        found = in_verl("update", folder, address)
    before = {name: value.clone() for name, value in trained(experiment).items()}
    options = registry_with_verl().check("stages", loaded.recipe.train[0])
    assert isinstance(options, GRPOOptions)
    metrics = our_step(experiment, options, [episode.scored for episode in read_results(folder).episodes])
    assert found["actor/pg_loss"] == pytest.approx(metrics["loss"], abs=1e-6)
    assert found["grad_norm"] == pytest.approx(metrics["gradient_norm"], rel=1e-3)
    theirs, ours = load_file(folder / "updated.safetensors"), trained(experiment)
    moved = torch.cat([(ours[name] - before[name]).flatten() for name in ours])
    apart = torch.cat([(theirs[name] - ours[name]).flatten() for name in ours])
    assert moved.norm() > 0
    assert apart.norm() < 0.01 * moved.norm()

    run = merged_and_imported(folder, found, tmp_path / "runs")
    assert run.steps[0]["loss"] == found["actor/pg_loss"]
    student = api.export(run, tmp_path / "student", registry=registry_with_verl())
    for name, value in load_file(student / "model.safetensors").items():
        torch.testing.assert_close(value.float(), theirs[name], rtol=2**-7, atol=1e-6)


def test_an_adapter_that_verl_trained_comes_back(tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder, backend = tmp_path / "run", {"use": "torch", "with": {"dtype": "float32", "device": "cpu"}}
    adapter = {"use": "lora", "with": {"rank": 4, "alpha": 8}}
    changes = {"train.0.steps": 1, "backend": backend, "evaluate.on": [], "student.adapter": adapter}
    exported(folder, changes, gpus=1)
    experiment = assemble(load_recipe(folder / "recipe.yaml"), registry_with_verl())
    with server(experiment) as address:
        found = in_verl("update", folder, address)
    run = merged_and_imported(folder, found, tmp_path / "runs")
    student = api.export(run, tmp_path / "student", registry=registry_with_verl())
    base = AutoModelForCausalLM.from_pretrained(folder / "student", dtype=torch.float32)
    untrained = {name: value.clone() for name, value in base.state_dict().items()}
    expected = PeftModel.from_pretrained(base, folder / "final" / "lora_adapter").merge_and_unload().state_dict()
    exported_weights = load_file(student / "model.safetensors")
    assert any(not torch.equal(value, untrained[name]) for name, value in exported_weights.items())
    for name, value in exported_weights.items():
        torch.testing.assert_close(value.float(), expected[name], rtol=1e-5, atol=1e-6)


def merged_and_imported(folder: Path, metrics: dict[str, float], runs: Path) -> Run:
    """What `launch.sh` does after the last step, and the import."""
    (folder / "metrics").mkdir()
    logged = {"step": 1, "data": {"training/global_step": 1, **metrics}}
    (folder / "metrics" / "1.jsonl").write_text(json.dumps(logged) + "\n")
    path = f"{Path(PYTHON).absolute().parent}:{os.environ['PATH']}"
    subprocess.run(["bash", folder / "launch.sh", "merge"], check=True, env={**os.environ, "PATH": path})
    return api.import_run(folder, output=runs, registry=registry_with_verl())


def trained(experiment: Experiment) -> dict[str, torch.Tensor]:
    """The student's weights, by transformers' names."""
    with tempfile.TemporaryDirectory() as folder:
        experiment.export(Path(folder) / "student")
        return load_file(Path(folder) / "student" / "model.safetensors")


def our_step(experiment: Experiment, options: GRPOOptions, scored: list[Scored]) -> dict[str, float]:
    """One update on a step's rollouts, those of a group next to each other."""
    groups = [scored[start : start + options.group] for start in range(0, len(scored), options.group)]
    objective, policy = build_objective(options.objective), experiment.policy
    rewards = np.array([[item.reward.total for item in group] for group in groups])
    advantages = objective.advantages(outcomes(groups, rewards))
    policy.prepare(options.optimizer.spec)
    loss = policy.forward_backward(rollout_groups(groups, advantages), objective)
    step = policy.optimizer_step(learning_rate(options.optimizer, 1, options.steps))
    return {"loss": loss.loss, "gradient_norm": step.gradient_norm}
