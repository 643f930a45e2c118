"""What a step of GRPO takes on 1 to 64 GPUs, on paper: formulas over published sizes, no measurement.

    python benchmarks/scale_plan.py

Memory is the torch backend's own estimate, divided as each way divides it. Times assume what `Machine` says. The step
has 32 problems by 8 episodes, with 1,000 tokens of prompt, 2,000 sampled ones on average and 8,192 in the longest.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mentor_kit.backend.memory import MemoryEstimate, MemoryLoad
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.component import ComponentSpec
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.report.tables import Sheet

GB = 1e9
#: GPUs of a node.
NODE = 8
COUNTS = (1, 8, 16, 32, 64)
#: Tokens of a micro-batch of the update.
MICRO_BATCH = 16384

#: Published configurations (config.json of Qwen/Qwen3-1.7B and Qwen/Qwen3-8B).
COMMON = {
    "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 151936, "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "torch_dtype": "bfloat16",
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "Qwen3-1.7B": {
        "num_hidden_layers": 28, "hidden_size": 2048, "intermediate_size": 6144, "num_attention_heads": 16,
        "tie_word_embeddings": True,
    },
    "Qwen3-8B": {
        "num_hidden_layers": 36, "hidden_size": 4096, "intermediate_size": 12288, "num_attention_heads": 32,
        "tie_word_embeddings": False,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """Nodes of eight H100 with 80 GB; rates are what libraries come to, not what is printed on the device."""

    flops: float = 0.4 * 989e12
    """A second, in the update: 40 % of the printed bfloat16 rate."""
    memory: float = 3.0e12
    """Bytes a second from the device's memory, which decoding is bound by."""
    launch: float = 2e-3
    """Seconds of a decoding pass beside what it reads."""
    inside: float = 350e9
    """Bytes a second a GPU to others of its node."""
    between: float = 45e9
    """Bytes a second a GPU to other nodes: one link of 400 Gb/s each."""


@dataclass(frozen=True)
class Step:
    """The rollouts of a step."""

    problems: int = 32
    group: int = 8
    prompt: int = 1000
    sampled: int = 2000
    longest: int = 8192

    @property
    def episodes(self) -> int:
        """Of a step."""
        return self.problems * self.group

    @property
    def tokens(self) -> int:
        """Of an update: a prompt once a group."""
        return self.episodes * self.sampled + self.problems * self.prompt


