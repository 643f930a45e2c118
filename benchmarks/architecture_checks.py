"""The checks of one architecture, for `architectures.py`, which starts a process for each.

    python benchmarks/architecture_checks.py qwen3_5 torch mlx

prints a JSON object with a cell for each backend and check: whether it holds, the error that was measured, and where
it does not hold the reason. What is compared with is the same model in transformers in float64, a sequence at a time.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from architecture_kinds import ARCHITECTURES, VOCABULARY, write_model

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Backend, Policy
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.core.errors import MentorKitError
from mentor_kit.rl.objective import Objective
from mentor_kit.testing.material import drive, flat, log_softmax, request
from mentor_kit.testing.objectives import make_objective

#: The largest errors of log-probabilities, of gradients beside their norm, and of layers that are recomputed.
LOG_PROBS, GRADIENT, RECOMPUTED = 1e-4, 1e-3, 1e-4
#: AdamW with so large a number added to the root of the mean square takes a step of the gradient itself, less its own
#: share of that number: elements of Gemma 3n's gradient reach 40.
PLAIN_STEP = 1e6
TEMPERATURE = 0.8
EMBED_OTHERS = ("model.embed_vision.", "model.embed_audio.")


@dataclass(frozen=True)
class Cell:
    """The outcome of a check."""

    holds: bool
    error: float | None = None
    """What was measured; None where nothing is."""
    reason: str = ""
    """Why it does not hold, in a line."""


class Unlike(Exception):
    """Something differs from transformers."""


class Checks:
    """The checks of an architecture on a backend.

    Args:
        name: of the architecture.
        backend: `torch` or `mlx`.
        folder: for everything that is written.
    """

    def __init__(self, name: str, backend: str, folder: Path) -> None:
        self.name, self.backend, self.folder = name, backend, folder
        self.model = write_model(name, folder / "student").double()
        self.cells: dict[str, Cell] = {}

    def run(self) -> dict[str, Cell]:
        """All checks, in the table's order; a student that does not load has no others."""
        self._cell("loads", lambda: self._load() and None)
        if not self.cells["loads"].holds:
            return self.cells
        self._cell("rows", self._rows)
        self._cell("sampling", self._sampling)
        self._cell("gradient", self._gradient)
        self._cell("recomputing", self._recomputing)
        self._cell("transformers", self._to_transformers)
        self._cell("adapter", self._to_peft)
        self._cell("mlx", self._to_mlx)
        if self.backend == "mlx":
            self._cell("mlx-adapter", self._to_mlx_adapter)
        return self.cells

    def _cell(self, name: str, check: Callable[[], float | None]) -> None:
        try:
            self.cells[name] = Cell(True, check())
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the cell's)
            kind = "" if isinstance(error, MentorKitError | Unlike) else f"{type(error).__name__}: "
            self.cells[name] = Cell(False, None, f"{kind}{str(error).strip().partition(chr(10))[0]}"[:300])

    def _load(self, adapter: AdapterSpec | None = None, folder: Path | None = None, **options: Any) -> Policy:
        student = StudentSpec(str(folder or self.folder / "student"), adapter=adapter)
        return make_backend(self.backend, **options).load(student, seed=0)

    def _rows(self) -> None:
        if not self._load().engine().device.keeps_rows:  # type: ignore[attr-defined]
            raise Unlike("whole contexts are run for each token")

    def _sampling(self) -> float:
        """Two turns of several requests, sampled and greedy."""
        policy, worst = self._load(), 0.0
        prompts = [list(range(1, 13)), [1, 2, 9]]
        first = [
            request(f"{place}.{heat}", prompt, temperature=heat, max_new_tokens=6 + place)
            for place, prompt in enumerate(prompts)
            for heat in (TEMPERATURE, 0.0)
        ]
        done = drive(policy.engine(), first)
        again = [
            request(f"{r.id}+", [*r.context, *done[r.id].ids, 5, 6], session=r.session, temperature=r.temperature)
            for r in first
        ]
        done |= drive(policy.engine(), again)
        for item in [*first, *again]:
            ids = list(done[item.id].ids)
            logits = logits_of(self.model)([*item.context, *ids])[len(item.context) - 1 : -1]
            if item.temperature == 0 and logits.argmax(-1).tolist() != ids:
                raise Unlike("greedy tokens are others than transformers'")
            rows = log_softmax(logits, item.temperature or 1.0)
            worst = max(worst, float(np.abs(rows[np.arange(len(ids)), ids] - done[item.id].log_probs).max()))
        return within(worst, LOG_PROBS)

    def _gradient(self) -> float:
        """The weights' change in a plain step, by their export for transformers, beside the gradient in float64."""
        policy = self._load()
        policy.export(self.folder / "before", format="transformers")
        before = read_by_transformers(self.folder / "before")
        self._step(policy)
        policy.export(self.folder / "after", format="transformers")
        changed = read_by_transformers(self.folder / "after")
        after, buffers = dict(changed.named_parameters()), dict(changed.named_buffers())
        if other := [name for name, value in before.named_buffers() if not torch.equal(value, buffers[name])]:
            raise Unlike(f"{other[0]} is changed, which transformers does not train")
        sft_loss(before).backward()
        found, expected = [], []
        for name, parameter in before.named_parameters():
            if parameter.grad is not None and not name.startswith(EMBED_OTHERS):
                found.append((parameter - after[name]).detach().flatten())
                expected.append(parameter.grad.flatten())
        gap = torch.cat(found) - torch.cat(expected)
        return within(float(gap.norm() / torch.cat(expected).norm()), GRADIENT)

    def _recomputing(self) -> float:
        changes = []
        for recomputed in (False, True):
            policy: Any = self._load(gradient_checkpointing=recomputed)
            start = {name: np.array(value) for name, value in policy.trained().items()}
            self._step(policy)
            if recomputed and not getattr(policy, "recomputes", True):
                raise Unlike("layers are not recomputed")
            new = policy.trained()
            changes.append(np.concatenate([(np.array(new[name]) - value).ravel() for name, value in start.items()]))
        gap = np.linalg.norm(changes[1] - changes[0]) / np.linalg.norm(changes[0])
        return within(float(gap), RECOMPUTED)

    def _to_transformers(self) -> float:
        """With an adapter merged."""
        policy = self._adapted()
        policy.export(self.folder / "whole", format="transformers")
        model = read_by_transformers(self.folder / "whole")
        return within(gap_to(policy, logits_of(model)), LOG_PROBS)

    def _to_peft(self) -> float:
        from peft import PeftModel

        policy = self._adapted()
        policy.export(self.folder / "adapter", format="adapter")
        base = read_by_transformers(self.folder / "student")
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # peft only warns of weights that it does not find
            model = PeftModel.from_pretrained(base, str(self.folder / "adapter"))
        return within(gap_to(policy, logits_of(model.double().eval())), LOG_PROBS)

    def _to_mlx(self) -> float:
        """By mlx-lm itself; what torch wrote for transformers by the MLX backend."""
        policy = self._adapted()
        if self.backend == "mlx":
            policy.export(self.folder / "mlx", format="mlx")
            return within(gap_to(policy, mlx_logits(self.folder / "mlx")), LOG_PROBS)
        policy.export(self.folder / "for-mlx", format="transformers")
        other = make_backend("mlx").load(StudentSpec(str(self.folder / "for-mlx")), seed=0)
        found, expected = (flat(one.log_probs(GROUPS)) for one in (other, policy))
        return within(float(np.abs(found - expected).max()), LOG_PROBS)

    def _to_mlx_adapter(self) -> float:
        self._load().export(self.folder / "base", format="mlx")
        policy = self._adapted()
        policy.export(self.folder / "mlx-adapter", format="mlx-adapter")
        return within(gap_to(policy, mlx_logits(self.folder / "base", self.folder / "mlx-adapter")), LOG_PROBS)

    def _adapted(self) -> Policy:
        """A student with an adapter that has learned."""
        policy = self._load(AdapterSpec(rank=2, targets=ARCHITECTURES[self.name].targets))
        policy.prepare(OptimizerSpec())
        for _ in range(3):  # the first step leaves one half of an adapter as it was
            policy.forward_backward(GROUPS, OBJECTIVE)
            policy.optimizer_step(1e-2)
        return policy

    def _step(self, policy: Policy) -> None:
        policy.prepare(OptimizerSpec(eps=PLAIN_STEP, clip=None))
        policy.forward_backward(GROUPS, OBJECTIVE)
        policy.optimizer_step(PLAIN_STEP)


