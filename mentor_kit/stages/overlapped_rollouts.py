"""Rollouts that overlap with updates: episodes go into a buffer as they end, and a step takes the oldest whole groups.

    episodes, in a thread of their own: tools, chats, time limits ──ended──> buffer ──take──> step
                    │     ▲
                requests completions
                    ▼     │
    this thread: the device samples, while a step waits for its groups ... updates ... samples

The device works in this thread alone, so that sampling and updates never meet. An update in the middle of an episode
changes the weights of its next tokens: each turn keeps its version and each token the log-probability that it was
sampled with, and the update's importance ratio is against these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from mentor_kit.core.agent import EpisodeRequest
from mentor_kit.core.errors import DataError
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rollout import BackgroundLoop, DeviceSampler, EpisodeRules, outside_event_loop, run_episode
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.distillation import TokenTeacher
from mentor_kit.stages.experiment import Experiment
from mentor_kit.stages.problem_stream import ProblemStream
from mentor_kit.stages.rollout_buffer import BufferedGroup, RolloutBuffer
from mentor_kit.stages.rollout_source import RolloutSource
from mentor_kit.stages.training_loop import StageState
from mentor_kit.utils.randomness import derive_seed

T = TypeVar("T")

#: The file of a checkpoint that has the buffer's groups.
BUFFER = "buffer.jsonl"


class OverlappedRollouts(RolloutSource):
    """Runs episodes beside updates and evaluations, up to `experiment.staleness` steps ahead.

    A checkpoint has the whole groups and the ended episodes of the others, to the token. Episodes that are under way
    then begin again in a resumed run, with the same problem and seed, and with the checkpoint's weights.

    Args:
        experiment: with the student, the tools and the staleness.
        context: has the checkpoint that a run resumes from.
        stream: of problems.
        steps: of the stage.
        problems: groups that every step takes at least.
        group: episodes of a problem.
    """

    def __init__(
        self,
        experiment: Experiment,
        context: StageContext,
        stream: ProblemStream,
        *,
        steps: int,
        problems: int,
        group: int,
    ) -> None:
        self._experiment, self._context, self._stream = experiment, context, stream
        self._steps, self._problems = steps, problems
        self._teacher_computes = isinstance(experiment.teacher, TokenTeacher)
        self._buffer = RolloutBuffer(experiment.staleness, problems, group)
        self._device = asyncio.Runner()
        """Runs the sampler, in this thread, while a step waits."""
        self._episodes = BackgroundLoop()
        self._next_problems = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mentorkit-problems")
        self._done = 0
        """Steps whose updates the weights of new groups have."""
        self._ordered = 0
        """Problems that are being looked for."""
        self._changed = asyncio.Event()
        self._failure: BaseException | None = None
        self._closing = False
        self._running: set[Future[Trajectory]] = set()

    def __enter__(self) -> Self:
        loop = outside_event_loop(self._device.get_loop)
        sampler = self._experiment.policy.sampler(deterministic=False)
        self._sampler = DeviceSampler(sampler, loop, self._changed.set)
        experiment = self._experiment
        self._agent = experiment.agent_with(self._sampler, experiment.sampling)
        self._rules = EpisodeRules(
            task=experiment.task, toolbox=experiment.toolbox, limits=experiment.limits, cut=experiment.format.truncate
        )
        self._restore()
        self._episodes.__enter__()
        for group, index in list(self._buffer.under_way()):
            self._run(group, [index])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing = True
        self._next_problems.shutdown(cancel_futures=True)
        self._episodes.__exit__(kind, error, traceback)
        # what the episodes asked of the sampler on their ends is done before its loop closes
        self._on_device(asyncio.sleep(0))
        outside_event_loop(self._device.close)

    def take(self, count: int, step: int, round: int) -> tuple[list[Problem], list[Trajectory]]:
        self._done = step - 1
        self._on_device(self._until_ready(count, step))
        groups = self._buffer.take(count)
        self._done = step  # what begins from now on does so behind this step's update
        if step < self._steps and not self._teacher_computes:
            self._order(self._problems, step + 1)
        return [group.problem for group in groups], [found for group in groups for found in group.trajectories()]

    def metrics(self) -> Mapping[str, float]:
        """Whole groups and episodes under way that the step left behind."""
        return {"groups_ahead": self._buffer.whole, "episodes_under_way": len(self._running)}

    def state(self) -> StageState:
        self._on_device(self._until_found())
        values = {"position": self._stream.position, "groups": self._buffer.begun}
        return StageState(values, {BUFFER: self._buffer.to_lines()})

    @contextmanager
    def held(self) -> Iterator[None]:
        self._on_device(self._until_found())
        self._sampler.hold()
        self._on_device(self._until_all_wait())
        try:
            yield
        finally:
            self._sampler.go_on()

    def _on_device(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the device's event loop until the work is done; what it began beside goes on the next time."""
        return outside_event_loop(lambda: self._device.run(work))

    async def _until_ready(self, count: int, step: int) -> None:
        """Begin groups, and sample until the step can take `count`."""
        while True:
            self._order(count, step)
            if self._buffer.ready(count, step):
                return
            await self._change()

    async def _until_found(self) -> None:
        """Sample until no problem is being looked for; their groups have begun."""
        await asyncio.sleep(0)  # what has ended meanwhile
        while self._ordered:
            await self._change()

    async def _until_all_wait(self) -> None:
        """Sample until every episode has ended, or waits for its next turn."""
        while self._sampler.waiting < len(self._running):
            await self._change()

    async def _change(self) -> None:
        """Wait until an episode has ended or come to the gate; raise the error of one that failed."""
        if self._failure is not None:
            raise self._failure
        self._changed.clear()
        await self._changed.wait()
        if self._failure is not None:
            raise self._failure

    def _order(self, count: int, step: int) -> None:
        """Look for the problems of further groups, as many as may begin before a step that is to take `count`.

        The teacher demonstrates them beside updates and sampling, in a thread of its own; one that is a model does so
        here.
        """
        missing = self._buffer.missing(count, self._steps - step) - self._ordered
        if missing <= 0:
            return
        if self._teacher_computes:
            self._begin(self._stream.take_placed(missing))
            return
        self._ordered += missing
        future = self._next_problems.submit(self._stream.take_placed, missing)
        future.add_done_callback(partial(self._from_afar, self._note_problems, missing))

    def _note_problems(self, count: int, found: Future[list[tuple[int, Problem]]]) -> None:
        self._ordered -= count
        if self._closing:
            return
        with self._noting_failure():
            self._begin(found.result())

    def _begin(self, placed: Sequence[tuple[int, Problem]]) -> None:
        """Begin a group for each problem at its position."""
        for position, problem in placed:
            group = self._buffer.begin(position, problem, self._done)
            self._run(group, range(len(group.episodes)))

    def _run(self, group: BufferedGroup, indices: Sequence[int]) -> None:
        """Begin episodes of a group."""
        experiment, tools = self._experiment, self._experiment.toolbox.tools(group.problem)
        for index in indices:
            request = EpisodeRequest(
                id=f"{group.problem.id}#{group.number}.{index}",
                problem=group.problem,
                tools=tools,
                seed=derive_seed(experiment.seed, self._context.key, group.number, group.problem.id, index),
            )
            future = self._episodes.submit(run_episode(self._agent, request, self._rules))
            self._running.add(future)
            future.add_done_callback(partial(self._from_afar, self._note_end, group, index))

    def _from_afar(self, note: Callable[..., None], *values: Any) -> None:
        """In another thread: let the device's thread note something."""
        self._device.get_loop().call_soon_threadsafe(note, *values)

    def _note_end(self, group: BufferedGroup, index: int, done: Future[Trajectory]) -> None:
        self._running.discard(done)
        with self._noting_failure():
            group.episodes[index] = done.result()

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        """An error within is raised where the stage waits next; what was cancelled is none."""
        try:
            yield
        except CancelledError:
            return
        except BaseException as error:  # noqa: BLE001 (it ends the stage, in whose thread it is raised)
            self._failure = self._failure or error
        self._changed.set()

    def _restore(self) -> None:
        """Take the buffer of the checkpoint that the run resumes from, if there is one."""
        state, text = self._context.resumed(), self._context.resumed_file(BUFFER)
        if state is None or text is None:
            return
        try:
            self._buffer.restore(text.split("\n")[:-1], int(state["groups"]), self._stream.at)
        except (ValidationError, KeyError) as error:
            raise DataError(
                f"the checkpoint's {BUFFER} cannot be read: {error}",
                hint="remove that checkpoint's folder to resume from an earlier one",
            ) from None
