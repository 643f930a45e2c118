"""The backend: loads policies, and estimates their memory."""

from __future__ import annotations

import json
from pathlib import Path

from mentor_kit.backend.memory import MemoryEstimate, MemoryLoad
from mentor_kit.backend.policy import Backend
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.errors import BackendError, MissingError
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load_file

from mentor_kit_numpy.model import random_parameters
from mentor_kit_numpy.policy import WEIGHTS, NumpyPolicy


class NumpyOptions(BaseModel):
    """What a recipe may write in `backend: {use: numpy, with: {…}}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=32, gt=0)
    """Numbers of a hidden state, for a student that has no weights of this model yet."""
    token_budget: int = Field(default=4096, gt=0)
    """Tokens of a micro-batch."""


class NumpyBackend(Backend):
    """Any folder with a `config.json` is a student: its vocabulary and context, with fresh weights if it has none."""

    export_formats = ("numpy",)

    def __init__(self, options: NumpyOptions) -> None:
        self.options = options

    def load(self, student: StudentSpec, seed: int) -> NumpyPolicy:
        if student.adapter is not None:
            raise BackendError("the backend numpy has no adapters", hint="no `student.adapter`")
        vocabulary, context = _sizes(student)
        arrays = load_file(path) if (path := Path(student.model) / WEIGHTS).is_file() else {}
        if set(arrays) != {"embedding", "output"}:
            arrays = random_parameters(vocabulary, self.options.width, seed)
        return NumpyPolicy(student, arrays, context=context, token_budget=self.options.token_budget)

    def estimate(self, student: StudentSpec, load: MemoryLoad) -> MemoryEstimate:
        count = 2 * _sizes(student)[0] * self.options.width
        copies = {"weights": 1} if load.optimizer is None else {"weights": 1, "gradients": 1, "optimizer": 2}
        parts = {name: 4 * count * times for name, times in copies.items()}
        states = 4 * self.options.width * load.sequences * load.context
        return MemoryEstimate(parameters=count, trainable=count, parts={**parts, "keys and values": states})


def _sizes(student: StudentSpec) -> tuple[int, int]:
    """The student's vocabulary, and its longest context."""
    if not (path := Path(student.model) / "config.json").is_file():
        raise MissingError(f"there is no {path}", hint="the backend numpy loads folders")
    config = json.loads(path.read_text())
    return int(config["vocab_size"]), int(config.get("max_position_embeddings", 2048))
