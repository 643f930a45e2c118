"""One policy in several processes: the first one leads, and all share the work.

    leader:   forward_backward ──send──> each computes the gradient of its completions ──gather──> metrics
              optimizer_step   ──send──> gradients are summed, and each takes the same step
              engine.step      ──send──> each samples its sessions for a few tokens ──gather──> completions

Each process holds the whole model. A session's requests go to the process that has its keys and values; sessions that
begin together are assigned in blocks, so that those of a group mostly meet and share their prompt.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from mentor_kit.backend.base_policy import loss_metrics, scattered
from mentor_kit.backend.checkpoint import read_manifest
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Policy, PolicyInfo, Weights
from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.backend.student import StudentSpec
from mentor_kit.backend.token_groups import Floats, TokenGroup
from mentor_kit.core import errors
from mentor_kit.core.errors import BackendError, MentorKitError
from mentor_kit.core.frozen_model import Json
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.policy_loss import LossTerms
from mentor_kit.rl.update_metrics import LossMetrics, StepMetrics
from mentor_kit_mlx.launch import ProcessGroup
from mentor_kit_mlx.options import MLXOptions
from mentor_kit_mlx.policy import MLXPolicy
from mentor_kit_mlx.serialization import (
    completion_from_data,
    groups_as_data,
    pack,
    request_as_data,
    student_as_data,
    student_from_data,
    unpack,
)
from mentor_kit_mlx.worker import Worker, failure

#: Tokens sampled between two exchanges; a cancelled request continues for fewer.
STRIDE = 8
#: The largest relative difference of the processes' gradient norms while their weights are equal.
NORM_TOLERANCE = 1e-3

Load = Callable[[StudentSpec, MLXOptions, int], MLXPolicy]


class Leader:
    """Runs methods of policies in every process, from the first one."""

    def __init__(self, group: ProcessGroup) -> None:
        self.group = group
        self._numbers = itertools.count()
        self._alive: WeakValueDictionary[int, DataParallelPolicy] = WeakValueDictionary()
        atexit.register(self._stop)

    def load(self, load: Load, student: StudentSpec, options: MLXOptions, seed: int) -> DataParallelPolicy:
        """Load a policy in every process, and drop those that the first process has dropped."""
        number = next(self._numbers)
        arguments = {"student": student_as_data(student), "options": options.model_dump(), "seed": seed}
        made: list[MLXPolicy] = []
        arguments["alive"] = sorted(self._alive)
        self.run(number, "load", arguments, lambda: made.append(load(student, options, seed)))
        policy = DataParallelPolicy(self, number, made[0])
        self._alive[number] = policy
        return policy

    def run(self, number: int, method: str, arguments: Json, own: Callable[[], Json]) -> list[Json]:
        """Run a method of a policy in every process; the results by rank.

        Raises:
            MentorKitError: of this process, or else of the first other one that raised.
        """
        self.group.send(pack([number, method, arguments]))
        answer, error = _attempt(own)
        answers = [unpack(found) for found in self.group.gather(pack([answer, error and failure(error)]))]
        if error is not None:
            raise error
        for rank, (_, failed) in enumerate(answers):
            if failed is not None:
                kind = getattr(errors, failed["kind"], BackendError)
                raise kind(f"process {rank}: {failed['message']}", hint=failed["hint"])
        return [answer for answer, _ in answers]

    def _stop(self) -> None:
        with contextlib.suppress(BackendError):  # they may be gone already
            self.group.send(pack([-1, "stop", {}]))


def follow(group: ProcessGroup, load: Load) -> None:
    """Run the methods that the first process sends, until it ends."""
    workers: dict[int, Worker] = {}

    def begin(number: int, student: Json, options: Json, seed: int, alive: Sequence[int]) -> None:
        for other in set(workers) - set(alive):
            del workers[other]
        workers[number] = Worker(load(student_from_data(student), MLXOptions(**options), seed), group)

    # Ctrl-C reaches every process; the first one decides when to stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        number, method, arguments = unpack(group.receive())
        if method == "stop":
            return
        if method == "load":
            answer, error = _attempt(partial(begin, number, **arguments))
        else:
            answer, error = _attempt(partial(workers[number].run, method, arguments))
        group.gather(pack([answer, error and failure(error)]))


class DataParallelPolicy(Policy):
    """The first process's policy, whose work all processes share."""

    def __init__(self, leader: Leader, number: int, policy: MLXPolicy) -> None:
        self._leader, self._number, self._policy = leader, number, policy
        self._worker = Worker(policy, leader.group)
        self._engine = DataParallelEngine(self.run, policy, leader.group.size)

    def run(self, method: str, **arguments: Json) -> list[Json]:
        """Run a method of the worker in every process; the results by rank."""
        return self._leader.run(self._number, method, arguments, lambda: self._worker.run(method, arguments))

    @property
    def info(self) -> PolicyInfo:
        return self._policy.info

    @property
    def whole_format(self) -> str | None:
        return self._policy.whole_format

    def prepare(self, optimizer: OptimizerSpec) -> None:
        self.run("prepare", optimizer=optimizer.model_dump())

    def forward_backward(self, groups: Sequence[TokenGroup], objective: Objective) -> LossMetrics:
        self._policy.prepared_optimizer()
        self._policy.check(groups)
        try:
            answers = self.run(
                "forward_backward", groups=groups_as_data(groups), objective=objective.spec.model_dump(mode="json")
            )
        except MentorKitError:
            self.run("clear")
            raise
        return loss_metrics(groups, [LossTerms(*terms) for answer in answers for terms in answer], self._policy.version)

    def optimizer_step(self, learning_rate: float) -> StepMetrics:
        self._policy.prepared_optimizer()
        found = self.run("optimizer_step", learning_rate=learning_rate)
        norms = [norm for norm, _ in found]
        if max(norms) - min(norms) > NORM_TOLERANCE * max(norms):
            raise BackendError(
                f"the processes' weights differ: the norms of their gradients are {norms}",
                hint="resume from the last checkpoint; run the same versions of mlx and mentor-kit everywhere",
            )
        norm, clipped = found[0]
        version = self._policy.version
        return StepMetrics(gradient_norm=norm, clipped=clipped, learning_rate=learning_rate, version=version)

    def log_probs(self, groups: Sequence[TokenGroup], *, weights: Weights = "current") -> list[list[Floats]]:
        self._policy.check(groups)
        answers = self.run("log_probs", groups=groups_as_data(groups), weights=weights)
        return scattered(groups, {(group, index): row for answer in answers for group, index, row in answer})

    def snapshot_reference(self) -> None:
        self.run("snapshot_reference")

    def engine(self) -> DataParallelEngine:
        return self._engine

    def save(self, folder: Path) -> None:
        self._policy.write_checkpoint(folder, self.run("random"))

    def restore(self, folder: Path) -> None:
        self._policy.restore(folder)
        optimizer = self._policy.optimizer
        self.run(
            "restore",
            version=self._policy.version,
            optimizer=None if optimizer is None else optimizer.spec.model_dump(),
            reference=self._policy.reference is not None,
            random=list(read_manifest(folder, self.info.backend).random),
        )

    def export(self, folder: Path, *, format: str = "transformers") -> None:
        self._policy.export(folder, format=format)


