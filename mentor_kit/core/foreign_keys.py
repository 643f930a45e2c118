"""Keys of other trainers, and what they are called here: hints for unknown keys, and the page docs/coming-from.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ForeignKey:
    """A setting under its names here and elsewhere."""

    ours: str
    """The key as `--set` takes it, for a recipe whose first stage is meant; empty where there is no such setting."""
    note: str = ""
    """What is different here; empty where nothing is."""
    trl: tuple[str, ...] = ()
    """Of TRL's and transformers' trainer arguments."""
    verl: tuple[str, ...] = ()
    """Of verl's configuration, with dots."""
    axolotl: tuple[str, ...] = ()
    peft: tuple[str, ...] = ()
    mlx: tuple[str, ...] = ()
    """Of mlx-lm's and mlx-lm-lora's configuration."""

    def names(self) -> Iterable[tuple[str, str]]:
        """The programs with their keys, in the order of the page's columns."""
        for program, keys in zip(PROGRAMS, (self.trl, self.verl, self.axolotl, self.peft, self.mlx), strict=True):
            yield from ((program, key) for key in keys)


#: The programs whose keys are known, in the order of the page's columns.
PROGRAMS = ("TRL", "verl", "axolotl", "peft", "mlx-lm")

FOREIGN_KEYS = (
    ForeignKey(
        "student.model",
        trl=("model_name_or_path",),
        verl=("actor_rollout_ref.model.path",),
        axolotl=("base_model",),
        peft=("base_model_name_or_path",),
    ),
    ForeignKey("train.0.steps", trl=("max_steps",), verl=("trainer.total_training_steps",), mlx=("iters",)),
    ForeignKey(
        "train.0.group",
        "rollouts of a problem",
        trl=("num_generations",),
        verl=("actor_rollout_ref.rollout.n",),
        mlx=("group_size",),
    ),
    ForeignKey(
        "train.0.problems",
        "problems of a step; `train.0.batch` for the stage `sft`. Micro-batches form by themselves",
        trl=("per_device_train_batch_size", "generation_batch_size", "gradient_accumulation_steps"),
        verl=("data.train_batch_size",),
        axolotl=("micro_batch_size",),
        mlx=("batch_size",),
    ),
    ForeignKey(
        "train.0.minibatches",
        "updates of an epoch, not their size",
        trl=("steps_per_generation",),
        verl=("actor_rollout_ref.actor.ppo_mini_batch_size",),
    ),
    ForeignKey(
        "train.0.epochs",
        "how often a step's rollouts are trained on; a run's length is `train.0.steps`",
        trl=("num_iterations", "num_train_epochs"),
        verl=("actor_rollout_ref.actor.ppo_epochs", "trainer.total_epochs"),
        axolotl=("num_epochs",),
    ),
    ForeignKey(
        "train.0.optimizer.lr",
        trl=("learning_rate",),
        verl=("actor_rollout_ref.actor.optim.lr",),
        axolotl=("learning_rate",),
        mlx=("learning_rate",),
    ),
    ForeignKey(
        "train.0.optimizer.clip", "gradient norm", trl=("max_grad_norm",), verl=("actor_rollout_ref.actor.grad_clip",)
    ),
    ForeignKey("train.0.optimizer.warmup", "steps", trl=("warmup_steps",), axolotl=("warmup_steps",)),
    ForeignKey(
        "train.0.optimizer.schedule", trl=("lr_scheduler_type",), axolotl=("lr_scheduler",), mlx=("lr_schedule",)
    ),
    ForeignKey("train.0.optimizer.use", trl=("optim",), axolotl=("optimizer",)),
    ForeignKey("train.0.optimizer.betas", "two numbers", trl=("adam_beta1", "adam_beta2")),
    ForeignKey("train.0.optimizer.eps", trl=("adam_epsilon",)),
    ForeignKey(
        "train.0.objective.kl",
        "the preset `grpo` has 0.001, as in the paper; TRL's default is 0",
        trl=("beta",),
        verl=("actor_rollout_ref.actor.kl_loss_coef",),
        mlx=("beta",),
    ),
    ForeignKey(
        "train.0.objective.loss.clip_low",
        "`loss: {use: ppo, with: {clip_low: 0.2, clip_high: 0.28}}`",
        trl=("epsilon",),
        verl=("actor_rollout_ref.actor.clip_ratio_low",),
        mlx=("epsilon",),
    ),
    ForeignKey(
        "train.0.objective.loss.clip_high",
        trl=("epsilon_high",),
        verl=("actor_rollout_ref.actor.clip_ratio_high",),
        mlx=("epsilon_high",),
    ),
    ForeignKey("train.0.objective.loss.clip_dual", verl=("actor_rollout_ref.actor.clip_ratio_c",)),
    ForeignKey("train.0.objective.entropy", verl=("actor_rollout_ref.actor.entropy_coeff",)),
    ForeignKey(
        "train.0.objective.loss",
        "`gspo` compares sequences; `ppo` tokens",
        trl=("importance_sampling_level",),
        verl=("actor_rollout_ref.actor.policy_loss.loss_mode",),
    ),
    ForeignKey(
        "train.0.objective.aggregation",
        "or a preset with it",
        trl=("loss_type",),
        verl=("actor_rollout_ref.actor.loss_agg_mode",),
    ),
    ForeignKey(
        "train.0.objective.advantage",
        "`group_mean` does not divide by the standard deviation",
        trl=("scale_rewards",),
        verl=("algorithm.norm_adv_by_std_in_grpo", "algorithm.adv_estimator"),
    ),
    ForeignKey("train.0.objective.importance_cap", trl=("vllm_importance_sampling_clip_max",)),
    ForeignKey("train.0.resample", "rounds of dynamic sampling", verl=("algorithm.filter_groups",)),
    ForeignKey("train.0.mask_unended", trl=("mask_truncated_completions",)),
    ForeignKey(
        "rollout.max_response_tokens",
        "of an episode, tool results included; a turn's limit is `rollout.max_turn_tokens`",
        trl=("max_completion_length",),
        verl=("data.max_response_length",),
        mlx=("max_completion_length",),
    ),
    ForeignKey("rollout.max_turn_tokens", "of one assistant turn", trl=("max_new_tokens",)),
    ForeignKey(
        "rollout.max_turns",
        "assistant turns",
        trl=("max_tool_calling_iterations",),
        verl=("actor_rollout_ref.rollout.multi_turn.max_assistant_turns",),
    ),
    ForeignKey(
        "reward.terms",
        "each term has a `weight`; `mentorkit check --expand` prints a preset's",
        trl=("reward_weights", "reward_funcs"),
        mlx=("reward_weights",),
    ),
    ForeignKey(
        "student.adapter",
        "`lora`, or `{use: lora, with: {rank: 16, alpha: 32}}`",
        axolotl=("lora_model_dir",),
        mlx=("lora_parameters", "fine_tune_type"),
    ),
    ForeignKey(
        "student.adapter.rank",
        verl=("actor_rollout_ref.model.lora_rank",),
        axolotl=("lora_r",),
        peft=("r",),
        trl=("lora_r",),
    ),
    ForeignKey(
        "student.adapter.alpha",
        "the scale is alpha / rank",
        verl=("actor_rollout_ref.model.lora_alpha",),
        axolotl=("lora_alpha",),
        peft=("lora_alpha",),
        trl=("lora_alpha",),
    ),
    ForeignKey("student.adapter.dropout", axolotl=("lora_dropout",), peft=("lora_dropout",), trl=("lora_dropout",)),
    ForeignKey(
        "student.adapter.targets",
        verl=("actor_rollout_ref.model.target_modules",),
        axolotl=("lora_target_modules",),
        peft=("target_modules",),
        trl=("lora_target_modules",),
    ),
    ForeignKey("backend.dtype", "`bfloat16`", trl=("bf16", "fp16"), axolotl=("bf16",)),
    ForeignKey(
        "backend.gradient_checkpointing",
        trl=("gradient_checkpointing", "activation_checkpointing"),
        verl=("actor_rollout_ref.model.enable_gradient_checkpointing",),
        axolotl=("gradient_checkpointing",),
        mlx=("grad_checkpoint",),
    ),
    ForeignKey("backend.max_context", axolotl=("sequence_len",), mlx=("max_seq_length",)),
    ForeignKey("evaluate.every", "steps", trl=("eval_steps",), verl=("trainer.test_freq",), mlx=("steps_per_eval",)),
    ForeignKey("evaluate.at_start", trl=("eval_on_start",), verl=("trainer.val_before_train",)),
    ForeignKey("checkpoints.every", "steps", trl=("save_steps",), verl=("trainer.save_freq",), mlx=("save_every",)),
    ForeignKey("checkpoints.keep_last", trl=("save_total_limit",), axolotl=("save_total_limit",)),
    ForeignKey("checkpoints.best", trl=("metric_for_best_model", "load_best_model_at_end")),
    ForeignKey("checkpoints.mode", "`max` or `min`", trl=("greater_is_better",)),
    ForeignKey("record.rollouts", "kept in the run folder, and in its page", trl=("log_completions",)),
    ForeignKey("trackers", trl=("report_to",), verl=("trainer.logger",), mlx=("report_to",)),
    ForeignKey("name", trl=("run_name",), verl=("trainer.experiment_name",)),
    ForeignKey(
        "",
        "the folder of all runs is `mentorkit run --output`",
        trl=("output_dir",),
        verl=("trainer.default_local_dir",),
        axolotl=("output_dir",),
        mlx=("adapter_path",),
    ),
    ForeignKey(
        "",
        "the backend's own engine samples; its memory for keys and values is `backend.kv_memory`",
        trl=("use_vllm", "vllm_mode", "vllm_gpu_memory_utilization"),
        verl=("actor_rollout_ref.rollout.gpu_memory_utilization",),
    ),
    ForeignKey(
        "",
        "prompts are never cut; `backend.max_context` limits prompt and response",
        verl=("data.max_prompt_length",),
    ),
    ForeignKey(
        "",
        "every step is recorded",
        trl=("logging_steps",),
        axolotl=("logging_steps",),
        mlx=("steps_per_report",),
    ),
    ForeignKey(
        "task",
        "`{use: conversations, with: {files: {train: …}}}` reads dialogues, `rows` questions (docs/data.md)",
        trl=("dataset_name",),
        verl=("data.train_files",),
        axolotl=("datasets",),
    ),
)


