"""Dialogues with a person: question after question in one transcript, and back to where it was before one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from rollout_fakes import (
    ASSISTANT,
    END,
    TOOL,
    USER,
    EchoTask,
    RecordingTools,
    ScriptedEngine,
    ToyFormat,
    encode,
    episode,
    problem,
)

from mentor_kit.backend.engine_sampler import EngineSampler
from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.conversation import CallState, call
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.core.trajectory import Ending
from mentor_kit.rollout import EpisodeRules, EpisodeWatcher, LiveDialogue, PolicyAgent, Sampling, run_async

CALL = '!say {"word": "hi"}'


def say(word: str) -> str:
    """Say a word."""
    return word


class Chat:
    """A dialogue with a student that says `turns`, one a request."""

    def __init__(self, *turns: str, context: int = 1000, watcher: EpisodeWatcher | None = None, **limits: int) -> None:
        said = iter(turns)
        self.engine = ScriptedEngine(lambda request: next(said))
        self.tools = RecordingTools(Tool.from_function(say))
        toolbox = Toolbox([self.tools])
        agent = PolicyAgent(
            "student",
            ToyFormat(),  # type: ignore[arg-type]
            EngineSampler(self.engine, deterministic=False),
            Sampling(),
            EpisodeLimits(**limits),
            context,
        )
        rules = EpisodeRules(EchoTask(), toolbox, agent.limits, watcher=watcher or EpisodeWatcher())
        self.dialogue = LiveDialogue(agent, episode("chat", toolbox.tools(problem("chat"))), rules)

    def run(self, work: Callable[[LiveDialogue], Any]) -> Any:
        async def whole() -> Any:
            try:
                return await work(self.dialogue)
            finally:
                await self.dialogue.close()

        return run_async(whole())

    @property
    def contexts(self) -> list[list[int]]:
        return [list(request.context) for request in self.engine.requests]


def test_questions_share_a_transcript_and_the_tools_state() -> None:
    chat = Chat(CALL, "one", "two")

    async def work(dialogue: LiveDialogue) -> Any:
        assert await dialogue.ask("Q1") == (Ending.ANSWERED, "")
        assert await dialogue.ask("Q2") == (Ending.ANSWERED, "")
        return dialogue.trajectory()

    trajectory = chat.run(work)
    first = [USER, *encode("Q1"), END, ASSISTANT]
    called = [*first, *encode(CALL), END, TOOL, *encode("hi"), END, ASSISTANT]
    answered = [*called, *encode("one"), END, USER, *encode("Q2"), END, ASSISTANT]
    assert chat.contexts == [first, called, answered]
    assert [*trajectory.tokens.prompt_ids, *trajectory.tokens.ids] == [*answered, *encode("two"), END]
    assert sum(trajectory.tokens.mask) == len(encode(CALL + "one" + "two")) + 3
    assert [message.role for message in trajectory.episode] == ["assistant", "tool", "assistant", "user", "assistant"]
    assert (chat.tools.opened, chat.tools.closed) == ([("chat", 7)], ["chat"])
    assert chat.engine.released == ["chat"]


def test_back_to_where_it_was_before_a_question() -> None:
    chat = Chat("one", "two", "three")

    async def work(dialogue: LiveDialogue) -> Any:
        await dialogue.ask("Q1")
        await dialogue.ask("Q2")
        assert dialogue.back() == "Q2"
        assert dialogue.back() is None
        await dialogue.ask("Q2 again")
        return dialogue.trajectory()

    trajectory = chat.run(work)
    before = [USER, *encode("Q1"), END, ASSISTANT, *encode("one"), END]
    assert chat.contexts[1] == [*before, USER, *encode("Q2"), END, ASSISTANT]
    assert chat.contexts[2] == [*before, USER, *encode("Q2 again"), END, ASSISTANT]
    assert len({request.id for request in chat.engine.requests}) == 3
    assert trajectory.tokens.ids[-6:] == (*encode("three"), END)


def test_the_first_question_can_be_taken_back() -> None:
    chat = Chat("one", "two")

    async def work(dialogue: LiveDialogue) -> Any:
        await dialogue.ask("Q1")
        dialogue.back()
        assert (dialogue.messages, dialogue.trajectory()) == ((), None)
        await dialogue.ask("Q2")
        return dialogue.trajectory()

    assert [message.content for message in chat.run(work).messages] == ["Q2", "two"]


def test_a_turn_that_was_cut_off_is_closed_before_the_next_question() -> None:
    chat = Chat("endless words", "two", max_turn_tokens=4)

    async def work(dialogue: LiveDialogue) -> None:
        assert (await dialogue.ask("Q1"))[0] is Ending.LENGTH
        assert (await dialogue.ask("Q2"))[0] is Ending.ANSWERED

    chat.run(work)
    assert chat.contexts[1] == [
        *[USER, *encode("Q1"), END, ASSISTANT, *encode("endl")],
        *[END, USER, *encode("Q2"), END, ASSISTANT],
    ]


def test_results_that_no_turn_was_left_for_are_read_with_the_next_question() -> None:
    chat = Chat(CALL, "two", max_turns=1)

    async def work(dialogue: LiveDialogue) -> Any:
        assert (await dialogue.ask("Q1"))[0] is Ending.MAX_TURNS
        assert (await dialogue.ask("Q2"))[0] is Ending.ANSWERED
        return dialogue.trajectory()

    trajectory = chat.run(work)
    end_of_context = [TOOL, *encode("hi"), END, USER, *encode("Q2"), END, ASSISTANT]
    assert chat.contexts[1][-len(end_of_context) :] == end_of_context
    assert [message.role for message in trajectory.messages] == ["user", "assistant", "tool", "user", "assistant"]


def test_a_question_that_does_not_fit_is_taken_back() -> None:
    chat = Chat("one", "three", context=40)

    async def work(dialogue: LiveDialogue) -> Any:
        await dialogue.ask("Q1")
        assert (await dialogue.ask("Q" * 50))[0] is Ending.CONTEXT_FULL
        await dialogue.ask("Q3")
        return dialogue.trajectory()

    assert [message.content for message in chat.run(work).messages] == ["Q1", "one", "Q3", "three"]


def test_a_stopped_answer_leaves_the_dialogue_as_it_was() -> None:
    chat = Chat("one", "a very long answer " * 50, "three")

    async def work(dialogue: LiveDialogue) -> Any:
        await dialogue.ask("Q1")
        answering = asyncio.create_task(dialogue.ask("Q2"))
        while chat.engine.steps < 20:
            await asyncio.sleep(0)
        answering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answering
        assert dialogue.question is None
        await dialogue.ask("Q3")
        return dialogue.trajectory()

    trajectory = chat.run(work)
    assert [message.content for message in trajectory.messages] == ["Q1", "one", "Q3", "three"]
    assert len(chat.engine.cancelled) == 1
    context = [USER, *encode("Q1"), END, ASSISTANT, *encode("one"), END, USER, *encode("Q3"), END, ASSISTANT]
    assert chat.contexts[-1] == context


def test_a_call_by_hand_runs_in_the_same_state_and_is_not_seen() -> None:
    chat = Chat("one")

    async def work(dialogue: LiveDialogue) -> Any:
        done, result = await dialogue.call(call("say", word="me"))
        assert (done.state, result.content) == (CallState.EXECUTED, "me")
        refused, _ = await dialogue.call(call("say"))
        assert refused.state is CallState.INVALID_ARGUMENTS
        await dialogue.ask("Q1")
        return dialogue.trajectory()

    assert len(chat.run(work).messages) == 2
    assert chat.tools.called == [("chat", "say", {"word": "me"})]
    assert len(chat.tools.opened) == 1


def test_a_watcher_follows_turns_and_calls() -> None:
    seen: list[Any] = []

    class Watcher(EpisodeWatcher):
        def replied(self, reply: Any) -> None:
            seen.append(reply.message.content)

        def calling(self, call: Any) -> None:
            seen.append(call.state)

        def called(self, call: Any, result: Any) -> None:
            seen.append((call.state, result.content))

    chat = Chat(CALL, "one", watcher=Watcher())
    chat.run(lambda dialogue: dialogue.ask("Q1"))
    assert seen == ["", CallState.PARSED, (CallState.EXECUTED, "hi"), "one"]


def test_tools_that_cannot_be_opened_are_an_error_of_the_question() -> None:
    chat = Chat("one")

    def broken(*_: object) -> Any:
        raise RuntimeError("no shop today")

    chat.tools.open = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="no shop today"):
        chat.run(lambda dialogue: dialogue.ask("Q1"))
