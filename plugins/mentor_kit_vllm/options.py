"""The options of the sampler `vllm`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from mentor_kit.core.component import Number
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.secret import refuse_plain
from mentor_kit.hooks import BuildContext
from mentor_kit.utils.paths import expanded_path


class _Options(OptionModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class StartOptions(_Options):
    """Servers that the run starts, on this machine, and stops when it is over."""

    count: int = Field(default=1, ge=1)
    """How many servers."""
    python: str = ""
    """The Python that has vLLM; the run's own if left out."""
    arguments: tuple[str, ...] = ()
    """Further arguments of vLLM's server, such as `--tensor-parallel-size=2`; they override those of the run."""
    devices: tuple[str, ...] = ()
    """The GPUs of each server, such as `["2,3", "4,5"]` for two servers (CUDA_VISIBLE_DEVICES); all if left out."""
    environment: dict[str, str] = {}
    """Further environment variables of the servers."""
    seconds: Number = Field(default=900.0, gt=0)
    """How long a server may take to start."""
    restarts: int = Field(default=3, ge=0)
    """How often servers that died are started again, in a run."""

    @model_validator(mode="after")
    def _devices_of_each(self) -> Self:
        if self.devices and len(self.devices) != self.count:
            raise ValueError(f"`devices` names the GPUs of {len(self.devices)} servers, and `count` is {self.count}")
        return self


class VLLMOptions(_Options):
    """The options of the sampler `vllm`; either `servers` or `start` is given."""

    servers: tuple[str, ...] = Field(default=(), examples=["http://127.0.0.1:8000"])
    """Addresses of servers that run already, such as `http://127.0.0.1:8000`."""
    start: StartOptions | None = None
    """Starts servers for the run."""
    weights: Literal["files", "nccl"] = "files"
    """How new weights get to the servers: by files, or from GPU to GPU. An adapter's always go by files."""
    folder: str | None = None
    """Where files of weights are written: a folder that the servers see under the same path. A temporary one if left
    out."""
    untie: bool = False
    """Write the output projection apart from the input embedding, for servers that serve such a copy of the student.
    vLLM on a CPU needs it for students whose embeddings are tied; a server that the run starts gets such a copy."""
    api_key: str | None = None
    """The servers' key, as `${env:NAME}`, where they were started with one."""
    at_once: int = Field(default=256, gt=0)
    """How many requests are under way at once on each server."""
    timeout: Number = Field(default=600.0, gt=0)
    """Seconds that a server may take for a turn, or for reading new weights."""
    patience: Number = Field(default=600.0, ge=0)
    """Seconds that a turn waits for a server to come back where none answers."""
    tolerance: Number | None = Field(default=None, gt=0)
    """The largest difference of log-probabilities from the student's own that is taken, in nats; 0.05 for float32 and
    0.5 for other types if left out."""

    _key_is_secret = field_validator("api_key", mode="before")(refuse_plain)

    @model_validator(mode="after")
    def _either(self) -> Self:
        if bool(self.servers) == (self.start is not None):
            raise ValueError("give either `servers`, the addresses of servers that run, or `start: {}`")
        for url in self.servers:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{url!r} is no address of a server; expected one such as http://127.0.0.1:8000")
        return self


def look_at_vllm(options: VLLMOptions, context: BuildContext) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what the options name and is not on this machine."""
    python = "" if options.start is None else options.start.python
    if python and not Path(expanded_path(python)).is_file():
        yield ("start", "python"), f"there is no {python}"
    if options.folder is not None and not (context.recipe_folder / expanded_path(options.folder)).is_dir():
        yield ("folder",), f"there is no folder {options.folder}: make it where this machine and the servers see it"
