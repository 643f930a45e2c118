"""The servers that a run starts: their arguments, devices and logs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mentor_kit.backend.adapters import ADAPTER_CONFIG
from mentor_kit.backend.policy import PolicyInfo
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit_vllm.options import StartOptions, VLLMOptions
from mentor_kit_vllm.process import ServerProcess
from mentor_kit_vllm.weights import WeightFiles

#: The ranks of adapters that vLLM makes room for.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


def server_processes(
    start: StartOptions, options: VLLMOptions, info: PolicyInfo, student: StudentSpec, files: WeightFiles, logs: Path
) -> list[ServerProcess]:
    """The processes of servers for a student; none is started yet.

    Args:
        start: which ones.
        options: of the sampler.
        info: of the student's policy.
        student: what it was loaded from.
        files: writes the copy that is served, where that is not what it was loaded from.
        logs: a folder for what they print.
    """
    model = student.model
    if options.untie and student.adapter is None:
        model = str(files.folder / "served")
        files.write_whole(Path(model))
    arguments = [*server_arguments(model, options, info, student), *start.arguments]
    devices = [{"CUDA_VISIBLE_DEVICES": gpus} for gpus in start.devices] or [{}] * start.count
    return [
        ServerProcess(start.python, arguments, {**own, **start.environment}, logs / f"server-{number}.log")
        for number, own in enumerate(devices)
    ]


def server_arguments(model: str, options: VLLMOptions, info: PolicyInfo, student: StudentSpec) -> Sequence[str]:
    """The arguments of vLLM's server for a student whose weights will be replaced."""
    found = ["--model", model, "--dtype", info.dtype, "--max-model-len", str(info.context)]
    found += ["--enable-scale-out", "--logprobs-mode", "processed_logprobs", "--enable-prefix-caching"]
    found += ["--generation-config", "vllm", "--skip-tokenizer-init"]
    if student.revision is not None and not Path(model).is_dir():
        found += ["--revision", student.revision]
    if student.adapter is not None:
        rank = _rank(student.adapter)
        room = next((room for room in _RANKS if room >= rank), rank)
        found += ["--enable-lora", "--max-lora-rank", str(room), "--max-loras", "2"]
    elif options.weights == "nccl":
        found += ["--weight-transfer-config", '{"backend": "nccl"}']
    return found


def _rank(adapter: AdapterSpec) -> int:
    """The rank of an adapter; one from a folder has its own."""
    if adapter.path is None:
        return adapter.rank
    return int(json.loads((adapter.path / ADAPTER_CONFIG).read_text(encoding="utf-8"))["r"])
