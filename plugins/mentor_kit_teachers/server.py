"""Teachers behind a server: they play with the real tools, one request a turn, many problems at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from mentor_kit.actor import EpisodeLimits, Reply, Scene
from mentor_kit.conversation import Message, assistant
from mentor_kit.demonstration import Demonstration, Teacher
from mentor_kit.errors import DataError, MentorKitError
from mentor_kit.randomness import derive_seed
from mentor_kit.record import Json
from mentor_kit.rollout import judge, play
from mentor_kit.task import Problem, Task
from mentor_kit.tool import Tool, Toolbox, announced
from mentor_kit.trajectory import TokenTrace, Trajectory
from mentor_kit_teachers.answers import Answers, Usage, content_hash
from mentor_kit_teachers.collection import Attempts, Tally, fall_back
from mentor_kit_teachers.exchange import Exchange, Stopped
from mentor_kit_teachers.patience import Rejected
from mentor_kit_teachers.server_options import ServerOptions
from mentor_kit_teachers.spending import Spending
from mentor_kit_teachers.wire import Body, Wire

_HINTS = {
    401: "the key is wrong: set the right one in the environment",
    403: "the key may not use this model, or the account has no access",
    404: "check `teacher.with.model`, and whether `teacher.with.url` ends where the API begins (often in /v1)",
}


@dataclass
class ServerTeacher:
    """A `mentor_kit.demonstration.Teacher` over a server's API."""

    name: str
    wire: Wire
    identity: str
    """The API, server and model: answers of one are no answers of another."""
    options: ServerOptions
    task: Task
    toolbox: Toolbox
    limits: EpisodeLimits
    answers: Answers
    fallback: Teacher | None = None
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.spending = Spending(self.options.price)

    def account(self) -> dict[str, Json]:
        """What was asked and what it cost, for the stage's summary."""
        in_all = self.answers.spent(self.identity).cost
        return self.tally.account() | self.spending.account() | {"cost_in_all": round(in_all, 6)}

    async def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        """Raises, once what is under way has been received and kept: `GaveUp`, `SpendingLimit`, `TeacherError`.

        And `DataError` where no attempt is right and the recipe wants to know.
        """
        faults: list[Exception] = []
        exchange = self._exchange(faults)
        working = [asyncio.create_task(self._attempts(problem, exchange, faults)) for problem in problems]
        missing = []
        try:
            for done in asyncio.as_completed(working):
                attempts = await done
                if attempts is None:
                    continue
                if not attempts.right:
                    missing.append(attempts.problem)
                for demonstration in self._kept(attempts, faults):
                    yield demonstration
            if faults:
                raise _explained(faults[0])
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
            with suppress(Exception):
                await exchange.connection.close()
        if missing and self.fallback is not None:
            for demonstration in await fall_back(self.fallback, missing, self.options):
                yield demonstration

    async def play(self, problems: Sequence[Problem], episodes: int) -> list[Trajectory]:
        """As `mentor_kit.demonstration.Plays`; raises what `demonstrate` raises."""
        faults: list[Exception] = []
        exchange = self._exchange(faults)

        async def one(problem: Problem, attempt: int) -> Demonstration | None:
            try:
                return await self._episode(problem, attempt, exchange)
            except Stopped:
                return None
            except Exception as fault:  # noqa: BLE001 (others finish what they have paid for; then it is raised)
                faults.append(fault)
                return None

        try:
            played = await asyncio.gather(*(one(problem, index) for problem in problems for index in range(episodes)))
        finally:
            with suppress(Exception):
                await exchange.connection.close()
        if faults:
            raise _explained(faults[0])
        return [shown.trajectory for shown in played if shown is not None and shown.trajectory is not None]

    def _exchange(self, faults: list[Exception]) -> Exchange:
        """A connection to ask through, until there are faults; whoever asks for it closes it."""
        self.spending.begin(self.answers.spent(self.identity))
        return Exchange(
            teacher=self.identity,
            wire=self.wire,
            connection=self.wire.connect(self.options.patience.timeout),
            answers=self.answers,
            spending=self.spending,
            patience=self.options.patience,
            places=asyncio.Semaphore(self.options.concurrency),
            max_tokens=self.options.max_tokens,
            stopping=lambda: bool(faults),
        )

    def _kept(self, attempts: Attempts, faults: list[Exception]) -> list[Demonstration]:
        try:
            return attempts.kept(self.tally)
        except DataError as fault:
            faults.append(fault)
            return []

    async def _attempts(self, problem: Problem, exchange: Exchange, faults: list[Exception]) -> Attempts | None:
        """The attempts at one problem; None if the run ends before they are over."""
        attempts = Attempts(problem, self.options)
        try:
            while attempts.wanted:
                attempts.made.append(await self._episode(problem, len(attempts.made), exchange))
        except Stopped:
            return None
        except Exception as fault:  # noqa: BLE001 (others finish what they have paid for; then it is raised)
            faults.append(fault)
            return None
        return attempts

    async def _episode(self, problem: Problem, attempt: int, exchange: Exchange) -> Demonstration:
        scene = Scene(
            id=f"{problem.id}#{self.name}-{attempt}",
            problem=problem,
            tools=self.toolbox.tools(problem),
            seed=derive_seed(self.options.seed, self.name, problem.id, attempt),
        )
        actor = ServerActor(self.name, self.wire, exchange, draw=f"{self.options.seed}/{attempt}")
        key = self._episode_key(actor, scene)
        written = self.answers.find_episode(key)
        if written is not None:
            shown = Demonstration.from_json(written)
            took = shown.provenance
            self.spending.reuse(Usage(took["input_tokens"], took["output_tokens"], took["cost"]))
            return self._judged(shown, scene)
        (played,) = await play(actor, [scene], task=self.task, toolbox=self.toolbox, limits=self.limits)
        shown = Demonstration.of(played, teacher=self.name, provenance=self._provenance(actor.usage, attempt))
        self.answers.keep_episode(key, shown.to_json())
        return shown

    def _episode_key(self, actor: ServerActor, scene: Scene) -> str:
        first = self.wire.heard(self.wire.opening(announced(scene.tools)), scene.problem.opening())
        limits = [self.limits.max_turns, self.limits.max_result_tokens]
        return content_hash(
            {"teacher": self.identity, "body": first, "draw": actor.draw, "limits": limits, "problem": scene.problem.id}
        )

    def _judged(self, shown: Demonstration, scene: Scene) -> Demonstration:
        """A demonstration from the file, with the verdict of the task as it is now."""
        trajectory = shown.trajectory
        if trajectory is None:
            return shown
        unjudged = trajectory.model_copy(update={"answer": None, "correct": False, "id": scene.id})
        again: Trajectory = judge(unjudged, scene, self.task)
        return Demonstration.of(again, teacher=self.name, provenance=shown.provenance)

    def _provenance(self, usage: Usage, attempt: int) -> dict[str, Json]:
        return {
            "source": self.identity,
            "attempt": attempt,
            "seed": self.options.seed,
            "temperature": self.options.temperature,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cost": round(usage.cost, 9),
        }


