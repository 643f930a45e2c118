"""Real servers of models on this machine, each in a process of its own: `transformers serve`, `mlx_lm.server`, vLLM.

vLLM needs an environment of its own: the variable `VLLM_PYTHON` names its Python, as a build for CPUs.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TINY = Path(__file__).parents[2] / "plugins" / "mentor_kit_tiny" / "students" / "tiny"
KINDS = ("transformers", "mlx")
#: The environment variable with the Python of an environment that has vLLM.
VLLM = "VLLM_PYTHON"
#: How vLLM starts on a machine with few cores and without a GPU.
_ON_CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}

_COMMANDS = {"transformers": "transformers serve {}", "mlx": "mlx_lm.server --model {}", "vllm": "vllm serve {}"}
#: Options for a small model on a small machine.
_MORE = {"transformers": ["--device", "cpu"], "mlx": [], "vllm": ["--dtype", "float32", "--enforce-eager"]}


def _program(command: list[str]) -> list[str]:
    """The command, with the program of the environment that has it."""
    if command[0] == "vllm":
        # builds for CPUs have other names than vLLM's own program looks for
        return [os.environ[VLLM], "-m", "vllm.entrypoints.openai.api_server", "--model", *command[2:]]
    return [str(Path(sys.executable).parent / command[0]), *command[1:]]


class ModelServer:
    """A server with OpenAI's chat completions for one model's folder.

    Args:
        kind: of `KINDS`, or `vllm`.
        model: the folder.
        command: how the server is started, as `mentorkit export` prints it; for a whole model if left out.
    """

    def __init__(self, kind: str, model: Path, command: str | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.server_address = free.getsockname()
        self.model = model
        place = ["--host", "127.0.0.1", "--port", str(self.server_address[1])]
        written = shlex.split(command or _COMMANDS[kind].format(shlex.quote(str(model))))
        self.process = subprocess.Popen(
            [*_program(written), *_MORE[kind], *place],
            env={**os.environ, **(_ON_CPU if kind == "vllm" else {}), "HF_HUB_OFFLINE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def wait(self) -> None:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.5)
        raise TimeoutError(f"{self.process.args} did not start")


@contextmanager
def model_server(kind: str, model: Path, command: str | None = None) -> Iterator[ModelServer]:
    """The server, once it answers; it ends with the block."""
    made = ModelServer(kind, model, command)
    try:
        made.wait()
        yield made
    finally:
        made.process.terminate()
        made.process.wait()


def tiny_teacher(folder: Path) -> Path:
    """The tiny student as a model that draws its words, which `transformers serve` does if the folder says so."""
    target = folder / "teacher"
    shutil.copytree(TINY, target)
    settings = target / "generation_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "do_sample": True}))
    return target
