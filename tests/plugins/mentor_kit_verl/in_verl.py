"""Runs inside verl's environment, and prints one JSON value: what verl makes of an exported folder.

python in_verl.py compose FOLDER …
python in_verl.py play FOLDER train|evaluation SERVER COUNT
python in_verl.py rates FOLDER UPDATES
python in_verl.py gradients FILE FOLDER …
python in_verl.py update FOLDER SERVER
python in_verl.py queue FOLDER SERVER COUNT
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
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


def check(*folders: str) -> Any:
    return [checked(folder) for folder in folders]


def checked(folder: str) -> Any:
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    config = composed(folder)
    unknown = sorted(keys(config) - keys(defaults()))
    OmegaConf.resolve(config)
    # of adapters verl asks the package vllm for the largest rank, which is not here
    config.actor_rollout_ref.rollout.name = "sglang"
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
    """The first rows, an episode of each."""
    config = composed(folder)
    OmegaConf.resolve(config)
    done, rows = played(config, name, server, int(count), group=1)
    prompt = done.batch["prompts"].shape[1]
    attended = done.batch["attention_mask"].bool()
    return {
        "rows": rows,
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


def played(config: DictConfig, name: str, server: str, count: int, *, group: int) -> tuple[Any, int]:
    """The first rows' episodes, by verl's own data set, collate function and agent-loop worker; the number of rows."""
    from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
    from verl.protocol import DataProto
    from verl.trainer.ppo.utils import create_rl_dataset
    from verl.utils.dataset.rl_dataset import collate_fn
    from verl.utils.tokenizer import hf_tokenizer

    files = config.data.train_files if name == "train" else config.data.val_files
    tokenizer = hf_tokenizer(config.actor_rollout_ref.model.path)
    dataset = create_rl_dataset(files, config.data, tokenizer, None)
    batch = DataProto.from_single_dict(collate_fn([dataset[place] for place in range(count)]))
    batch.non_tensor_batch["uid"] = np.array([str(place) for place in range(count)], dtype=object)
    batch = batch.repeat(group, interleave=True)
    batch.non_tensor_batch["session_id"] = np.array([*range(group)] * count, dtype=object)
    batch.non_tensor_batch["global_steps"] = np.array([1] * group * count, dtype=object)
    batch.meta_info = {"global_steps": 1, "validate": name != "train"}
    worker = AgentLoopWorker(config, HttpClient(server))
    return asyncio.run(worker.generate_sequences(batch)), len(dataset)


def queue(folder: str, server: str, count: str) -> Any:
    """The groups of the first rows as verl's trainer has them: an agent-loop worker of Ray fills TransferQueue."""
    import ray
    import transfer_queue
    from verl.trainer.ppo.utils import create_rl_dataset
    from verl.utils import tensordict_utils as tu
    from verl.utils.dataset.rl_dataset import collate_fn
    from verl.utils.tokenizer import hf_tokenizer

    config = composed(folder)
    OmegaConf.resolve(config)
    ray.init(num_cpus=4, include_dashboard=False)
    config.transfer_queue.enable = True
    transfer_queue.init(config.transfer_queue)
    # asks Ray when it is imported
    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ

    tokenizer = hf_tokenizer(config.actor_rollout_ref.model.path)
    dataset = create_rl_dataset(config.data.train_files, config.data, tokenizer, None)
    rows = collate_fn([dataset[place] for place in range(int(count))])
    rows["uid"] = np.array([str(place) for place in range(int(count))], dtype=object)
    batch = tu.get_tensordict(rows)
    tu.assign_non_tensor_data(batch, "global_steps", 1)
    worker = AgentLoopWorkerTQ.remote(config, HttpClient(server), None, None)
    ray.get(worker.generate_sequences.remote(batch))
    while True:
        time.sleep(0.5)
        found = transfer_queue.kv_list("train").get("train", {})
        if sum(tag.get("status") in ("finished", "failure") for tag in found.values()) == int(count):
            break
    # <uid>_<index of the episode>_0
    keys = sorted(key for key in found if key.count("_") == 2)
    fields = ["responses", "response_mask", "rm_scores"]
    data = transfer_queue.kv_batch_get(keys=keys, partition_id="train", select_fields=fields)
    return {
        key: {"ids": ids.tolist(), "mask": mask.tolist(), "reward": float(scores.sum())}
        for key, ids, mask, scores in zip(keys, *(list(data[name]) for name in fields), strict=True)
    }


