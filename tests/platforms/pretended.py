"""Another system's Python, pretended in a process of Linux: for code that asks the system, or lacks what it has not.

    python tests/platforms/pretended.py windows '[["check", "quickstart"]]'

What the standard library and other packages ask at their import is decided before: they are imported first.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import io
import json
import os
import platform
import resource
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
import types
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

#: Modules of the standard library that Windows has not.
NOT_ON_WINDOWS = ("fcntl", "resource", "termios", "pwd", "grp", "pty", "tty", "readline", "syslog")
#: What a process of ours imports before it is on Windows: they ask for the system when they are imported.
FIRST = (
    "asyncio ctypes http.server multiprocessing.connection shutil socketserver subprocess tempfile webbrowser "
    "zipfile click griffe jsonschema numpy pluggy pydantic rich.console rich.live rich.progress ruamel.yaml "
    "typer.testing"
)
#: Functions and numbers that Python has on POSIX alone, or on Linux alone.
POSIX_ONLY = (
    "chroot chown confstr ctermid fchdir fchown fork forkpty fpathconf getegid geteuid getgid getgroups "
    "getloadavg getpgid getpgrp getpriority getresuid getsid getuid initgroups killpg lchown lockf mkfifo mknod "
    "nice openpty pathconf posix_fallocate posix_spawn pread preadv pwrite pwritev readv sendfile setegid seteuid "
    "setgid setgroups setpgid setpriority setsid setuid statvfs fstatvfs sync sysconf tcgetpgrp ttyname uname "
    "wait wait3 wait4 waitid writev O_ASYNC O_DIRECTORY O_DSYNC O_NOCTTY O_NOFOLLOW O_NONBLOCK O_SYNC"
)
LINUX_ONLY = (
    "copy_file_range eventfd eventfd_read eventfd_write getrandom getxattr listxattr memfd_create pidfd_open "
    "pipe2 posix_fadvise posix_fallocate removexattr sched_getaffinity sched_setaffinity sched_getparam "
    "sched_setscheduler setns setxattr splice unshare fdatasync getresuid getresgid O_DIRECT O_NOATIME O_PATH "
    "O_TMPFILE"
)
#: Signals that Windows has.
WINDOWS_SIGNALS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"}
#: Folders that only Linux has.
LINUX_PLACES = ("/proc", "/sys", "/dev/shm")
#: macOS's number of `F_FULLFSYNC`.
F_FULLFSYNC = 51


class _Absent(MetaPathFinder):
    """Modules that cannot be imported."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def windows(*first: str) -> None:
    """Be Python on Windows, from now on; `first` are further modules that are imported before."""
    for name in (*FIRST.split(), *first):
        import_module(name)
    sysconfig.get_config_vars()
    for name in NOT_ON_WINDOWS:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Absent(NOT_ON_WINDOWS))
    free = shutil.disk_usage(Path.cwd())
    # in Windows the one needs no function of `os`, and the other opens no folder
    shutil.disk_usage = lambda _: free
    shutil._use_fd_functions = False
    _remove(os, (*POSIX_ONLY.split(), *LINUX_ONLY.split()))
    _remove(signal, [name for name in dir(signal) if name.startswith("SIG") and name not in WINDOWS_SIGNALS])
    system_open = os.open

    def open_(path: Any, *arguments: Any, **more: Any) -> int:
        if isinstance(path, str | os.PathLike) and Path(path).is_dir():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return system_open(path, *arguments, **more)

    os.open = open_
    platform.system = lambda: "Windows"
    platform.platform = lambda *_, **__: "Windows-11-10.0.26100-SP0"
    sys.platform = "win32"


