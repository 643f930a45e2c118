"""Teachers behind a server: episodes with the real tools, one request a turn, many problems at once.

The server's answers are stored, each by its whole request. Tools are run every time: where one returns another result
than before, the next request differs, and is sent to the server.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from mentor_kit.core.agent import Agent, EpisodeLimits, EpisodeRequest, Reply
from mentor_kit.core.conversation import Message, assistant
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError, MentorKitError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem, Task
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.tool import announced
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.core.trajectory import TokenTrace, Trajectory
from mentor_kit.rollout import run_episodes
from mentor_kit.utils.randomness import derive_seed
from mentor_kit_teachers.answers import Answers, Usage, content_hash
from mentor_kit_teachers.api_protocols import ApiProtocol, Body
from mentor_kit_teachers.collection import Attempts, Tally, fall_back
from mentor_kit_teachers.exchange import Exchange, Stopped
from mentor_kit_teachers.retry import GaveUp, Rejected
from mentor_kit_teachers.server_options import ServerOptions
from mentor_kit_teachers.spending import Spending
from mentor_kit_teachers.standing import FAULTS, Fault, Standing
from mentor_kit_teachers.strict import plain

_log = logging.getLogger(__name__)

#: The number of unfinished episodes that are named.
_NAMED = 5
#: Statuses of a server without that address.
_NOWHERE = frozenset({404, 405})
_HINTS = {
    401: "the key is wrong: set the right one in the environment",
    402: "the account has no money left, or no quota",
    403: "the key may not use this model, or the account has no access",
    404: "check `teacher.with.model`, and whether `teacher.with.url` ends where the API begins",
    405: "check whether `teacher.with.url` ends where the API begins",
}


@dataclass
class ServerTeacher(Teacher):
    """A teacher behind a server's API."""

    name: str
    protocol: ApiProtocol
    identity: str
    """The API, server and model: the key of its answers."""
    options: ServerOptions
    task: Task
    toolbox: Toolbox
    limits: EpisodeLimits
    answers: Answers
    fallback: Teacher | None = None
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.spending = Spending(self.options.price)
        form = content_hash({"teacher": self.identity, "form": self.protocol.opening({})})
        self.standing = Standing(self.answers, form)
        self.refused = 0
        """Episodes that the server refused to continue."""

    @property
    def concurrency(self) -> int:  # type: ignore[override]
        """Requests under way at once, as the options say."""
        return self.options.concurrency

    def cost(self, input_tokens: int, output_tokens: int) -> float | None:
        """Dollars by the options' prices; None where they have none."""
        prices = self.options.price
        return prices.cost(input_tokens, output_tokens) if prices.input or prices.output else None

    def account(self) -> dict[str, Json]:
        """The counts and costs for the stage's summary."""
        in_all = self.answers.spent(self.identity).cost
        refused: dict[str, Json] = {"refused": self.refused} if self.refused else {}
        return self.tally.account() | refused | self.spending.account() | {"cost_in_all": round(in_all, 6)}

    def model_hosts(self) -> Sequence[object]:
        """Those of its fallback."""
        return () if self.fallback is None else self.fallback.model_hosts()

    async def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        """Raises, once requests under way have been received and stored: `GaveUp`, `SpendingLimit`, `TeacherError`.

        And `DataError` where no attempt is right and `when_none` is `fail`.
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
            self._raise_first(faults)
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
            with suppress(Exception):
                await exchange.connection.close()
        if missing and self.fallback is not None:
            for demonstration in await fall_back(self.fallback, missing, self.options):
                yield demonstration

    async def rollouts(self, problems: Sequence[Problem], episodes: int) -> list[Trajectory]:
        """As for every teacher; raises what `demonstrate` raises."""
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
            results = await asyncio.gather(*(one(problem, index) for problem in problems for index in range(episodes)))
        finally:
            with suppress(Exception):
                await exchange.connection.close()
        self._raise_first(faults)
        return [shown.trajectory for shown in results if shown is not None and shown.trajectory is not None]

    @asynccontextmanager
    async def open_agent(self) -> AsyncIterator[Agent]:
        """The server, asked anew each time; raises for each question what `demonstrate` raises."""
        exchange = self._exchange([])
        try:
            yield ConversingAgent(
                self.name, self.protocol, exchange, f"chat-{secrets.token_hex(8)}", explain=self._explained
            )
        finally:
            with suppress(Exception):
                await exchange.connection.close()

    def _exchange(self, faults: list[Exception]) -> Exchange:
        """A connection to ask through, until there are faults; whoever asks for it closes it."""
        self.spending.begin(self.answers.spent(self.identity))
        return Exchange(
            teacher=self.identity,
            protocol=self.protocol,
            connection=self.protocol.connect(self.options.retry.timeout),
            answers=self.answers,
            spending=self.spending,
            standing=self.standing,
            retry=self.options.retry,
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
        episode = EpisodeRequest(
            id=f"{problem.id}#{self.name}-{attempt}",
            problem=problem,
            tools=self.toolbox.tools(problem),
            seed=derive_seed(self.options.seed, self.name, problem.id, attempt),
        )
        agent = ServerAgent(self.name, self.protocol, exchange, draw=f"{self.options.seed}/{attempt}")
        (trajectory,) = await run_episodes(agent, [episode], task=self.task, toolbox=self.toolbox, limits=self.limits)
        if trajectory.reason:
            self._note(trajectory, attempt)
        return Demonstration.of(trajectory, teacher=self.name, provenance=self._provenance(agent.usage, attempt))

    def _note(self, trajectory: Trajectory, attempt: int) -> None:
        """Log why an episode ended unfinished; of many, the first ones."""
        self.refused += 1
        if self.refused <= _NAMED:
            problem, ending = trajectory.problem_id, trajectory.ending
            _log.warning("problem %r, attempt %d ends unfinished (%s): %s", problem, attempt, ending, trajectory.reason)
        elif self.refused == _NAMED + 1:
            _log.warning("more episodes end unfinished; each one's reason is in its trajectory")

    def _raise_first(self, faults: Sequence[Exception]) -> None:
        """Raise the first fault there is, or what all requests have met; nothing is under way."""
        fault = faults[0] if faults else self.standing.verdict()
        if fault is not None:
            raise self._explained(fault)

    def _explained(self, fault: Exception) -> Exception:
        if isinstance(fault, GaveUp) and fault.own and (elsewhere := self.protocol.url_hint()):
            return GaveUp(fault.message, hint=f"{fault.hint}; {elsewhere}")
        if not isinstance(fault, Rejected):
            return fault
        hint = _HINTS.get(fault.status, "look at `teacher.with`: the model, its parameters and the server's limits")
        if fault.status in _NOWHERE:
            hint = "; ".join(filter(None, (hint, self.protocol.url_hint())))
        return TeacherError(f"the teacher's server refuses: {fault.reason}", hint=hint)

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
class ServerAgent:
    """A `mentor_kit.core.agent.Agent`: one attempt at one problem."""

    name: str
    protocol: ApiProtocol
    exchange: Exchange
    draw: str
    usage: Usage = field(default_factory=Usage)
    """Of all its turns, paid for now or earlier."""

    def start(self, episode: EpisodeRequest) -> ServerSession:
        return ServerSession(self, self.protocol.opening(announced(episode.tools)), episode)

    def next_draw(self) -> str:
        """What distinguishes the next request from the same one in other attempts."""
        return self.draw

    def excuse(self, fault: Fault, problem: str, *, first: bool) -> None:
        """As `Exchange.excuse`."""
        self.exchange.excuse(fault, problem, first=first)


@dataclass
class ConversingAgent(ServerAgent):
    """A server in a chat: no stored answer is used, and a fault ends one answer alone."""

    explain: Callable[[Exception], Exception] = field(kw_only=True)
    _asked: int = 0

    def next_draw(self) -> str:
        self._asked += 1
        return f"{self.draw}-{self._asked}"

    def excuse(self, fault: Fault, problem: str, *, first: bool) -> None:
        """Return where the dialogue is at fault.

        Raises:
            GaveUp, TeacherError: it is not.
        """
        if isinstance(fault, GaveUp) or not fault.of_dialogue:
            raise self.explain(fault)


class ServerSession:
    """One episode of a server. The dialogue is kept in the API's form: the server's answers are sent back unchanged."""

    def __init__(self, agent: ServerAgent, body: Body, episode: EpisodeRequest) -> None:
        self._agent = agent
        self._body = body
        self._episode = episode
        self._first = True

    async def respond(self, messages: Sequence[Message]) -> Reply:
        agent = self._agent
        self._body = plain(agent.protocol.with_messages(self._body, messages))
        try:
            answer = await agent.exchange.ask(self._body, agent.next_draw())
        except FAULTS as fault:
            agent.excuse(fault, self._episode.problem.id, first=self._first)
            too_long = isinstance(fault, Rejected) and fault.too_long
            return Reply(assistant(), finish="context" if too_long else "refused", reason=fault.reason)
        self._first = False
        agent.usage += answer.usage
        self._body = agent.protocol.with_reply(self._body, answer.reply)
        return agent.protocol.read(answer.reply, self._episode.tools)

    def trace(self) -> TokenTrace | None:
        return None

    def close(self) -> None:
        """Do nothing: the session holds no resources."""


class TeacherError(MentorKitError):
    """The server refuses the recipe's requests."""
