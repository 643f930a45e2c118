"""Stand-ins that are independent of the code under test: a scripted agent, a scripted engine, a toy chat format.

The toy format's tokens are the code points of text, with five markers below 32:

    SYSTEM text END USER text END ASSISTANT text END TOOL text END ASSISTANT …

A turn's lines that start with `!` are calls: `!name {"json": "arguments"}`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.core.agent import EpisodeRequest, Reply
from mentor_kit.core.conversation import CallState, Message, ToolCall, assistant
from mentor_kit.core.task import TRAIN, Problem, Task
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import ToolSource
from mentor_kit.core.trajectory import TokenTrace, Trajectory

SYSTEM, USER, ASSISTANT, TOOL, END = 1, 2, 3, 4, 5
MARKERS = {"system": SYSTEM, "user": USER, "tool": TOOL}


def encode(text: str) -> list[int]:
    return [ord(character) for character in text]


def decode(ids: Sequence[int]) -> str:
    return "".join(chr(token) for token in ids if token >= 32 or token == 10)


class ToyTokenizer:
    def decode(self, ids: Sequence[int]) -> str:
        return decode(ids)

    def save(self, folder: Path) -> None:
        (folder / "tokenizer.txt").write_text("toy")


class ToyFormat:
    """One token a character."""

    stop_ids = frozenset({END})
    tokenizer = ToyTokenizer()
    family = None

    def open(self, messages: Sequence[Message], tools: Mapping[str, Tool]) -> list[int]:
        return self.bridge(messages, tools=tools)

    def bridge(self, messages: Sequence[Message], *, tools: Mapping[str, Tool], closed: bool = True) -> list[int]:
        ids = [] if closed else [END]
        for message in messages:
            ids += [MARKERS[message.role], *encode(message.content), END]
        return [*ids, ASSISTANT]

    def parse(self, ids: Sequence[int], tools: Mapping[str, Tool] | None = None) -> Message:
        lines = decode(ids).split("\n")
        words = "\n".join(line for line in lines if not line.startswith("!"))
        return assistant(words, calls=[_call(line) for line in lines if line.startswith("!")])

    def render_turn(self, message: Message, tools: Mapping[str, Tool] | None = None) -> list[int]:
        calls = [f"!{call.name} {json.dumps(call.arguments)}" for call in message.tool_calls]
        return [*encode("\n".join([*([message.content] if message.content else []), *calls])), END]

    def truncate(self, text: str, limit: int) -> tuple[str, bool]:
        return (text, False) if len(text) <= limit else (text[: limit - 1] + "~", True)


def _call(line: str) -> ToolCall:
    name, _, rest = line[1:].partition(" ")
    try:
        return ToolCall(name=name, arguments=json.loads(rest), raw=line)
    except ValueError as error:
        return ToolCall(name=name, state=CallState.MALFORMED, raw=line, error=f"no JSON: {error}")


class ScriptedEngine:
    """One token of every request a step; what a request says is `script(request)`, and then END.

    `batches` has the ids of the requests that were submitted together, in the order of submission.
    """

    def __init__(self, script: Callable[[SampleRequest], str]) -> None:
        self.script = script
        self.batches: list[tuple[str, ...]] = []
        self.requests: list[SampleRequest] = []
        self.completions: dict[str, Completion] = {}
        self.released: list[str] = []
        self.cancelled: list[str] = []
        self.version = 0
        self.steps = 0
        self.fail_step: Exception | None = None
        self.refuse: Callable[[SampleRequest], Exception | None] = lambda request: None
        self._running: dict[str, tuple[SampleRequest, list[int], list[int]]] = {}
        self._fresh: list[str] = []

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def submit(self, request: SampleRequest) -> None:
        refusal = self.refuse(request)
        if refusal is not None:
            raise refusal
        assert request.id not in self._running, f"{request.id} is submitted twice"
        assert request.max_new_tokens > 0
        self.requests.append(request)
        self._running[request.id] = (request, [*encode(self.script(request)), END], [])
        self._fresh.append(request.id)

    def step(self) -> list[Completion]:
        if self._fresh:
            self.batches.append(tuple(self._fresh))
            self._fresh = []
        self.steps += 1
        if self.fail_step is not None:
            raise self.fail_step
        done = [found for found in map(self._advance, list(self._running)) if found is not None]
        for completion in done:
            del self._running[completion.id]
            self.completions[completion.id] = completion
        return done

    def cancel(self, request_id: str) -> None:
        if request_id in self._running:
            self.cancelled.append(request_id)

    def drawn(self, request_id: str) -> tuple[int, ...]:
        return tuple(self._running[request_id][2]) if request_id in self._running else ()

    def release(self, session: str) -> None:
        self.released.append(session)

    def _advance(self, request_id: str) -> Completion | None:
        request, rest, said = self._running[request_id]
        if request_id not in self.cancelled:
            said.append(rest.pop(0))
        if request_id in self.cancelled:
            finish: Any = "cancelled"
        elif said[-1] in request.stop_ids:
            finish = "stop"
        elif len(said) == request.max_new_tokens:
            finish = "length"
        else:
            return None
        log_probs = tuple(-0.25 * (1 + (token + place) % 7) for place, token in enumerate(said))
        return Completion(id=request_id, ids=tuple(said), log_probs=log_probs, finish=finish, version=self.version)


class ScriptedAgent:
    """Speaks the turns it was given for each episode; a turn may be an exception, or an async function of none."""

    name = "scripted"

    def __init__(self, turns: Mapping[str, Sequence[Any]]) -> None:
        self.turns = turns
        self.sessions: dict[str, ScriptedAgentSession] = {}

    def start(self, episode: EpisodeRequest) -> ScriptedAgentSession:
        session = ScriptedAgentSession(list(self.turns[episode.id]))
        self.sessions[episode.id] = session
        return session


class ScriptedAgentSession:
    def __init__(self, turns: list[Any]) -> None:
        self.turns = turns
        self.heard: list[tuple[Message, ...]] = []
        self.closed = 0

    async def respond(self, messages: Sequence[Message]) -> Reply:
        self.heard.append(tuple(messages))
        turn = self.turns.pop(0)
        if callable(turn):
            turn = await turn()
        if isinstance(turn, BaseException):
            raise turn
        return turn if isinstance(turn, Reply) else Reply(turn)

    def trace(self) -> TokenTrace | None:
        return None

    def close(self) -> None:
        self.closed += 1


class EchoTask(Task):
    """The answer is the last turn's text; `asked` has every answer that was checked."""

    splits = (TRAIN,)

    def __init__(self) -> None:
        self.asked: list[str] = []

    def problems(self, split: str, seed: int, count: int) -> list[Problem]:
        return [problem(f"p{number}") for number in range(count)]

    def answer(self, trajectory: Trajectory) -> str | None:
        self.asked.append(trajectory.id)
        return trajectory.final_text or None

    def check(self, answer: str, problem: Problem) -> bool:
        return answer == problem.answer