@dataclass
class ServerActor:
    """A `mentor_kit.actor.Actor`: one attempt at one problem."""

    name: str
    wire: Wire
    exchange: Exchange
    draw: str
    usage: Usage = field(default_factory=Usage)
    """Of all its turns, paid for now or earlier."""

    def start(self, scene: Scene) -> ServerSpeaker:
        return ServerSpeaker(self, self.wire.opening(announced(scene.tools)), scene.tools)


class ServerSpeaker:
    """One episode of a server. The dialogue is kept as the server's API has it: its own words go back as they came."""

    def __init__(self, actor: ServerActor, body: Body, tools: Mapping[str, Tool]) -> None:
        self._actor = actor
        self._body = body
        self._tools = tools

    async def respond(self, messages: Sequence[Message]) -> Reply:
        actor = self._actor
        self._body = actor.wire.heard(self._body, messages)
        try:
            answer = await actor.exchange.ask(self._body, actor.draw)
        except Rejected as fault:
            if fault.too_long:
                return Reply(assistant(), finish="context")
            raise
        actor.usage += answer.usage
        self._body = actor.wire.said(self._body, answer.reply)
        return actor.wire.read(answer.reply, self._tools)

    def trace(self) -> TokenTrace | None:
        return None

    def close(self) -> None:
        """Nothing is held."""


class TeacherError(MentorKitError):
    """The server refuses what the recipe asks of it."""


def _explained(fault: Exception) -> Exception:
    if not isinstance(fault, Rejected):
        return fault
    return TeacherError(
        f"the teacher's server refuses: {fault.reason}",
        hint=_HINTS.get(fault.status, "look at `teacher.with`: the model, its parameters and the server's limits"),
    )