class DataParallelEngine:
    """A `mentor_kit.backend.sampling.Engine` whose sessions are spread over processes; see the module.

    Args:
        run: runs a method of the worker in every process.
        policy: this process's own.
        size: the number of processes.
    """

    def __init__(self, run: Callable[..., list[Json]], policy: MLXPolicy, size: int) -> None:
        self._run, self._policy, self._size = run, policy, size
        self._events: list[tuple[str, str, Any]] = []
        """Events since the last exchange: kind, session, and the request, its id or the session."""
        self._owner: dict[str, int] = {}
        """The process that holds each session."""
        self._order: dict[str, int] = {}
        """Unfinished requests: their places in the order of submission."""
        self._sessions: dict[str, str] = {}
        """Unfinished requests: their sessions."""
        self._submitted = itertools.count()

    @property
    def busy(self) -> bool:
        return bool(self._order)

    def submit(self, request: SampleRequest) -> None:
        self._policy.engine().check(request)
        self._order[request.id] = next(self._submitted)
        self._sessions[request.id] = request.session
        self._events.append(("submit", request.session, request))

    def cancel(self, request_id: str) -> None:
        if request_id in self._order:
            self._events.append(("cancel", self._sessions[request_id], request_id))

    def drawn(self, request_id: str) -> tuple[int, ...]:
        """None: tokens come from the other processes with their completions."""
        return ()

    def release(self, session: str) -> None:
        self._events.append(("release", session, session))

    def step(self) -> list[Completion]:
        events, self._events = self._events, []
        self._assign(dict.fromkeys(session for kind, session, _ in events if kind == "submit"))
        sent = [
            [kind, self._owner[session], request_as_data(given) if kind == "submit" else given]
            for kind, session, given in events
            if session in self._owner
        ]
        for kind, session, _ in events:
            if kind == "release" and session not in self._sessions.values():
                self._owner.pop(session, None)
        answers = self._run("sample", events=sent, steps=STRIDE)
        found = [completion_from_data(data) for completions, _ in answers for data in completions]
        found.sort(key=lambda completion: self._order[completion.id])
        for completion in found:
            del self._order[completion.id], self._sessions[completion.id]
        if not any(busy for _, busy in answers):
            # requests that are left were released while they ran, and have no completion
            self._order, self._sessions = {}, {}
        return found

    def _assign(self, sessions: dict[str, None]) -> None:
        """Assign every new session to a process: in blocks, so that all hold about as many."""
        new = [session for session in sessions if session not in self._owner]
        held = [list(self._owner.values()).count(rank) for rank in range(self._size)]
        quota = -(-(sum(held) + len(new)) // self._size)
        rank = 0
        for session in new:
            while held[rank] >= quota:
                rank += 1
            self._owner[session] = rank
            held[rank] += 1


def _attempt(run: Callable[[], Json]) -> tuple[Json, MentorKitError | None]:
    try:
        return run(), None
    except MentorKitError as error:
        return None, error