def make_backend(name: str, **options: Any) -> Backend:
    """A backend on the CPU in float32."""
    if name == "mlx":
        from mentor_kit_mlx.backend import MLXBackend
        from mentor_kit_mlx.options import MLXOptions

        return MLXBackend(MLXOptions(device="cpu", dtype="float32", **options))
    from mentor_kit_torch.backend import TorchBackend
    from mentor_kit_torch.options import TorchOptions

    return TorchBackend(TorchOptions(device="cpu", dtype="float32", threads=1, **options))


def read_by_transformers(folder: Path) -> Any:
    """A folder's model in float64, by transformers alone."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    config: Any = AutoConfig.from_pretrained(folder)
    classes = AutoModelForCausalLM if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else AutoModelForImageTextToText
    with no_towers(config):
        model, found = classes.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",
            experts_implementation="eager",
            output_loading_info=True,
        )
    # the small models have nothing that puts pictures and sound between words
    if missing := sorted(name for name in found["missing_keys"] if not name.startswith(EMBED_OTHERS)):
        raise Unlike(f"transformers finds no weights of {missing[0]}")
    return model.double().eval()


@contextmanager
def no_towers(config: Any) -> Iterator[None]:
    """Have transformers make models without towers for pictures and sound, where it makes these by type.

    Gemma 3n's needs a package (timm) and has 300 million weights.
    """
    from transformers import AutoModel

    made: Any = AutoModel.from_config
    parts = (getattr(config, name) for name in config.sub_configs if name != "text_config")
    others = {part.model_type for part in parts if part is not None}

    def make(config: Any, **more: Any) -> Any:
        return torch.nn.Identity() if config.model_type in others else made(config, **more)

    with patch.object(AutoModel, "from_config", make):
        yield


def logits_of(model: Any) -> Callable[[list[int]], np.ndarray]:
    """Logits (T, V) of a model of transformers."""

    def logits(ids: list[int]) -> np.ndarray:
        with torch.no_grad():
            found: np.ndarray = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double().numpy()
        return found

    return logits


def mlx_logits(folder: Path, adapter: Path | None = None) -> Callable[[list[int]], np.ndarray]:
    """Logits (T, V) of a folder by mlx-lm alone, with an adapter if it is given.

    With a cache, as mlx-lm generates: without one its layers of Gemma 3n that share another's keys and values compute
    them with weights that transformers has not, and nothing trains.
    """
    import mlx.core as mx
    from mlx_lm import utils
    from mlx_lm.models.cache import make_prompt_cache

    model, _ = utils.load_model(folder)
    if adapter is not None:
        model = utils.load_adapters(model, str(adapter))
    model.set_dtype(mx.float32)
    model.eval()
    return lambda ids: np.array(model(mx.array([ids]), cache=make_prompt_cache(model))[0], dtype=np.float64)


def gap_to(policy: Policy, logits: Callable[[list[int]], np.ndarray]) -> float:
    """The largest difference of a policy's log-probabilities to those of other logits."""
    worst = 0.0
    for group, rows in zip(GROUPS, policy.log_probs(GROUPS), strict=True):
        for completion, found in zip(group.completions, rows, strict=True):
            prompt, ids = group.prompt_ids.tolist(), completion.ids.tolist()
            expected = log_softmax(logits([*prompt, *ids])[len(prompt) - 1 : -1], group.temperature)
            worst = max(worst, float(np.abs(expected[np.arange(len(ids)), ids] - found).max()))
    return worst


