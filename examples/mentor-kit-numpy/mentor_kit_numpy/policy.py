"""The policy: log-probabilities of completions, with the gradient of any loss over them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import value_and_grad
from autograd.tracer import getval
from mentor_kit.backend.base_policy import BasePolicy
from mentor_kit.backend.engine import StepEngine
from mentor_kit.backend.kv_budget import KVBudget
from mentor_kit.backend.microbatching import MicroBatch
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import PolicyInfo
from mentor_kit.backend.student import StudentSpec
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.policy_loss import LossTerms, policy_loss
from safetensors.numpy import load_file, save_file

from mentor_kit_numpy.device import NumpyDevice
from mentor_kit_numpy.model import Array, Parameters, log_softmax, logits_of, states_of
from mentor_kit_numpy.optimizer import FILE, AdamW

WEIGHTS = "model.safetensors"


#: NumPy with gradients, and the one operation that losses need beside its own.
NAMESPACE = SimpleNamespace(**vars(anp), stop_gradient=getval)


class NumpyPolicy(BasePolicy[Array, AdamW]):
    """A policy over the model; its folders hold a `config.json` and the weights."""

    export_formats = ("numpy",)

    def __init__(self, student: StudentSpec, parameters: Parameters, *, context: int, token_budget: int) -> None:
        super().__init__(student, vocabulary=len(parameters["embedding"]), context=context, token_budget=token_budget)
        self.parameters = parameters
        device = NumpyDevice(parameters)
        budget = KVBudget(limit=None, position=4 * device.width)
        self._engine = StepEngine(
            device, slots=64, context=context, chunk=256, token_budget=token_budget, budget=budget
        )

    @property
    def info(self) -> PolicyInfo:
        count = sum(value.size for value in self.parameters.values())
        facts = {"vocabulary": self.vocabulary, "context": self.context, "parameters": count, "trainable": count}
        machine = {"device": "cpu", "dtype": "float32", "backend": "numpy"}
        return PolicyInfo(model=self.student.model, **machine, **facts)

    def engine(self) -> StepEngine:
        return self._engine

    def trained(self) -> dict[str, Array]:
        return dict(self.parameters)

    def reference_weights(self) -> dict[str, Array]:
        return {name: value.copy() for name, value in self.parameters.items()}

    def log_probs_of(self, batch: MicroBatch) -> Array:
        return _log_probs(self.parameters, batch)[0]

    def backward(self, batch: MicroBatch, objective: Objective, reference: Array | None) -> LossTerms:
        found: list[LossTerms] = []

        def loss(parameters: Parameters) -> Any:
            scores, entropy = _log_probs(parameters, batch)
            wanted = entropy if objective.spec.needs_entropy else None
            found.append(policy_loss(NAMESPACE, objective, batch.loss_batch(scores, reference, np.asarray, wanted)))
            return found[0].loss

        value, gradients = value_and_grad(loss)(self.parameters)
        self.prepared_optimizer().add(gradients)
        return replace(found[0], loss=value)

    @contextmanager
    def swapped(self, weights: Mapping[str, Array]) -> Iterator[None]:
        own, self.parameters = self.parameters, dict(weights)
        try:
            yield
        finally:
            self.parameters = own

    def make_optimizer(self, spec: OptimizerSpec) -> AdamW:
        return AdamW(self.parameters, spec)

    def drop_caches(self) -> None:
        self._engine.drop(self.version)

    def to_numpy(self, values: Array) -> Array:
        return values

    def write_arrays(self, path: Path, arrays: Mapping[str, Array]) -> None:
        save_file(dict(arrays), path)

    def read_arrays(self, path: Path) -> dict[str, Array]:
        return load_file(path)

    def read_optimizer(self, folder: Path) -> dict[str, Array]:
        return load_file(folder / FILE)

    def load_state(
        self,
        weights: Mapping[str, Array],
        reference: Mapping[str, Array] | None,
        spec: OptimizerSpec | None,
        state: Any,
    ) -> None:
        for name, value in weights.items():
            self.parameters[name][...] = value
        self.reference = None if reference is None else dict(reference)
        self.optimizer = None if spec is None else self.make_optimizer(spec)
        if self.optimizer is not None:
            self.optimizer.state = dict(state)

    def write_export(self, folder: Path, format: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = {"vocab_size": self.vocabulary, "max_position_embeddings": self.context}
        (folder / "config.json").write_text(json.dumps(config))
        save_file(self.parameters, folder / WEIGHTS)


def _log_probs(parameters: Parameters, batch: MicroBatch) -> tuple[Array, Array]:
    """Log-probabilities (N, T) of a micro-batch's trained tokens, and entropies of their distributions; 0 elsewhere."""
    ids, places = batch.whole_sequences()
    states = states_of(parameters, ids, np.zeros((len(ids), parameters["embedding"].shape[1]), dtype=np.float32))
    rows = np.arange(len(ids))[:, None]
    log_probs = log_softmax(logits_of(parameters, states[rows, places]), batch.temperature[:, None, None])
    chosen = log_probs[rows, np.arange(batch.ids.shape[1]), batch.ids]
    entropy = -anp.sum(anp.exp(log_probs) * log_probs, axis=-1)
    both = (anp.where(batch.trained, values, np.float32(0))[batch.row_of] for values in (chosen, entropy))
    return next(both), next(both)