def update(folder: str, server: str) -> Any:
    """A step: verl plays, estimates advantages, updates by its FSDP2 worker, and saves a checkpoint."""
    import cpu_platform  # noqa: F401 (registers itself)
    from safetensors.torch import save_file
    from verl.trainer.ppo.ray_trainer import compute_advantage
    from verl.utils import tensordict_utils as tu
    from verl.workers.engine_workers import ActorRolloutRefWorker
    from verl.workers.utils.padding import left_right_2_no_padding

    config = composed(folder)
    OmegaConf.resolve(config)
    OmegaConf.set_struct(config, False)
    own, algorithm = config.actor_rollout_ref, config.algorithm
    # the fast attention, padding and compiler are for GPUs
    own.model.override_config = {"attn_implementation": "eager"}
    own.model.use_remove_padding = own.actor.use_torch_compile = own.actor.fsdp_config.use_torch_compile = False
    batch, _ = played(config, "train", server, config.data.train_batch_size, group=own.rollout.n)
    batch.batch["old_log_probs"] = batch.batch["rollout_log_probs"]
    batch.batch["token_level_rewards"] = batch.batch["rm_scores"]
    batch = compute_advantage(
        batch, algorithm.adv_estimator, norm_adv_by_std_in_grpo=algorithm.norm_adv_by_std_in_grpo, config=algorithm
    )
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=0, world_size=1)
    worker = ActorRolloutRefWorker(own, role="actor")
    worker.init_model()
    rollouts = own.actor.ppo_mini_batch_size * own.rollout.n
    names = ["input_ids", "prompts", "responses", "attention_mask", "position_ids", "response_mask"]
    data = left_right_2_no_padding(batch.select([*names, "old_log_probs", "advantages"]).to_tensordict())
    tu.assign_non_tensor(
        data,
        calculate_entropy=False,
        global_batch_size=rollouts,
        mini_batch_size=rollouts,
        epochs=own.actor.ppo_epochs,
        seed=own.actor.data_loader_seed,
        dataloader_kwargs={"shuffle": own.actor.shuffle},
        temperature=own.rollout.temperature,
    )
    metrics = tu.get(worker.update_actor(data), "metrics")
    weights = {name: value.full_tensor() for name, value in worker.actor.engine.module.state_dict().items()}
    save_file({name: value.clone().contiguous() for name, value in weights.items()}, f"{folder}/updated.safetensors")
    worker.save_checkpoint(f"{folder}/checkpoints/global_step_1/actor", None, 1)
    Path(folder, "checkpoints", "latest_checkpointed_iteration.txt").write_text("1")
    return {name: float(np.mean(metrics[name])) for name in ("actor/pg_loss", "grad_norm")}


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


def gradients(file: str, *folders: str) -> Any:
    return [gradient(folder, json.loads(Path(file).read_text())) for folder in folders]


def gradient(folder: str, given: dict[str, Any]) -> Any:
    """verl's advantages, loss and gradient of log-probabilities and entropies, for one update of a batch."""
    from verl.trainer.ppo.core_algos import agg_loss, get_adv_estimator_fn, get_policy_loss_fn, kl_penalty
    from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_rejection_mask
    from verl.utils.config import omega_conf_to_dataclass

    config = composed(folder)
    OmegaConf.resolve(config)
    actor, correction = omega_conf_to_dataclass(config.actor_rollout_ref.actor), config.algorithm.rollout_correction
    arrays = {name: torch.tensor(value, dtype=torch.float64) for name, value in given.items() if name != "group"}
    log_probs, entropy = (arrays[name].requires_grad_() for name in ("log_probs", "entropy"))
    mask = arrays["mask"]
    rewards = torch.zeros_like(mask)
    rewards[:, -1] = arrays["rewards"]
    options = {"norm_adv_by_std_in_grpo": config.algorithm.norm_adv_by_std_in_grpo}
    index = np.repeat(np.arange(len(rewards) // given["group"]), given["group"])
    advantages, _ = get_adv_estimator_fn(config.algorithm.adv_estimator)(
        rewards, mask, index=index, config=config.algorithm, **options
    )
    old = arrays["sampled"] if correction.bypass_mode else arrays["old"]
    weights = None
    if correction.rollout_is is not None:
        found, _, _ = compute_rollout_correction_and_rejection_mask(
            old_log_prob=old,
            rollout_log_prob=arrays["sampled"],
            response_mask=mask,
            rollout_is=correction.rollout_is,
            rollout_is_threshold=correction.rollout_is_threshold,
        )
        weights = found.batch["rollout_is_weights"]
    actor.global_batch_info.update(
        dp_size=1,
        batch_num_tokens=mask.sum(),
        global_batch_size=len(mask),
        loss_scale_factor=actor.loss_scale_factor,
    )
    loss, _ = get_policy_loss_fn(actor.policy_loss.loss_mode)(
        old_log_prob=old,
        log_prob=log_probs,
        advantages=advantages,
        response_mask=mask,
        loss_agg_mode=actor.loss_agg_mode,
        config=actor,
        rollout_is_weights=weights,
    )
    every = {"loss_mask": mask, "loss_agg_mode": actor.loss_agg_mode, **actor.global_batch_info}
    loss = loss - actor.entropy_coeff * agg_loss(loss_mat=entropy, **every)
    if actor.use_kl_loss:
        divergence = kl_penalty(log_probs, arrays["reference"], actor.kl_loss_type)
        loss = loss + actor.kl_loss_coef * agg_loss(loss_mat=divergence, **every)
    loss.backward()
    grads = {"log_probs": log_probs.grad, "entropy": entropy.grad}
    return {"advantages": advantages.tolist(), **{name: (found * mask).tolist() for name, found in grads.items()}}


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    runs = {"compose": check, "play": play, "queue": queue, "update": update, "rates": rates, "gradients": gradients}
    print("\n" + json.dumps(runs[command](*arguments)))