def macos(*first: str) -> None:
    """Be Python on macOS, from now on: without Linux's folders and functions, with its limits and its locks.

    Args:
        first: modules that are imported before: those with libraries of this system, such as torch.
    """
    for name in (*first, "subprocess", "urllib.request"):
        import_module(name)
    sysconfig.get_config_vars()
    _remove(os, LINUX_ONLY.split())
    # decided when these were imported, on Linux
    tempfile._O_TMPFILE_WORKS = False
    shutil._copyxattr = lambda *_, **__: None
    _remove(resource, ("prlimit",))
    _hide_places()
    _mac_limits()
    _mac_locks()
    ctypes.CDLL = _MacLibrary
    proxies = types.ModuleType("_scproxy")
    vars(proxies).update(_get_proxy_settings=dict, _get_proxies=dict)
    sys.modules["_scproxy"] = proxies
    platform.system = lambda: "Darwin"
    platform.machine = lambda: "arm64"
    platform.processor = lambda: "arm"
    platform.platform = lambda *_, **__: "macOS-15.5-arm64-arm-64bit"
    platform.mac_ver = lambda *_, **__: ("15.5", ("", "", ""), "arm64")
    sys.platform = "darwin"


def _remove(module: Any, names: Any) -> None:
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


def _hide_places() -> None:
    """Linux's folders are not there, whoever asks."""

    def hidden(path: object) -> bool:
        if isinstance(path, bytes | os.PathLike):
            path = os.fsdecode(path)
        return isinstance(path, str) and any(path == place or path.startswith(f"{place}/") for place in LINUX_PLACES)

    def wrapped(function: Any) -> Any:
        def call(path: Any = ".", *arguments: Any, **more: Any) -> Any:
            if hidden(path):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            return function(path, *arguments, **more)

        return call

    for name in ("open", "stat", "lstat", "listdir", "scandir", "readlink", "access"):
        setattr(os, name, wrapped(getattr(os, name)))
    io.open = builtins.open = wrapped(builtins.open)


def _mac_limits() -> None:
    """The address space takes no limit, as that of a process of macOS is larger than any."""
    set_limit = resource.setrlimit

    def setrlimit(kind: int, limits: tuple[int, int]) -> None:
        if kind == resource.RLIMIT_AS:
            raise ValueError("current limit exceeds maximum limit")
        set_limit(kind, limits)

    usage = resource.getrusage

    def getrusage(who: int) -> Any:
        found = list(usage(who))
        found[2] *= 1024  # macOS gives the peak in bytes
        return resource.struct_rusage(found)

    resource.setrlimit = setrlimit
    resource.getrusage = getrusage


def _mac_locks() -> None:
    """`struct flock` has another order on macOS, and files are flushed by a request of its own."""
    import fcntl

    system = fcntl.fcntl

    def mac_fcntl(handle: Any, request: int, argument: Any = 0) -> Any:
        if request == F_FULLFSYNC:
            return os.fsync(handle) or 0
        if request == fcntl.F_GETLK:
            start, length, pid, kind, whence = struct.unpack("qqihh", argument)
            found = system(handle, request, struct.pack("hhqqi", kind, whence, start, length, pid))
            kind, whence, start, length, pid = struct.unpack("hhqqi", found)
            return struct.pack("qqihh", start, length, pid, kind, whence)
        return system(handle, request, argument)

    fcntl.fcntl = mac_fcntl
    fcntl.F_FULLFSYNC = F_FULLFSYNC


class _MacLibrary(ctypes.CDLL):
    """A library of macOS: without Linux's own calls."""

    def __getattr__(self, name: str) -> Any:
        if name in ("prctl", "malloc_trim", "gettid", "syscall"):
            raise AttributeError(f"dlsym(RTLD_DEFAULT, {name}): symbol not found")
        return super().__getattr__(name)


def play(system: str, commands: Sequence[Sequence[str]], folder: Path, *first: str) -> list[tuple[int, str, str]]:
    """Run commands of `mentorkit` on that system, one after the other in one process: code, output, errors of each."""
    arguments = [sys.executable, str(Path(__file__)), ",".join((system, *first)), json.dumps([*map(list, commands)])]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return [tuple(found) for found in json.loads(done.stdout)]


def main() -> None:
    """`python pretended.py SYSTEM[,MODULE…] COMMANDS`: the results of commands as JSON."""
    system, *first = sys.argv[1].split(",")
    {"windows": windows, "macos": macos}[system](*first)
    from mentor_kit.cli.app import run_app

    found = []
    for command in json.loads(sys.argv[2]):
        output, errors = io.StringIO(), io.StringIO()
        with redirect_stdout(output), redirect_stderr(errors):
            code = run_app(command)
        found.append((int(code), output.getvalue(), errors.getvalue()))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
