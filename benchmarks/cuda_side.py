"""One side's work on a GPU, in a process of its own: a line of JSON for each case that it has done.

    python benchmarks/cuda_side.py '{"side": "ours", "folder": "FOLDER", "device": "cuda", "dtype": "bfloat16",
        "cases": [{"rows": 64, "prompt": 1024, "own": 16, "completion": 64}]}'

`benchmarks/cuda_speed.py` starts these, and ends those that take too long: what a side has done by then is kept. A case
that the device's memory does not hold gives a line with an `error`, and the next one is tried.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from shape import Shape

Found = dict[str, Any]
#: Completions of a prompt, in the update and in a whole step.
GROUP = 8
#: Turns that count, after one to warm up.
ROUNDS = 3
#: Decoding passes that are looked at by the profiler.
PROFILED = 8


@dataclass(frozen=True)
class Place:
    """The model's folder, and where and in which type it is run."""

    folder: Path
    device: str
    dtype: str

    @property
    def placed(self) -> dict[str, str]:
        """Arguments of the sides that name the place."""
        return {"device": self.device, "dtype": self.dtype}

    def seconds(self, work: Callable[[], object]) -> float:
        """The median time of a turn, to the end of all that it started on the device."""
        found = []
        for turn in range(1 + ROUNDS):
            started = time.perf_counter()
            work()
            self.wait()
            if turn:
                found.append(time.perf_counter() - started)
        return statistics.median(found)

    def wait(self) -> None:
        """Until the device has done everything."""
        if self.device != "cpu":
            torch.cuda.synchronize()


def shape_of(case: dict[str, int], group: int = 1) -> Shape:
    """The shape of a case, whose rows are in groups."""
    return Shape(case["prompt"], case["own"], case["completion"], case["rows"] // group, group)


def decoding(place: Place, shape: Shape, make: Callable[[Shape], Callable[[], Found]]) -> Found:
    """Seconds of sampling all rows, and of a token: what completions take longer than one token, by their tokens."""
    whole = make(shape)
    seconds, first = place.seconds(whole), place.seconds(make(replace(shape, completion=1)))
    output = whole()["output"]
    return {
        "seconds": seconds,
        "token": (seconds - first) / (shape.completion - 1),
        "output": [row[:8] for row in output[:8]],
    }


def ours(place: Place, case: dict[str, int]) -> Found:
    """Greedy tokens by our engine, and the bytes that a decoding pass reads."""
    from ours import policy_of
    from work import sampled

    shape, policy = shape_of(case), policy_of(place.folder, None, **place.placed)
    prompts = shape.prompts_apart(policy.info.vocabulary)

    def make(wanted: Shape) -> Callable[[], Found]:
        return lambda: {
            "output": [list(done.ids) for done in sampled(policy, prompts, wanted.completion, temperature=0.0)]
        }

    found = decoding(place, shape, make)
    before = policy.work()["decode"].bytes
    make(shape)()
    passes = shape.completion - 1
    return {**found, "bytes": (policy.work()["decode"].bytes - before) / passes}


def launches(place: Place, case: dict[str, int]) -> Found:
    """What a decoding pass of ours starts and waits for, as PyTorch's profiler counts it."""
    from ours import policy_of

    from mentor_kit.backend.sampling import SampleRequest

    policy = policy_of(place.folder, None, **place.placed)
    engine = policy.engine()
    for number, prompt in enumerate(shape_of(case).prompts_apart(policy.info.vocabulary)):
        name = str(number)
        engine.submit(SampleRequest(name, name, tuple(prompt), 1.0, PROFILED + 16, frozenset(), seed=number))
    for _ in range(8):  # the prompts, and passes to warm up or to be recorded
        engine.step()
    found = profiled(place, engine.step, PROFILED)
    while engine.busy:
        engine.step()
    for number in range(case["rows"]):
        engine.release(str(number))
    return found


def update_launches(place: Place, case: dict[str, int]) -> Found:
    """The same of an update, its optimizer's step aside."""
    from ours import Update

    side = Update(place.folder, shape_of(case, GROUP), None, **place.placed)
    side()
    return profiled(place, side, 1)


def profiled(place: Place, work: Callable[[], object], turns: int) -> Found:
    """What a turn of some work starts and waits for, in the mean."""
    from torch.profiler import ProfilerActivity, profile

    place.wait()
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA][: 1 + (place.device != "cpu")]
    with profile(activities=activities) as nothing:  # what the measurement itself waits for
        place.wait()
    with profile(activities=activities) as found:
        for _ in range(turns):
            work()
        place.wait()
    idle = counted(nothing.key_averages())
    return {name: (count - idle[name]) / turns for name, count in counted(found.key_averages()).items()}


def counted(averages: Any) -> dict[str, int]:
    """Kernels, launches, copies and waits among a profile's events; operations where it ran on the CPU alone."""
    names = {event.key: event.count for event in averages}

    def of(*beginnings: str) -> int:
        return sum(count for name, count in names.items() if name.startswith(beginnings))

    on_device = [event for event in averages if getattr(event.device_type, "name", "CPU") == "CUDA"]
    return {
        "kernels": sum(event.count for event in on_device if not event.key.startswith(("Memcpy", "Memset"))),
        "launches": of("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch"),
        "copies": of("cudaMemcpy", "cuMemcpy"),
        "waits": of("cudaStreamSynchronize", "cudaEventSynchronize", "cudaDeviceSynchronize"),
        "operations": of("aten::"),
    }


