"""A vLLM server that the run starts, and that ends with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mentor_kit.core.errors import BackendError, MentorKitError, MissingError

_MODULE = "vllm.entrypoints.openai.api_server"
#: Environment of every server: the routes for RL, and nothing from or to the network.
ENVIRONMENT = {
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
#: Replaces itself by a command that the system ends with the process that started it.
_WITH_PARENT = (
    "import ctypes, os, sys; parent = int(sys.argv[1]); ctypes.CDLL(None).prctl(1, 15); "
    "os.getppid() == parent or sys.exit(1); os.execvp(sys.argv[2], sys.argv[2:])"
)
#: Seconds that a server may take to end by itself.
_END_SECONDS = 10.0


class ServerProcess:
    """A server in a process group of its own, on a free port of the loopback interface.

    Args:
        python: the Python that has vLLM; this one if empty.
        arguments: of vLLM's server.
        environment: added to this process's.
        log: a file for what it prints.
    """

    def __init__(self, python: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._python, self._arguments = python or sys.executable, tuple(arguments)
        self._environment, self.log = {**os.environ, **ENVIRONMENT, **environment}, log
        self.port = _free_port()
        self.has_died = False
        """Whether its end was reported, so that its log may be asked for."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, or start it again.

        Raises:
            MissingError: there is no such Python.
        """
        self.stop()
        command = [self._python, "-m", _MODULE, "--host", "127.0.0.1", "--port", str(self.port), *self._arguments]
        if sys.platform.startswith("linux"):
            command = [sys.executable, "-c", _WITH_PARENT, str(os.getpid()), *command]
        try:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    command,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise MissingError(
                f"cannot run {self._python}: {error.strerror}",
                hint="`sampler.start.python` names the Python that has vLLM",
            ) from None

    def died(self) -> MentorKitError:
        """What its end is, as an error: its exit code, and the last lines that it printed."""
        self.has_died = True
        code = None if self._process is None else self._process.poll()
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.is_file() else []
        last = "\n".join(lines[-12:])
        if f"No module named '{_MODULE.split('.')[0]}'" in last or "No module named vllm" in last:
            return MissingError(
                f"{self._python} has no vLLM",
                hint="install it there: pip install vllm; or name another Python: `sampler.start.python`",
            )
        return BackendError(f"the vLLM server ended with code {code}:\n{last}", hint=f"its whole log is {self.log}")

    def stop(self) -> None:
        """End it and what it started."""
        process, self._process = self._process, None
        if process is None:
            return
        _signal_group(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])
