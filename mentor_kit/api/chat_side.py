"""One of those who answer in a chat: a student or a teacher, its dialogue, and its episodes so far."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from mentor_kit.api.chat_events import AnswerEnded, CallEnded, CallStarted, Note, SampledToken, Show, Words
from mentor_kit.core.agent import Agent, EpisodeRequest, Reply
from mentor_kit.core.conversation import ToolCall, ToolResult
from mentor_kit.core.errors import UsageError
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.rollout import (
    EpisodeRules,
    EpisodeWatcher,
    LiveDialogue,
    PolicyAgent,
    StreamingSampler,
    TurnStream,
    cut_by_characters,
    run_episodes,
)
from mentor_kit.rollout.policy_agent import PolicySession
from mentor_kit.stages import Experiment
from mentor_kit.utils.randomness import derive_seed


class Side(EpisodeWatcher):
    """An agent that answers questions and solves problems; shows its turns and calls as they come.

    Args:
        name: of the agent in the chat.
        agent: answers.
        experiment: with the task, the tools and the limits.
        show: shows events.
        seed: of the draws.
        description: a line about the agent.
        takes_questions: whether it answers any question, or the task's problems only.
    """

    def __init__(
        self,
        name: str,
        agent: Agent,
        experiment: Experiment,
        show: Show,
        *,
        seed: int,
        description: str,
        takes_questions: bool = True,
    ) -> None:
        self.name = name
        self.description = description
        self.takes_questions = takes_questions
        self._experiment = experiment
        self._show = show
        self._seed = seed
        self._attempts = itertools.count()
        """Of questions and problems: each is drawn with other random numbers."""
        self._agent = agent
        self._sampler: StreamingSampler | None = None
        if isinstance(agent, PolicyAgent):
            self._sampler = StreamingSampler(agent.sampler, self._drawn)
            self._agent = replace(agent, name=name, sampler=self._sampler)
        self._stream: TurnStream | None = None
        self._dialogue: LiveDialogue | None = None
        self._tools: EpisodeRequest | None = None
        self._temperatures: set[float | None] = set()
        """Of the questions of this dialogue."""
        self.last: Trajectory | None = None
        """The episode that was answered last."""
        self._done: list[Trajectory] = []
        """The dialogues that are over, and the problems' episodes."""

    @property
    def policy(self) -> PolicyAgent | None:
        """The agent where it is sampled here, token by token."""
        return self._agent if isinstance(self._agent, PolicyAgent) else None

    @property
    def temperature(self) -> float | None:
        """The temperature of what comes next; None for an agent that is not sampled here."""
        return None if self.policy is None else self.policy.sampling.temperature

    def set_temperature(self, temperature: float) -> None:
        """Sample what comes next at another temperature; 0 is greedy."""
        if self.policy is not None and self._sampler is not None:
            self._agent = replace(self.policy, sampling=replace(self.policy.sampling, temperature=temperature))
            self._sampler.temperature = temperature

    @property
    def question(self) -> str | None:
        """The last question of the dialogue."""
        return None if self._dialogue is None else self._dialogue.question

    @property
    def questions(self) -> int:
        """How many questions the dialogue has."""
        return 0 if self._dialogue is None else sum(said.role == "user" for said in self._dialogue.messages)

    async def ask(self, question: str, opening: EpisodeRequest) -> None:
        """Answer a question in the dialogue, which begins with the first one.

        Args:
            question: the user's words.
            opening: what a new dialogue begins with.
        """
        dialogue = self.dialogue(opening)
        self._draw_anew()
        self._stream = None
        ending, reason = await dialogue.ask(question)
        if ending not in (Ending.CONTEXT_FULL, Ending.REFUSED):
            self._temperatures.add(self.temperature)
            self.last = dialogue.trajectory()
        self._answered(dialogue, ending, reason)

    def back(self) -> str | None:
        """Take the dialogue's last question back; returns it."""
        return None if self._dialogue is None else self._dialogue.back()

    async def solve(self, problem: Problem) -> Trajectory:
        """Run an episode of a problem as training and evaluation do, with the recipe's limits."""
        agent = self._agent if self.policy is None else replace(self.policy, limits=self._experiment.limits)
        attempt = self._draw_anew()
        self._stream = None
        request = EpisodeRequest(
            id=f"{problem.id}#{self.name}-{attempt}",
            problem=problem,
            tools=self._experiment.toolbox.tools(problem),
            seed=derive_seed(self._seed, "chat", attempt),
        )
        self._tools = request
        rules = self._rules()
        (trajectory,) = await run_episodes(
            agent,
            [request],
            task=rules.task,
            toolbox=rules.toolbox,
            limits=rules.limits,
            cut=rules.cut,
            watcher=self,
        )
        self.last = trajectory
        self._done.append(trajectory)
        return trajectory

    def dialogue(self, opening: EpisodeRequest) -> LiveDialogue:
        """The dialogue; a new one where none is open."""
        if self._dialogue is None:
            agent = self._agent
            if self.policy is not None:
                # a response's limit is an episode's; a dialogue has the whole context
                limits = replace(self.policy.limits, max_response_tokens=self.policy.context)
                agent = replace(self.policy, limits=limits)
            request = replace(opening, id=f"{opening.id}#{self.name}")
            self._dialogue = LiveDialogue(agent, request, self._rules())
            self._temperatures = set()
        self._tools = opening
        return self._dialogue

    async def new(self) -> None:
        """End the dialogue."""
        if self._dialogue is None:
            return
        ended = self._ended_dialogue()
        if ended is not None:
            self._done.append(ended)
        dialogue, self._dialogue = self._dialogue, None
        await dialogue.close()

    @property
    def episodes(self) -> list[Trajectory]:
        """All episodes so far: problems and dialogues in the order in which they ended, the open dialogue last."""
        going_on = self._ended_dialogue()
        return [*self._done, *([going_on] if going_on is not None else [])]

    def last_tokens(self) -> tuple[SampledToken, ...]:
        """The tokens of the turn that was sampled last.

        Raises:
            UsageError: there is none, or the agent is not sampled here.
        """
        if self.policy is None:
            raise UsageError(f"{self.name} is not sampled here, so its tokens are not known")
        if self.last is None or self.last.tokens is None or not self.last.tokens.turns:
            raise UsageError(f"{self.name} has said nothing yet", hint="ask something, or /problem")
        trace, turn = self.last.tokens, self.last.tokens.turns[-1]
        pairs = zip(trace.ids[turn.start : turn.end], trace.log_probs[turn.start : turn.end], strict=True)
        decode = self.policy.format.tokenizer.decode
        return tuple(SampledToken(id=token, text=decode([token]), log_prob=log_prob) for token, log_prob in pairs)

    def replied(self, reply: Reply) -> None:
        """Show what is left of the turn."""
        if self._stream is not None:
            pieces = self._stream.rest(reply.message)
        else:
            pieces = [("reasoning", reply.message.reasoning), ("content", reply.message.content)]
        self._say(pieces)
        self._stream = None
        if reply.finish == "length":
            for call in reply.message.tool_calls:
                self._show(Note(agent=self.name, text=f"not run: {' '.join((call.raw or call.name).split())}"))

    def calling(self, call: ToolCall) -> None:
        """Show the call."""
        self._show(CallStarted(agent=self.name, call=call))

    def called(self, call: ToolCall, result: ToolResult) -> None:
        """Show the result."""
        self._show(CallEnded(agent=self.name, call=call, result=result))

    def _drawn(self, ids: Sequence[int]) -> None:
        if self.policy is not None and self._tools is not None:
            if self._stream is None:
                self._stream = TurnStream(self.policy.format, self._tools.tools)
            self._say(self._stream.pieces(ids))

    def _say(self, pieces: Sequence[tuple[str, str]]) -> None:
        for kind, text in pieces:
            if text:
                self._show(Words(agent=self.name, text=text, reasoning=kind == "reasoning"))

    def _draw_anew(self) -> int:
        attempt = next(self._attempts)
        if self._sampler is not None:
            self._sampler.seed = derive_seed(self._seed, "chat", attempt)
        return attempt

    def _rules(self) -> EpisodeRules:
        experiment = self._experiment
        cut = cut_by_characters if self.policy is None else self.policy.format.truncate
        return EpisodeRules(experiment.task, experiment.toolbox, experiment.limits, cut, watcher=self)

    def _ended_dialogue(self) -> Trajectory | None:
        """The dialogue as an episode; without its tokens where its questions had several temperatures."""
        found = None if self._dialogue is None else self._dialogue.trajectory()
        if found is not None and len(self._temperatures) > 1:
            return found.model_copy(update={"tokens": None})
        return found

    def _answered(self, dialogue: LiveDialogue, ending: Ending, reason: str) -> None:
        session = dialogue.session
        said = [message for message in dialogue.messages if message.role == "assistant"]
        kept = ending not in (Ending.CONTEXT_FULL, Ending.REFUSED)
        self._show(
            AnswerEnded(
                agent=self.name,
                message=said[-1] if said and kept else None,
                ending=ending.value,
                reason=reason,
                tokens=session.context_length if isinstance(session, PolicySession) else None,
                context=None if self.policy is None else self.policy.context,
            )
        )