def sft_loss(model: Any) -> torch.Tensor:
    """The mean of the completions' tokens' negative log-probabilities."""
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for group in GROUPS:
        for completion in group.completions:
            ids = torch.tensor([[*group.prompt_ids.tolist(), *completion.ids.tolist()]])
            rows = model(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
            places = torch.arange(len(group.prompt_ids) - 1, ids.shape[1] - 1)
            total, tokens = total - rows[places, ids[0, places + 1]].sum(), tokens + len(completion.ids)
    return total / tokens


def within(error: float, allowed: float) -> float:
    """The error, if it is as small as it should be."""
    if not error <= allowed:
        raise Unlike(f"off by {error:.1e}, and {allowed:.0e} is allowed")
    return error


def _groups() -> list[TokenGroup]:
    """Prompts that two completions each share, longer than a sliding window."""
    found = []
    for start in (1, 20):
        rows = (np.array([7, 8, start]), np.array([3, 1, 4, 1, 5]))
        completions = tuple(
            TokenCompletion(ids, np.ones(len(ids), np.float32), -np.ones(len(ids), np.float32)) for ids in rows
        )
        found.append(TokenGroup(np.arange(start, start + 9) % VOCABULARY, completions))
    return found


GROUPS: list[TokenGroup] = _groups()
OBJECTIVE: Objective = make_objective(preset="sft")


def main(name: str, *backends: str) -> None:
    """Run the checks and print the cells."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    torch.set_num_threads(1)
    found = {}
    for backend in backends:
        with tempfile.TemporaryDirectory() as folder:
            cells = Checks(name, backend, Path(folder)).run()
        found[backend] = {check: asdict(cell) for check, cell in cells.items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
