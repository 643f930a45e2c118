"""Chats from Python, with agents of scripts: what they show, what they keep, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from rollout_fakes import EchoTask, RecordingTools, ScriptedEngine, ToyFormat

from mentor_kit import api
from mentor_kit.api.chat_events import ChatEvent
from mentor_kit.api.chat_session import ChatSession
from mentor_kit.api.chat_side import Side
from mentor_kit.backend.engine_sampler import EngineSampler
from mentor_kit.backend.sampling import SampleRequest
from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.errors import MentorKitError
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.rollout import PolicyAgent, Sampling, run_async
from mentor_kit.runs.records import read_scored
from mentor_kit.stages import EvaluationPlan, Experiment

CALL = '!say {"word": "hi"}'


def say(word: str) -> str:
    """Say a word."""
    if word == "rude":
        raise ValueError("not that one")
    return word


class Shown(list[ChatEvent]):
    """The events of a chat."""

    def of(self, kind: str) -> list[Any]:
        return [event for event in self if event.kind == kind]  # type: ignore[attr-defined]

    def words(self, agent: str = "student") -> str:
        return "".join(event.text for event in self.of("words") if event.agent == agent)


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
def asked() -> list[SampleRequest]:
    """The requests of all students."""
    return []


@pytest.fixture
def open_chat(shown: Shown, asked: list[SampleRequest]) -> Iterator[Callable[..., ChatSession]]:
    """Opens a chat with students that say one of their turns after the other."""
    with ExitStack() as stack:

        def opened(*students: list[str]) -> ChatSession:
            toolbox = Toolbox([RecordingTools(Tool.from_function(say))])
            experiment = Experiment(
                name="chat",
                seed=0,
                student=None,
                task=EchoTask(),
                toolbox=toolbox,
                limits=EpisodeLimits(max_turn_tokens=80),
                sampling=Sampling(),
                evaluation=EvaluationPlan(),
            )
            sides = [
                Side(name, _student(turns, asked), experiment, shown.append, seed=0, description=name)
                for name, turns in zip(("student", "other"), students, strict=False)
            ]
            runner = stack.enter_context(asyncio.Runner())
            session = ChatSession(experiment, sides, shown.append, seed=0, resources=ExitStack(), runner=runner)
            return stack.enter_context(session)

        yield opened


def _student(turns: list[str], asked: list[SampleRequest]) -> PolicyAgent:
    said = iter(turns)

    def script(request: SampleRequest) -> str:
        asked.append(request)
        return next(said)

    return PolicyAgent(
        "student",
        ToyFormat(),  # type: ignore[arg-type]
        EngineSampler(ScriptedEngine(script), deterministic=False),
        Sampling(),
        EpisodeLimits(),
        1000,
    )


def test_a_question_shows_words_calls_and_results(open_chat: Callable[..., ChatSession], shown: Shown) -> None:
    open_chat([CALL, '!say {"word": "rude"}', "done"]).ask("Q")
    assert shown.words() == "done"
    assert [event.call.name for event in shown.of("call")] == ["say", "say"]
    assert [(event.call.state, event.result.content) for event in shown.of("result")] == [
        ("executed", "hi"),
        ("failed", "error: ValueError: not that one"),
    ]
    (answer,) = shown.of("answer")
    assert (answer.ending, answer.message.content, answer.context) == ("answered", "done", 1000)


def test_answers_of_several_students_come_one_after_the_other(
    open_chat: Callable[..., ChatSession], shown: Shown
) -> None:
    open_chat(["one"], ["two"]).ask("Q")
    assert (shown.words("student"), shown.words("other")) == ("one", "two")
    assert [event.agent for event in shown.of("answer")] == ["student", "other"]


def test_retry_asks_the_same_in_the_same_dialogue_with_other_draws(
    open_chat: Callable[..., ChatSession], asked: list[SampleRequest]
) -> None:
    chat = open_chat(["one", "two", "three"])
    chat.ask("Q1")
    chat.ask("Q2")
    chat.retry()
    (side,) = chat.sides
    assert [message.content for message in side.episodes[0].messages] == ["Q1", "one", "Q2", "three"]
    assert len({request.seed for request in asked}) == 3


def test_a_new_dialogue_knows_nothing_of_the_last_one(open_chat: Callable[..., ChatSession]) -> None:
    chat = open_chat(["one", "two"])
    chat.ask("Q1")
    chat.new()
    chat.ask("Q2")
    dialogues = [[message.content for message in episode.messages] for episode in chat.sides[0].episodes]
    assert dialogues == [["Q1", "one"], ["Q2", "two"]]


def test_a_problem_is_scored_and_can_be_tried_again(open_chat: Callable[..., ChatSession], shown: Shown) -> None:
    chat = open_chat(["wrong", "right", "right"])
    chat.problem()
    chat.retry()
    chat.problem()
    assert [event.id for event in shown.of("problem")] == ["p0", "p0", "p1"]
    assert [(event.answer, event.key, event.correct) for event in shown.of("score")] == [
        ("wrong", "right", False),
        ("right", "right", True),
        ("right", "right", True),
    ]


def test_the_tokens_of_the_last_turn(open_chat: Callable[..., ChatSession], shown: Shown) -> None:
    chat = open_chat(["ab"])
    chat.raw()
    assert [event.error for event in shown.of("error")] == ["UsageError"]
    chat.ask("Q")
    chat.raw()
    (tokens,) = shown.of("tokens")
    assert [(token.id, token.text) for token in tokens.tokens] == [(97, "a"), (98, "b"), (5, "")]
    assert all(token.log_prob < 0 for token in tokens.tokens)


def test_a_dialogue_with_several_temperatures_is_kept_without_tokens(
    open_chat: Callable[..., ChatSession], shown: Shown, tmp_path: Path
) -> None:
    chat = open_chat(["one", "two", "three"])
    chat.set_temperature(0.5)
    chat.ask("Q1")
    chat.new()
    chat.ask("Q2")
    chat.set_temperature(0)
    chat.ask("Q3")
    chat.set_temperature(-1)
    chat.save(tmp_path / "chat.jsonl")
    first, second = read_scored(tmp_path / "chat.jsonl")
    assert first.trajectory.tokens is not None
    assert (first.trajectory.tokens.temperature, second.trajectory.tokens) == (0.5, None)
    assert len(shown.of("error")) == 1


def test_a_file_of_others_is_not_written_over(
    open_chat: Callable[..., ChatSession], shown: Shown, tmp_path: Path
) -> None:
    mine, other = tmp_path / "mine.jsonl", tmp_path / "other.jsonl"
    other.write_text("precious")
    chat = open_chat(["one", "two"])
    chat.save(mine)
    assert len(shown.of("error")) == 1  # nothing to save yet
    chat.ask("Q1")
    for path in (mine, other, tmp_path / "nowhere" / "x.jsonl"):
        chat.save(path)
    chat.ask("Q2")
    chat.save(mine)
    assert [event.path for event in shown.of("saved")] == [str(mine), str(mine)]
    assert len(shown.of("error")) == 3
    assert (other.read_text(), len(read_scored(mine))) == ("precious", 1)


def test_tools_by_hand(open_chat: Callable[..., ChatSession], shown: Shown) -> None:
    chat = open_chat([])
    chat.tool("say", {"word": "me"})
    chat.tool("say", {})
    chat.tool("sey", {})
    assert [(event.call.state, event.agent) for event in shown.of("result")] == [
        ("executed", ""),
        ("invalid_arguments", ""),
    ]
    assert "did you mean 'say'?" in shown.of("error")[0].message


def test_saved_demonstrations_are_what_the_teacher_recorded_shows(shown: Shown, tmp_path: Path) -> None:
    """The script of quickstart's teacher solves a problem; what was saved demonstrates it, without any model."""
    file = tmp_path / "shown.jsonl"
    with api.chat("quickstart", shown.append, agent="teacher") as chat:
        chat.ask("Anything?")
        chat.problem("in-domain")
        chat.save(file, "demonstrations")
        chat.save(tmp_path / "scored.jsonl")
        (problem,) = chat.experiment.problems("in-domain", 0, 1)
        loaded = api.check("quickstart", overrides={"teacher": {"use": "recorded", "with": {"path": str(file)}}})
        from mentor_kit.hooks.loader import default_registry

        context = BuildContext(registry=default_registry(), task=chat.experiment.task, recipe_folder=tmp_path)
        assert loaded.recipe.teacher is not None
        recorded = default_registry().build("teachers", loaded.recipe.teacher, context)

        async def demonstrated() -> list[Any]:
            return [shown async for shown in recorded.demonstrate([problem])]

        (demonstration,) = run_async(demonstrated())
    assert (demonstration.correct, demonstration.teacher) == (True, "scripted")
    assert demonstration.tools_used == shown.of("score")[0].tools_used != ()
    (scored,) = read_scored(tmp_path / "scored.jsonl")
    assert scored.reward == shown.of("score")[0].reward
    assert scored.reward.total == pytest.approx(1.1)
    assert shown.of("note")[0].agent == "teacher"


