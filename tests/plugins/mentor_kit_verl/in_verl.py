"""Runs inside verl's environment, and prints one JSON value: what verl makes of an exported folder.

python in_verl.py compose FOLDER
python in_verl.py play FOLDER train|evaluation SERVER COUNT
python in_verl.py rates FOLDER UPDATES
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf


def composed(folder: str) -> DictConfig:
    os.environ["MENTORKIT_RUN"] = folder
    os.environ["MENTORKIT_METRICS"] = f"{folder}/metrics/test.jsonl"
    with initialize_config_dir(config_dir=folder, version_base=None):
        return compose("verl")


def defaults() -> DictConfig:
    import verl.trainer

    with initialize_config_dir(config_dir=f"{Path(verl.trainer.__file__).parent}/config", version_base=None):
        return compose("ppo_trainer")


def keys(node: Any, path: tuple[str, ...] = ()) -> set[str]:
    found = set()
    for key in node:
        child = node._get_node(key)
        where = (*path, str(key))
        found |= keys(child, where) if OmegaConf.is_dict(child) and len(child) else {".".join(where)}
    return found


def check(folder: str) -> Any:
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    config = composed(folder)
    unknown = sorted(keys(config) - keys(defaults()))
    OmegaConf.resolve(config)
    validate_config(config, need_reference_policy(config), need_critic(config))
    return {
        "unknown": unknown,
        "critic": need_critic(config),
        "reference": need_reference_policy(config),
        "config": OmegaConf.to_container(config, resolve=True, throw_on_missing=False),
    }


class HttpClient:
    """verl's client of its servers, as an agent loop sees it, over the test's small server."""

    def __init__(self, address: str) -> None:
        self.address = address

    def _ask(self, body: bytes) -> Any:
        request = urllib.request.Request(self.address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    async def generate(self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]) -> Any:
        body = json.dumps({"prompt_ids": prompt_ids, "sampling_params": sampling_params}).encode()
        found = await asyncio.to_thread(self._ask, body)
        return SimpleNamespace(**found, extra_fields={"global_steps": 0})


def play(folder: str, name: str, server: str, count: str) -> Any:
    """The first rows by verl's own data set, collate function and agent-loop worker."""
    from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
    from verl.protocol import DataProto
    from verl.trainer.ppo.utils import create_rl_dataset
    from verl.utils.dataset.rl_dataset import collate_fn
    from verl.utils.tokenizer import hf_tokenizer

    config = composed(folder)
    OmegaConf.resolve(config)
    files = config.data.train_files if name == "train" else config.data.val_files
    tokenizer = hf_tokenizer(config.actor_rollout_ref.model.path)
    dataset = create_rl_dataset(files, config.data, tokenizer, None)
    batch = DataProto.from_single_dict(collate_fn([dataset[place] for place in range(int(count))]))
    batch.meta_info = {"global_steps": 1, "validate": name != "train"}
    batch.non_tensor_batch["global_steps"] = np.array([1] * int(count), dtype=object)
    worker = AgentLoopWorker(config, HttpClient(server))
    done = asyncio.run(worker.generate_sequences(batch))
    prompt = done.batch["prompts"].shape[1]
    attended = done.batch["attention_mask"].bool()
    return {
        "rows": len(dataset),
        "prompts": [ids[mask].tolist() for ids, mask in zip(done.batch["prompts"], attended[:, :prompt], strict=True)],
        "responses": [
            {
                "ids": done.batch["responses"][row][attended[row, prompt:]].tolist(),
                "mask": done.batch["response_mask"][row][attended[row, prompt:]].tolist(),
                "log_probs": done.batch["rollout_log_probs"][row][attended[row, prompt:]].tolist(),
                "reward": float(done.batch["rm_scores"][row].sum()),
            }
            for row in range(int(count))
        ],
    }


def rates(folder: str, updates: str) -> Any:
    """The learning rates of an optimizer that verl builds, half of them after its state was saved and loaded."""
    from verl.utils.config import omega_conf_to_dataclass
    from verl.workers.config.optimizer import build_optimizer

    config = omega_conf_to_dataclass(composed(folder).actor_rollout_ref.actor).optim
    weight = torch.nn.Parameter(torch.ones(3))
    found, optimizer = [], build_optimizer([weight], config)
    for update in range(int(updates)):
        if update == int(updates) // 2:
            state = optimizer.state_dict()
            optimizer = build_optimizer([weight], config)
            optimizer.load_state_dict(state)
        weight.grad = torch.ones(3)
        optimizer.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    result = {"compose": check, "play": play, "rates": rates}[command](*arguments)
    print("\n" + json.dumps(result))