@dataclass(frozen=True)
class Plan:
    """A student on a number of GPUs."""

    name: str
    way: str
    gpus: int
    estimate: MemoryEstimate
    position: int
    """Bytes of keys and values of a token."""
    machine: Machine = Machine()
    step: Step = Step()

    @property
    def sharded(self) -> bool:
        """Whether weights, gradients and optimizer are divided among the GPUs."""
        return self.way == "full, sharded"

    def memory(self) -> float:
        """Bytes a GPU: parts / n where sharded, and one whole copy in 16 bits while its own engine samples."""
        parts = self.estimate.parts
        held = sum(parts[name] for name in ("weights", "gradients", "optimizer", "reference"))
        own = held / self.gpus + 2 * self.estimate.parameters if self.sharded else held
        return own + parts["activations"] + self.rows() * (self.step.prompt + self.step.sampled) * self.position

    def rows(self) -> float:
        """Episodes that a GPU samples at once."""
        return max(self.step.episodes / self.gpus, 1)

    def gradient_bytes(self) -> int:
        """Bytes summed over the processes in an update: trainable parameters in float32."""
        return 0 if self.gpus == 1 else 4 * self.estimate.trainable

    def sent_bytes(self) -> float:
        """Bytes that a GPU sends for that sum in a ring: 2 (n - 1) / n of them."""
        return self.gradient_bytes() * 2 * (self.gpus - 1) / self.gpus

    def link(self) -> float:
        """Bytes a second of the slowest link."""
        return self.machine.inside if self.gpus <= NODE else self.machine.between

    def gathered_bytes(self) -> float:
        """Bytes that a GPU gets for a micro-batch where sharded: 16-bit weights twice, float32 gradients once."""
        return 8 * self.estimate.parameters * (self.gpus - 1) / self.gpus if self.sharded else 0

    def micro_batches(self) -> int:
        """Of an update, on each GPU."""
        return -(-self.step.tokens // (MICRO_BATCH * self.gpus))

    def pushed_bytes(self) -> int:
        """Bytes of new weights that a server of its own gets after a step: what is trained, in 16 bits."""
        return 2 * self.estimate.trainable

    def pass_seconds(self, rows: float, context: float) -> float:
        """Time of a decoding pass: weights and keys and values are read once."""
        read = 2 * self.estimate.parameters + rows * context * self.position
        return read / self.machine.memory + self.machine.launch

    def sampling_seconds(self) -> float:
        """Time until the mean episode ends, all rows running."""
        return self.step.sampled * self.pass_seconds(self.rows(), self.step.prompt + self.step.sampled)

    def longest_seconds(self) -> float:
        """Time until the longest episode ends: behind the mean one with few rows beside it."""
        rest = self.step.longest - self.step.sampled
        return self.sampling_seconds() + rest * self.pass_seconds(min(4, self.rows()), self.step.longest)

    def update_seconds(self) -> float:
        """8 flops a parameter and token (forward, backward, reference), and the gradients' sum behind them.

        Where sharded, what is gathered for a micro-batch goes on beside the computation of another: the longer counts.
        """
        work = 8 * self.estimate.parameters * self.step.tokens / (self.gpus * self.machine.flops)
        if self.sharded:
            return max(work, self.micro_batches() * self.gathered_bytes() / self.link())
        return work + self.sent_bytes() / self.link()

    def step_seconds(self, staleness: int) -> float:
        """A step: the longest episode and the update; with staleness, whichever is longer of the work and the wait.

        With a staleness of k the devices do the mean's sampling and the update one after the other, and the longest
        episode has k + 1 steps to end in.
        """
        work = self.sampling_seconds() + self.update_seconds()
        if not staleness:
            return self.longest_seconds() + self.update_seconds()
        return max(work, self.longest_seconds() / (1 + staleness))


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    header = (
        "student", "trained", "GPUs", "GB a GPU", "gradients, GB", "sent a GPU, GB", "a micro-batch, GB", "pushed, GB",
        "sampling, s", "longest, s", "update, s", "step, s", "staleness 1, s",
    )  # fmt: skip
    rows = tuple(row(plan) for name in MODELS for plan in plans(name))
    print(Sheet("", header, rows, left=2).markdown())


def row(plan: Plan) -> tuple[str, ...]:
    """A plan's line."""
    numbers = (
        plan.memory() / GB,
        plan.gradient_bytes() / GB,
        0 if plan.sharded else plan.sent_bytes() / GB,
        plan.gathered_bytes() / GB,
        plan.pushed_bytes() / GB,
        plan.sampling_seconds(),
        plan.longest_seconds(),
        plan.update_seconds(),
        plan.step_seconds(0),
        plan.step_seconds(1),
    )
    return (plan.name, plan.way, str(plan.gpus), *(f"{number:.3g}" for number in numbers))


def plans(name: str) -> list[Plan]:
    """All ways of a model on all numbers of GPUs."""
    config = COMMON | MODELS[name]
    position = 2 * 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"]
    found = []
    for way in ("LoRA", "full", "full, sharded"):
        estimate = estimated(config, lora=way == "LoRA")
        found += [Plan(name, way, gpus, estimate, position) for gpus in COUNTS if gpus > 1 or way != "full, sharded"]
    return found


def estimated(config: dict[str, Any], *, lora: bool) -> MemoryEstimate:
    """The torch backend's estimate of the student on one GPU, in bfloat16 with gradient checkpointing and a KL term."""
    options = {"device": "cpu", "dtype": "bfloat16", "gradient_checkpointing": True}
    registry = default_registry()
    backend = registry.build("backends", ComponentSpec(use="torch", options=options), BuildContext(registry=registry))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        student = StudentSpec(model=folder, adapter=AdapterSpec(rank=16) if lora else None)
        load = MemoryLoad(sequences=0, context=9192, train_tokens=MICRO_BATCH, reference=True)
        estimate: MemoryEstimate = backend.estimate(student, load)
        return estimate


if __name__ == "__main__":
    main()