#: Keys that mean many things: they are answered only where the key that they stand for is expected.
_COMMON = frozenset({"n", "r", "lr", "path", "optim", "logger", "optimizer"})

#: So many keys of a foreign section are answered one by one.
_ANSWERED = 4


def foreign_hint(key: str, known: Iterable[str] = ()) -> str:
    """` (TRL's 'num_generations' is 'train.0.group' here)` for a key of another program, or an empty string.

    A key with dots is known by its last part too, as it stands in a nested file.

    Args:
        key: the unknown key.
        known: the keys that are expected in its place.
    """
    found: dict[str, list[str]] = {}
    for entry in FOREIGN_KEYS:
        if key in _COMMON and entry.ours.rpartition(".")[2] not in known:
            continue
        for program, name in entry.names():
            if key in (name, name.rpartition(".")[2]):
                found.setdefault(_here(entry), []).append(program)
    # a key of several meanings is answered by none
    if len(found) != 1:
        return ""
    ((here, programs),) = found.items()
    owners = _listed(f"{program}'s" for program in dict.fromkeys(programs))
    return f" ({owners} {key!r} {here})"


def foreign_section_hint(key: str, value: Any) -> str:
    """What the keys in another program's section are called here, or an empty string where none is known.

    Args:
        key: the unknown key, such as verl's `trainer`.
        value: what a recipe gives it; the keys in it are known by their whole names, such as `trainer.test_freq`.
    """
    hints = [hint for name in _names_in(key, value) if (hint := _named(name)) is not None]
    if len(hints) > _ANSWERED:
        more = f"{len(hints) - _ANSWERED} more are answered in docs/coming-from.md"
        hints = [*hints[:_ANSWERED], more]
    return f" ({'; '.join(hints)})" if hints else ""


def markdown_table() -> str:
    """The table of docs/coming-from.md: a row a setting, a column a program."""
    heads = ["here", *PROGRAMS, "note"]
    rows = [
        [
            _code(entry.ours) or "–",
            *(", ".join(_code(name) for of, name in entry.names() if of == program) for program in PROGRAMS),
            entry.note,
        ]
        for entry in FOREIGN_KEYS
    ]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, ["---"] * len(heads), *rows]) + "\n"


def _names_in(key: str, value: Any) -> Iterator[str]:
    """The names of all keys in a section, with dots; the section's own is not among them."""
    if isinstance(value, Mapping):
        for inner, item in value.items():
            name = f"{key}.{inner}"
            yield name
            yield from _names_in(name, item)


def _named(name: str) -> str | None:
    for entry in FOREIGN_KEYS:
        for program, theirs in entry.names():
            if name == theirs:
                return f"{program}'s {name!r} {_here(entry)}"
    return None


def _here(entry: ForeignKey) -> str:
    if not entry.ours:
        return f"is no key here: {entry.note}"
    return f"is {entry.ours!r} here" + (f": {entry.note}" if entry.note else "")


def _code(key: str) -> str:
    return f"`{key}`" if key else ""


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
