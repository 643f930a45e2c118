"""The process of a tracker: `python -m mentor_kit_trackers.worker REQUESTS REPLIES`, two file descriptors of pipes.

Messages and answers are lines of JSON. The first message names the writer, its options and the run; one message a call
follows, and `close` at the end. An answer is one of

    {"ready": true}      the library is imported; what takes time from now on is the tracker's
    {"done": true}       a message is worked off
    {"working": true}    more of what an earlier process of the run did is sent, which may take long
    {"note": "…"}        a line for the run
    {"fault": "…"}       the writer failed; nothing follows
    {"closed": true}     the run is closed; nothing follows

Where the pipe ends without `close`, the process that trains was killed: the run is closed as interrupted.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from mentor_kit.core.event import Event
from mentor_kit.core.secret import Secret, hide, remember
from mentor_kit.rl.reward import Scored
from mentor_kit_trackers.ledger import Ledger
from mentor_kit_trackers.options import TrackerOptions
from mentor_kit_trackers.session import Session
from mentor_kit_trackers.writer import RunInfo, Writer

#: Characters of a fault that are kept.
_FAULT_CHARACTERS = 200
#: Seconds beside its own that a process gets to end.
_LOCK_SECONDS = 2.0


def main(requests: IO[str], reply: Callable[..., None]) -> None:
    """Work off messages until the run is closed, or the pipe ends."""
    first = json.loads(requests.readline())
    # what a killed process of the run has not sent yet comes first
    with Path(first["lock"]).open("w") as lock:
        _acquire(lock, first["options"]["timeout"])
        writer = _writer(first, lambda text: reply(note=text))
        writer.load()
        reply(ready=True)
        ledger = Ledger(Path(first["ledger"]))
        session = Session(writer, ledger, first["run"]["events"], lambda: reply(working=True))
        reply(done=True)
        for line in requests:
            message = json.loads(line)
            if "close" in message:
                session.close(message["close"])
                reply(closed=True)
                return
            _handle(session, message)
            reply(done=True)
        # a server that does not answer must not keep the process for ever
        signal.alarm(max(1, round(first["options"]["timeout"])))
        session.close("interrupted")


def _acquire(lock: IO[str], seconds: float) -> None:
    """Wait for another process that tracks the run at the same place; one whose run was killed ends in that time."""
    import fcntl  # Windows has no such module, and only imports this one

    ended = time.monotonic() + seconds + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > ended:
                raise RuntimeError(
                    "the run is tracked at the same place twice; leave one of the trackers out"
                ) from None
            time.sleep(0.05)


def _writer(first: Mapping[str, Any], note: Callable[[str], None]) -> Writer[TrackerOptions]:
    """The writer that the first message asks for."""
    module, _, name = first["writer"].partition(":")
    kind: type[Writer[TrackerOptions]] = getattr(importlib.import_module(module), name)
    for variable, value in kind.ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    for key, value in first["secrets"].items():
        remember(value, f"${{{key}}}")
    secrets = {key: Secret(value, f"${{{key}}}") for key, value in first["secrets"].items()}
    options = kind.OPTIONS.model_validate({**first["options"], **secrets})
    run = first["run"]
    info = RunInfo(
        name=run["name"],
        id=run["id"],
        folder=Path(run["folder"]),
        recipe=run["recipe"],
        stages=tuple(run["stages"]),
        process=run["process"],
    )
    return kind(options, info, note)


def _handle(session: Session, message: Mapping[str, Any]) -> None:
    if "event" in message:
        session.event(Event.from_json(message["event"]))
    elif "rollouts" in message:
        session.rollouts(message["stage"], message["step"], [Scored.from_json(item) for item in message["rollouts"]])
    elif "evaluated" in message:
        session.evaluated([Scored.from_json(item) for item in message["evaluated"]])


def _fault(error: BaseException) -> str:
    """An error in one line, without secrets."""
    text = " ".join(f"{type(error).__name__}: {hide(str(error))}".split())
    return text if len(text) <= _FAULT_CHARACTERS else f"{text[: _FAULT_CHARACTERS - 1]}…"


def _run(requests: int, replies: int) -> None:
    # programs that a library starts must not hold the pipes open
    os.set_inheritable(requests, False)
    os.set_inheritable(replies, False)
    for name in (signal.SIGINT, signal.SIGTERM):
        # the process that trains decides when the run ends
        signal.signal(name, signal.SIG_IGN)
    # training comes first
    os.nice(5)
    answers = os.fdopen(replies, "w", encoding="utf-8")

    def reply(**answer: Any) -> None:
        # nobody reads any more where the process that trains is gone
        with suppress(BrokenPipeError):
            answers.write(f"{json.dumps(answer)}\n")
            answers.flush()

    code = 1
    try:
        main(os.fdopen(requests, encoding="utf-8"), reply)
        code = 0
    except BaseException as error:  # noqa: BLE001 (a library may even call sys.exit)
        sys.stderr.write(hide(traceback.format_exc()))
        reply(fault=_fault(error))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # everything is written: what libraries do at the end of a process may wait for a server
        os._exit(code)


if __name__ == "__main__":
    _run(int(sys.argv[1]), int(sys.argv[2]))
