"""A recipe in verl's keys: what each of its settings becomes, what is refused, and what is different.

docs/scale.md has the whole table. Keys are dotted, as `python -m verl.trainer.main_ppo` takes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mentor_kit.core.frozen_model import Json
from mentor_kit.recipe.engines import Cluster, EngineRun
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.model import LoraOptions, Recipe
from mentor_kit.recipe.source import Path_
from mentor_kit.stages.grpo_options import GRPOOptions
from mentor_kit.stages.schedule import OptimizerOptions
from mentor_kit.utils.hub_cache import downloaded
from mentor_kit.utils.paths import expanded_path
from mentor_kit_verl.objective import ACTOR, UNBOUNDED, objective_faults, objective_settings
from mentor_kit_verl.options import VerlOptions

#: Where an exported run's folder is, as `launch.sh` says.
RUN = "${oc.env:MENTORKIT_RUN}"
#: Where its metrics go, likewise.
METRICS = "${oc.env:MENTORKIT_METRICS}"
#: The recipe's place of its stage's options.
STAGE: Path_ = ("train", 0, "with")
#: Trackers that verl has under the same names; others are refused.
TRACKERS = ("wandb", "tensorboard", "trackio", "mlflow")
#: The backends' `dtype`, and verl's.
DTYPES = {"auto": "bfloat16", "bfloat16": "bfloat16", "float16": "float16", "float32": "float32"}

#: The largest rank of an adapter that vLLM serves.
LARGEST_RANK = 512

MODEL, ROLLOUT = "actor_rollout_ref.model.", "actor_rollout_ref.rollout."


def recipe_faults(
    loaded: LoadedRecipe, stage: GRPOOptions, cluster: Cluster, options: VerlOptions
) -> Iterator[tuple[Path_, str]]:
    """Yield what a recipe says and verl cannot do, with its place and what to do instead."""
    recipe = loaded.recipe
    yield from _student_faults(recipe, stage)
    if _has_quantized_weights(recipe.student.model, loaded.folder):
        yield ("student", "model"), "verl trains no quantized weights: name the model that they were made of"
    yield from _machine_faults(recipe, stage, cluster, options)
    yield from objective_faults(stage.objective, (*STAGE, "objective"))
    if stage.permute_rewards:
        yield (*STAGE, "permute_rewards"), "verl has no such control: run it here"
    if stage.optimizer.use != "adamw":
        yield (*STAGE, "optimizer", "use"), f"verl's FSDP2 has no {stage.optimizer.use!r}; use `adamw`"
    if recipe.rollout.deterministic is True:
        yield ("rollout", "deterministic"), "verl's servers give no equal bits in every run; use `auto`"
    if recipe.rollout.staleness:
        yield ("rollout", "staleness"), "the exported run is verl's synchronous one; use 0"
    if recipe.sampler is not None and recipe.sampler.use != "vllm":
        yield ("sampler",), f"verl starts servers of vLLM, not {recipe.sampler.use!r}: leave it out"
    for place, tracker in enumerate(recipe.trackers):
        if tracker.use not in TRACKERS:
            listed = ", ".join(f"`{name}`" for name in TRACKERS)
            yield ("trackers", place), f"verl has no tracker {tracker.use!r}; it has {listed}"


def _student_faults(recipe: Recipe, stage: GRPOOptions) -> Iterator[tuple[Path_, str]]:
    student = recipe.student
    if student.revision is not None:
        yield ("student", "revision"), "verl loads a hub's newest revision alone: download it, and name its folder"
    for key in recipe.backend.options:
        if "quant" in key and recipe.backend.options[key] not in (None, False, "none"):
            yield ("backend", "with", key), "verl trains no quantized weights here: leave it out"
    if (dtype := recipe.backend.options.get("dtype", "auto")) not in DTYPES:
        yield ("backend", "with", "dtype"), f"verl has no {dtype!r}; use bfloat16, float16 or float32"
    if student.adapter is None:
        return
    lora, place = student.adapter.options, ("student", "adapter", "with")
    if lora.rank > LARGEST_RANK:
        yield (*place, "rank"), f"vLLM serves adapters up to rank {LARGEST_RANK}, and this is {lora.rank}"
    if lora.dropout > 0:
        yield (*place, "dropout"), "verl's FSDP2 has no dropout of adapters; use 0"
    if lora.alpha != int(lora.alpha):
        yield (*place, "alpha"), f"verl takes whole numbers, and this is {lora.alpha:g}"
    if lora.path is not None and stage.objective.kl > 0:
        yield (
            (*place, "path"),
            "verl's reference is the model without any adapter, where ours has the adapter that training starts from; "
            "use `objective.kl: 0`, or merge the adapter first",
        )


def _has_quantized_weights(model: str, folder: Path) -> bool:
    """Whether a model's configuration is on this machine and says that its weights are quantized."""
    for place in (folder / expanded_path(model), *downloaded(model)):
        with suppress(OSError, ValueError, RuntimeError):
            config = json.loads((place / "config.json").read_bytes())
            return bool(config.get("quantization") or config.get("quantization_config"))
    return False