class RecordingTools(ToolSource):
    """A source of tools that keeps what it was opened with, called with, and how often closed."""

    def __init__(self, *tools: Tool) -> None:
        self._tools = tools
        self.opened: list[tuple[str, int]] = []
        self.closed: list[str] = []
        self.called: list[tuple[str, str, dict[str, Any]]] = []

    def tools(self, problem: Problem) -> Sequence[Tool]:
        return self._tools

    @asynccontextmanager
    async def open(self, problem: Problem, seed: int) -> AsyncIterator[_Session]:
        self.opened.append((problem.id, seed))
        try:
            yield _Session(self, problem.id)
        finally:
            self.closed.append(problem.id)


class _Session:
    def __init__(self, tools: RecordingTools, problem_id: str) -> None:
        self._tools = tools
        self._problem_id = problem_id

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        self._tools.called.append((self._problem_id, name, dict(arguments)))
        (tool,) = (tool for tool in self._tools.tools(problem(self._problem_id)) if tool.name == name)
        assert tool.function is not None
        value = tool.function(**arguments)
        return await value if hasattr(value, "__await__") else value


def problem(name: str, answer: str = "right") -> Problem:
    return Problem(id=name, question=f"Q {name}", answer=answer)


def episode(name: str, tools: Mapping[str, Tool] | None = None, *, seed: int = 7) -> EpisodeRequest:
    return EpisodeRequest(id=name, problem=problem(name), tools=tools or {}, seed=seed)