def generate(place: Place, case: dict[str, int], implementation: str | None = None) -> Found:
    """All rows at once by `generate` of transformers; with a static cache it compiles its passes on a GPU."""
    import peers

    def make(shape: Shape) -> Any:
        return peers.Generate(place.folder, shape, None, implementation, **place.placed)

    return decoding(place, shape_of(case), make)


def generate_static(place: Place, case: dict[str, int]) -> Found:
    """The same with a static cache."""
    return generate(place, case, "static")


def continuous_batching(place: Place, case: dict[str, int]) -> Found:
    """Continuous batching of transformers."""
    import peers

    return decoding(
        place, shape_of(case), lambda shape: peers.ContinuousBatching(place.folder, shape, None, **place.placed)
    )


def vllm(place: Place, case: dict[str, int]) -> Found:
    """As vLLM comes: graphs, prefix caching; without a tokenizer."""
    from vllm import SamplingParams

    model, shape = _vllm(place), shape_of(case)
    prompts = [{"prompt_token_ids": ids} for ids in shape.prompts_apart(model.llm_engine.model_config.get_vocab_size())]

    def make(wanted: Shape) -> Callable[[], Found]:
        parameters = SamplingParams(
            temperature=0.0,
            max_tokens=wanted.completion,
            min_tokens=wanted.completion,
            ignore_eos=True,
            detokenize=False,
        )
        return lambda: {
            "output": [list(done.outputs[0].token_ids) for done in model.generate(prompts, parameters, use_tqdm=False)]
        }

    return decoding(place, shape, make)


@cache
def _vllm(place: Place) -> Any:
    from vllm import LLM

    return LLM(
        str(place.folder), skip_tokenizer_init=True, dtype=place.dtype, gpu_memory_utilization=0.8, max_num_seqs=256
    )


def update(place: Place, case: dict[str, int]) -> Found:
    """Gradients of all rows by our update, and its products."""
    from ours import Update

    side = Update(place.folder, shape_of(case, GROUP), None, **place.placed)
    seconds = place.seconds(side)
    before = side.policy.work()["update"].flops
    side()
    return {"seconds": seconds, "flops": side.policy.work()["update"].flops - before}


def unshared(place: Place, case: dict[str, int]) -> Found:
    """Gradients of all rows by plain PyTorch, which shares nothing."""
    import peers

    return {"seconds": place.seconds(peers.UnsharedUpdate(place.folder, shape_of(case, GROUP), None, **place.placed))}


def step(place: Place, case: dict[str, int]) -> Found:
    """A whole step of GRPO by ours."""
    from ours import Step

    return {"seconds": place.seconds(Step(place.folder, shape_of(case, GROUP), None, **place.placed))}


def trl_step(place: Place, case: dict[str, int]) -> Found:
    """The same by TRL's trainer as it comes; its own count of the seconds."""
    import trl_step

    side = trl_step.Step(place.folder, shape_of(case, GROUP), None, device=place.device)
    return {"seconds": statistics.median([side()["seconds"] for _ in range(1 + ROUNDS)][1:])}


def limits(place: Place, case: dict[str, int]) -> Found:
    """The device, its software, and what it does at best."""
    from mentor_kit_torch.flops_counter import limits as measured

    found = measured(torch.device(place.device), getattr(torch, place.dtype))
    known: Found = {"flops": found.flops, "bandwidth": found.bandwidth, "torch": torch.__version__}
    if place.device != "cpu":
        properties = torch.cuda.get_device_properties(0)
        known |= {
            "device": properties.name,
            "memory": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
        }
    return known


SIDES: dict[str, Callable[[Place, dict[str, int]], Found]] = {
    "limits": limits,
    "ours": ours,
    "launches": launches,
    "update launches": update_launches,
    "generate, static cache": generate_static,
    "generate": generate,
    "continuous batching": continuous_batching,
    "vLLM": vllm,
    "update": update,
    "unshared update": unshared,
    "step": step,
    "TRL's step": trl_step,
}


def lines(place: Place, side: str, cases: list[dict[str, int]]) -> Iterator[Found]:
    """What a side finds in each case, one after the other; a case that fails says why, and stops no other."""
    for case in cases:
        try:
            yield {**case, **SIDES[side](place, case)}
        except torch.OutOfMemoryError:
            yield {**case, "error": "out of memory"}
        except Exception as error:  # noqa: BLE001 (whatever a peer raises)
            yield {**case, "error": f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"}
        gc.collect()
        if place.device != "cpu":
            torch.cuda.empty_cache()


def main() -> None:
    """A side's lines."""
    given = json.loads(sys.argv[1])
    place = Place(Path(given["folder"]), given["device"], given["dtype"])
    for found in lines(place, given["side"], given["cases"]):
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