def _machine_faults(
    recipe: Recipe, stage: GRPOOptions, cluster: Cluster, options: VerlOptions
) -> Iterator[tuple[Path_, str]]:
    """Yield what does not divide evenly: verl does not pad a step's groups."""
    if stage.problems % stage.minibatches:
        yield (
            (*STAGE, "minibatches"),
            f"verl's minibatches are equal: {stage.problems} problems cannot be divided into {stage.minibatches}",
        )
    for name, size in (("tensor_parallel", options.tensor_parallel), ("sequence_parallel", options.sequence_parallel)):
        if cluster.devices % size:
            yield (), f"{cluster.devices} GPUs cannot be divided by the engine's {name}, {size}"
    shares = max(1, cluster.devices // options.sequence_parallel)
    rollouts = max(1, stage.problems // stage.minibatches) * stage.group
    if rollouts % shares:
        yield (
            (*STAGE, "group"),
            f"an update has {rollouts} rollouts, which {shares} shares of {cluster.devices} GPUs cannot divide evenly; "
            "change `problems`, `group` or `minibatches`, or --nodes and --gpus",
        )


def recipe_settings(run: EngineRun, options: VerlOptions) -> dict[str, Json]:
    """Verl's keys with their values, for a recipe without faults."""
    recipe, stage = run.recipe, run.options
    rollout, response = recipe.rollout, recipe.rollout.max_response_tokens
    seed = recipe.seed % 2**31
    return {
        **_data_settings(run),
        **_model_settings(run),
        **_optimizer_settings(stage.optimizer, stage),
        **objective_settings(stage.objective, longest=response, single_update=stage.minibatches * stage.epochs == 1),
        ACTOR + "strategy": "fsdp2",
        ACTOR + "ppo_mini_batch_size": stage.problems // stage.minibatches,
        ACTOR + "ppo_epochs": stage.epochs,
        ACTOR + "use_dynamic_bsz": True,
        ACTOR + "ppo_max_token_len_per_gpu": options.tokens_per_gpu or max(16384, run.longest_prompt + response),
        ACTOR + "data_loader_seed": seed,
        ACTOR + "fsdp_config.seed": seed,
        ACTOR + "fsdp_config.param_offload": options.offload,
        ACTOR + "fsdp_config.optimizer_offload": options.offload,
        ACTOR + "fsdp_config.ulysses_sequence_parallel_size": options.sequence_parallel,
        "actor_rollout_ref.ref.fsdp_config.param_offload": options.offload,
        "actor_rollout_ref.ref.fsdp_config.ulysses_sequence_parallel_size": options.sequence_parallel,
        ROLLOUT + "name": "vllm",
        ROLLOUT + "mode": "async",
        ROLLOUT + "n": stage.group,
        ROLLOUT + "temperature": rollout.temperature,
        ROLLOUT + "top_p": rollout.top_p,
        ROLLOUT + "top_k": rollout.top_k or -1,
        ROLLOUT + "seed": seed,
        ROLLOUT + "calculate_log_probs": True,
        ROLLOUT + "max_model_len": run.longest_prompt + response,
        ROLLOUT + "tensor_model_parallel_size": options.tensor_parallel,
        ROLLOUT + "gpu_memory_utilization": options.server_memory,
        # of a validation batch each row is one episode, and says how it is decoded
        ROLLOUT + "val_kwargs.n": 1,
        ROLLOUT + "agent.default_agent_loop": "mentorkit",
        ROLLOUT + "agent.agent_loop_config_path": f"{RUN}/loop.yaml",
        ROLLOUT + "agent.num_workers": options.workers,
        "reward.num_workers": 1,
        "algorithm.filter_groups.enable": stage.resample > 0,
        # more than a machine has cores, and verl waits for ever
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 2,
        **_trainer_settings(run),
    }


def _data_settings(run: EngineRun) -> dict[str, Json]:
    evaluates = bool(run.recipe.evaluate.on)
    return {
        "data.train_files": [f"{RUN}/train.parquet"],
        # verl wants a file where nothing is evaluated, too
        "data.val_files": [f"{RUN}/{'evaluation' if evaluates else 'train'}.parquet"],
        "data.val_max_samples": -1 if evaluates else 1,
        "data.train_batch_size": run.options.problems,
        "data.max_prompt_length": run.longest_prompt,
        "data.max_response_length": run.recipe.rollout.max_response_tokens,
        "data.filter_overlong_prompts": False,
        "data.return_raw_chat": True,
        # the rows are in the order of the steps
        "data.shuffle": False,
        "data.validation_shuffle": False,
        "data.seed": run.recipe.seed % 2**31,
    }


def _model_settings(run: EngineRun) -> dict[str, Json]:
    dtype = DTYPES[run.recipe.backend.options.get("dtype", "auto")]
    found: dict[str, Json] = {
        MODEL + "path": f"{RUN}/student" if run.carries_student else run.student.model,
        ACTOR + "fsdp_config.dtype": dtype,
        "actor_rollout_ref.ref.fsdp_config.dtype": dtype,
        ROLLOUT + "dtype": dtype,
    }
    if dtype != "bfloat16":
        # FSDP computes in bfloat16 whatever `dtype` says, unless it has this
        for part in (ACTOR, "actor_rollout_ref.ref."):
            precision = part + "fsdp_config.mixed_precision."
            found |= {precision + "param_dtype": dtype, precision + "reduce_dtype": "float32"}
    adapter = run.recipe.student.adapter
    return found | (_lora_settings(run, adapter.options) if adapter is not None else {})


def _lora_settings(run: EngineRun, lora: LoraOptions) -> dict[str, Json]:
    path = None if lora.path is None else str((run.loaded.folder / expanded_path(lora.path)).resolve())
    return {
        MODEL + "lora_rank": lora.rank,
        MODEL + "lora_alpha": int(lora.alpha),
        MODEL + "target_modules": list(lora.targets) or "all-linear",
        MODEL + "lora_adapter_path": path,
        # a server that is given adapters alone loads the model itself
        ROLLOUT + "load_format": "safetensors",
    }


def _optimizer_settings(optimizer: OptimizerOptions, stage: GRPOOptions) -> dict[str, Json]:
    """The optimizer: torch's own where its rate is constant, else ours, whose schedule is the recipe's."""
    optim, clip = ACTOR + "optim.", optimizer.clip or UNBOUNDED
    found: dict[str, Json] = {
        optim + "lr": optimizer.lr,
        optim + "betas": list(optimizer.betas),
        optim + "weight_decay": optimizer.weight_decay,
        optim + "lr_scheduler_type": "constant",
        optim + "lr_warmup_steps": 0,
        # FSDP reads the second; the first is shown
        ACTOR + "grad_clip": clip,
        optim + "clip_grad": clip,
    }
    further: dict[str, Json] = {"eps": optimizer.eps}
    if optimizer.schedule != "constant" or optimizer.warmup > 0:
        found |= {optim + "optimizer_impl": "mentor_kit_verl.optimizer", optim + "optimizer": "ScheduledAdamW"}
        further |= {
            "warmup": optimizer.warmup,
            "schedule": optimizer.schedule,
            "final": optimizer.final,
            "steps": stage.steps,
            "updates": stage.minibatches * stage.epochs,
        }
    return found | {optim + "override_optimizer_config": further}


def _trainer_settings(run: EngineRun) -> dict[str, Json]:
    recipe, steps, evaluation = run.recipe, run.options.steps, run.recipe.evaluate
    evaluates = bool(evaluation.on)
    # verl evaluates after the last step wherever it evaluates at all
    frequency = evaluation.every or (steps if evaluation.at_end else -1)
    return {
        "trainer.nnodes": run.cluster.nodes,
        "trainer.n_gpus_per_node": run.cluster.gpus,
        "trainer.total_training_steps": steps,
        "trainer.total_epochs": 1,
        "trainer.project_name": "mentorkit",
        "trainer.experiment_name": recipe.name,
        "trainer.logger": ["console", "file", *dict.fromkeys(tracker.use for tracker in recipe.trackers)],
        "trainer.default_local_dir": f"{RUN}/checkpoints",
        "trainer.save_freq": recipe.checkpoints.every or steps,
        "trainer.max_actor_ckpt_to_keep": recipe.checkpoints.keep_last,
        "trainer.test_freq": frequency if evaluates else -1,
        "trainer.val_before_train": evaluates and evaluation.at_start,
        "ray_kwargs.ray_init.runtime_env.env_vars": {"VERL_FILE_LOGGER_PATH": METRICS},
    }


def differences(run: EngineRun) -> Iterator[str]:
    """Yield what is different in verl, a sentence each."""
    recipe, stage = run.recipe, run.options
    yield "Random numbers are the servers': tokens are not those of a run here, and no two runs have the same bits."
    yield "verl resumes from its own checkpoints, by `launch.sh` again; `mentorkit run --resume` does not."
    if recipe.checkpoints.best is not None:
        yield "verl keeps the newest checkpoints, and none for being the best (`checkpoints.best`)."
    if recipe.evaluate.on and recipe.evaluate.every and not recipe.evaluate.at_end:
        yield "verl evaluates after the last step, too (`evaluate.at_end`)."
    if stage.resample:
        yield "Zero-variance groups are replaced until a step is full, without a limit of rounds (`resample`)."
    if stage.mask_unended and stage.objective.aggregation != "token":
        yield "Sequences that `mask_unended` masks count in the mean over sequences, with a loss of 0."
    if stage.minibatches * stage.epochs == 1 and stage.objective.loss.use != "ppo":
        yield "Ratios are to a forward pass of verl's before the update, not to the servers' log-probabilities."
    if stage.objective.kl > 0 and stage.objective.kl_estimator == "k3":
        yield "A token's divergence is clamped to 10 (`kl_estimator: k3`)."
    if recipe.student.adapter is None:
        yield "The final weights come back as bfloat16."
    if recipe.sampler is not None and recipe.sampler.options:
        yield "verl starts the servers itself: options of the `sampler` have no meaning in it."
    if recipe.trackers:
        yield "Trackers have verl's names of metrics, and none of their options."
    if left := sorted(set(recipe.backend.options) - {"device", "dtype"}):
        listed = ", ".join(f"`backend.with.{key}`" for key in left)
        yield f"Options of the backend have no meaning in verl: {listed}."