def test_a_chat_inside_an_event_loop_as_in_a_notebook(shown: Shown) -> None:
    async def cell() -> None:
        with api.chat("quickstart", shown.append, agent="teacher") as chat:
            chat.problem("in-domain")

    asyncio.run(cell())
    assert [score.correct for score in shown.of("score")] == [True]


@pytest.mark.parametrize(
    "arguments",
    [
        {"subject": "quickstart", "checkpoint": "best"},
        {"subject": "quickstart", "against": "untrained"},
        {"subject": "quickstart", "against": "nobody/there"},
        {"subject": "quickstart", "agent": "scriptd"},
        {"subject": "quickstart", "agent": {"use": "recorded", "with": {"path": "x"}}},
        {"subject": "nothing-called-so"},
        {"subject": "quickstart", "sead": 3},
        {"subject": "quickstart", "seed": -1},
    ],
)
def test_what_cannot_be_opened_is_an_error_of_ours(
    arguments: dict[str, Any], shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MentorKitError):
        api.chat(show=shown.append, **arguments)


def test_a_training_problem_is_found_by_its_id(open_chat: Callable[..., ChatSession], shown: Shown) -> None:
    chat = open_chat(["right"])
    chat.problem("p4321")
    chat.problem("q1")
    assert [event.id for event in shown.of("problem")] == ["p4321"]
    assert [event.error for event in shown.of("error")] == ["UsageError"]
