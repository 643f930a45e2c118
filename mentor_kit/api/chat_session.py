"""A chat with a student, or with several agents side by side: questions, the task's problems, tools by hand."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from mentor_kit.api.chat_events import (
    AnswerEnded,
    CallEnded,
    Demonstrated,
    EpisodesSaved,
    Failed,
    Judged,
    Note,
    Opened,
    ProblemOpened,
    Show,
    Tokens,
)
from mentor_kit.api.chat_side import Side
from mentor_kit.core.agent import EpisodeRequest
from mentor_kit.core.conversation import ToolCall
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import MentorKitError, UsageError, did_you_mean
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import TRAIN, Problem, Task
from mentor_kit.core.tool import Tool
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rl.reward import Breakdown, Scored
from mentor_kit.rollout.episode import outside_event_loop
from mentor_kit.runs.files import write_text
from mentor_kit.stages import Experiment
from mentor_kit.stages.experiment import PROBLEM_SEED
from mentor_kit.utils.randomness import derive_seed

T = TypeVar("T")

#: The problems of a split among which one is found by its id: where ids look like it (of training problems there are
#: more), and elsewhere. Some tasks take long to make them.
SEARCHED, SEARCHED_TRAINING, SEARCHED_ELSEWHERE = 1000, 20_000, 200
Form = Literal["scored", "demonstrations"]


class ChatSession:
    """A chat; made by `mentor_kit.api.chat`, and closed by `close` or at the end of a `with` block.

    What a person does wrong, and what a server or a template refuses, is an event `error`, and the chat goes on.
    Ctrl-C stops an answer, which is taken back with its question.

    Args:
        experiment: the recipe's components.
        sides: those who answer, in this order.
        show: shows events.
        seed: of all draws.
        resources: closed with the chat.
        attribution: names the plugin that fails.
    """

    def __init__(
        self,
        experiment: Experiment,
        sides: Sequence[Side],
        show: Show,
        *,
        seed: int,
        resources: ExitStack,
        runner: asyncio.Runner,
        attribution: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.experiment = experiment
        self.sides = tuple(sides)
        self.show = show
        self._seed = seed
        self.resources = resources
        self._attribution = attribution
        self._runner = runner
        self._dialogues = 0
        self._question: str | None = None
        """The last one, unless a problem was played after it."""
        self._problem: str | None = None
        """The id of the last one, unless a question was asked after it."""
        self._problems: dict[str, list[Problem]] = {}
        self._made: dict[str, int] = {}
        """How many problems of a split the task was asked for."""
        self._next: dict[str, int] = {}
        """By split: the place of the next problem."""
        self._scored: dict[str, Scored] = {}
        """The problems' episodes by id."""
        self._written: set[Path] = set()
        self._warned = False
        self._model = self._model_problem()
        tools = tuple(self.tools)
        self.show(
            Opened(
                agents=tuple(side.name for side in sides),
                descriptions=tuple(side.description for side in sides),
                tools=tools,
                temperature=self.temperature,
            )
        )

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The tools by name."""
        return self.experiment.toolbox.tools(self._model)

    @property
    def _single(self) -> str:
        """What a second question may come upon, for a message."""
        converses = type(self.experiment.task).next_user is not Task.next_user
        return "" if converses else ", and the task has single questions only"

    @property
    def temperature(self) -> float | None:
        """At which students are sampled; None where none is."""
        return next((side.temperature for side in self.sides if side.temperature is not None), None)

    def ask(self, question: str) -> None:
        """Ask all sides a question, one after the other."""
        for side in self.sides:
            if not side.takes_questions:
                self.show(Note(agent=side.name, text=f"{side.name} solves the task's problems only: /problem"))
        if any(side.questions for side in self.sides) and not self._warned:
            self._warned = True
            self.show(Note(text=f"this question continues the dialogue{self._single}; /new begins a fresh one"))
        self._question, self._problem = question, None
        self._attempt(lambda: self._ask(question))

    def retry(self) -> None:
        """Ask the last question again, or play the last problem again, with other random numbers."""
        if self.temperature == 0:
            self.show(Note(text="at temperature 0 a student gives the same answer again: /temperature 1"))
        if self._problem is not None:
            self.problem(self._problem)
        elif self._question is not None:
            for side in self.sides:
                if side.question == self._question:
                    side.back()
            self._attempt(lambda: self._ask(self._question or ""))
        else:
            self._fail(UsageError("there is nothing to do again", hint="ask something, or /problem"))

    def new(self) -> None:
        """End the dialogue; the next question begins another one."""
        self._attempt(self._end_dialogues)
        self.show(Note(text="a new dialogue begins with the next question"))

    def problem(self, name: str | None = None) -> None:
        """Let all sides solve a problem of the task, and show the scores and the teacher's demonstration.

        Args:
            name: a problem's id, or a split for its next problem; the next training problem if left out.
        """
        self._attempt(lambda: self._solve(name))

    def tool(self, name: str, arguments: Mapping[str, Json]) -> None:
        """Call a tool by hand, in the state that the tools have in the dialogue of the first side."""
        self._attempt(lambda: self._call(name, arguments))

    def raw(self) -> None:
        """Show the tokens of the last turn of every student."""

        def show() -> None:
            sampled = [side for side in self.sides if side.policy is not None]
            for side in sampled or self.sides[:1]:
                self.show(Tokens(agent=side.name, tokens=side.last_tokens()))

        self._attempt(show)

    def set_temperature(self, temperature: float) -> None:
        """Sample at another temperature from now on; 0 is greedy."""

        def change() -> None:
            if self.temperature is None:
                raise UsageError("no student is sampled here; a teacher's temperature is one of its options")
            if not 0 <= temperature <= 100:
                raise UsageError(f"temperature {temperature:g}: expected a number from 0 to 100")
            for side in self.sides:
                side.set_temperature(temperature)
            self.show(Note(text=f"temperature {temperature:g}"))

        self._attempt(change)

    def save(self, path: str | Path, form: Form = "scored") -> None:
        """Write all episodes so far to a file, one a line.

        Args:
            path: a new file, or one that this chat has written.
            form: `scored`, as a run keeps rollouts (a question that is no problem has reward 0), or `demonstrations`,
                which the teacher `recorded` reads.
        """
        self._attempt(lambda: self._save(Path(path).expanduser(), form))

    def close(self) -> None:
        """End the dialogues, and free models, tools and connections. May be called twice."""
        try:
            self._run(self._end_dialogues())
        finally:
            self.resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _attempt(self, work: Callable[[], Coroutine[Any, Any, None] | None]) -> None:
        """Do something; what goes wrong is shown, and Ctrl-C stops it."""
        try:
            with self._attribution():
                done = work()
                if done is not None:
                    self._run(done)
        except MentorKitError as error:
            self._fail(error)
        except KeyboardInterrupt:
            self.show(AnswerEnded(agent="", message=None, ending="stopped"))

    def _fail(self, error: MentorKitError) -> None:
        self.show(Failed.of(error))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return outside_event_loop(lambda: self._runner.run(work))

    async def _ask(self, question: str) -> None:
        opening = self._opening()
        for side in self.sides:
            if side.takes_questions:
                await side.ask(question, opening)

    def _opening(self) -> EpisodeRequest:
        """What a new dialogue begins with: the task's system message, tools and data, and no question yet."""
        problem = self._model.model_copy(update={"id": f"chat-{self._dialogues}"})
        tools = self.experiment.toolbox.tools(problem)
        seed = derive_seed(self._seed, "chat-tools", self._dialogues)
        return EpisodeRequest(id=problem.id, problem=problem, tools=tools, seed=seed)

    def _model_problem(self) -> Problem:
        """The first problem of the task, as the model of what is typed."""
        found = self._of_split(TRAIN, 1)
        if not found:
            return Problem(id="chat", question="", answer="", split="chat")
        changes = {"id": "chat", "question": "", "answer": "", "split": "chat", "history": (), "group": ""}
        return found[0].model_copy(update=changes)

    async def _end_dialogues(self) -> None:
        for side in self.sides:
            await side.new()
        self._dialogues += 1

    async def _solve(self, name: str | None) -> None:
        problem = self._find(name)
        self._problem = problem.id
        self.show(ProblemOpened(id=problem.id, split=problem.split, messages=problem.opening()))
        episodes = [(side, await side.solve(problem)) for side in self.sides]
        demonstration = await self._demonstration(problem)
        for side, trajectory in episodes:
            (scored,) = self.experiment.score_for_report([trajectory], [problem])
            self._scored[trajectory.id] = scored
            self.show(
                Judged(
                    agent=side.name,
                    problem=problem.id,
                    ending=trajectory.ending.value,
                    reason=trajectory.reason,
                    answer=trajectory.answer,
                    key=problem.answer,
                    correct=trajectory.correct,
                    tools_used=trajectory.tools_used,
                    reward=scored.reward if self.experiment.has_reward(problem.id) else None,
                )
            )
        self.show(Demonstrated(demonstration=demonstration))

    async def _demonstration(self, problem: Problem) -> Demonstration | None:
        """The teacher's first right demonstration, or else any; the teacher is asked where there is none yet."""
        known = self.experiment.demonstrations
        teacher = self.experiment.teacher
        if not known.of(problem) and teacher is not None:
            async for demonstration in teacher.demonstrate([problem]):
                known.add(demonstration)
        return next(iter(known.right(problem.id) or known.of(problem)), None)

    def _find(self, name: str | None) -> Problem:
        """The problem of that id, or the next one of a split.

        Raises:
            UsageError: there is none.
        """
        splits = self.experiment.task.splits
        wanted = TRAIN if name is None else name
        if wanted in splits:
            place = self._next.get(wanted, 0)
            found = self._of_split(wanted, place + 1)
            if not found:
                raise UsageError(f"the task has no problems in the split {wanted!r}")
            self._next[wanted] = place + 1
            return found[place % len(found)]
        alike = [s for s in splits if any(_shape(one.id) == _shape(wanted) for one in self._of_split(s, 1))]
        places = [(split, SEARCHED) for split in alike]
        places += [(TRAIN, SEARCHED_TRAINING)] if TRAIN in alike else []
        places += [(split, SEARCHED_ELSEWHERE) for split in splits if split not in alike]
        for split, count in places:
            for problem in self._of_split(split, count):
                if problem.id == wanted:
                    return problem
        ids = [problem.id for split in splits for problem in self._problems[split][:100]]  # guessing takes long
        raise UsageError(
            f"no problem is called {name!r}{did_you_mean(wanted, [*splits, *ids])}; "
            f"the first {SEARCHED_ELSEWHERE} or more of each split were looked at",
            hint=f"/problem takes an id, such as {ids[0]!r}, or a split: {', '.join(splits)}"
            if ids
            else f"the splits are {', '.join(splits)}",
        )

    def _of_split(self, split: str, count: int) -> list[Problem]:
        """At least the first `count` problems of a split, as training or evaluation has them, or all there are."""
        if self._made.get(split, 0) < count:
            seed = self.experiment.seed if split == TRAIN else PROBLEM_SEED
            self._made[split] = max(count, 2 * self._made.get(split, 0))
            self._problems[split] = self.experiment.problems(split, seed, self._made[split])
        return self._problems[split]

    async def _call(self, name: str, arguments: Mapping[str, Json]) -> None:
        opening = self._opening()
        if name not in opening.tools:
            known = ", ".join(opening.tools) or "none"
            raise UsageError(
                f"no tool is called {name!r}{did_you_mean(name, opening.tools)}", hint=f"the tools are: {known}"
            )
        call, result = await self.sides[0].dialogue(opening).call(ToolCall(name=name, arguments=dict(arguments)))
        self.show(CallEnded(agent="", call=call, result=result))

    def _save(self, path: Path, form: Form) -> None:
        if form not in ("scored", "demonstrations"):
            raise UsageError(f"{form!r} is no form of episodes", hint="/save FILE, or /save FILE demonstrations")
        episodes = [episode for side in self.sides for episode in side.episodes]
        if not episodes:
            raise UsageError("there is nothing to save yet", hint="ask something, or /problem")
        if path.exists() and path.resolve() not in self._written:
            raise UsageError(f"{path} exists already", hint="name a new file")
        if not path.parent.is_dir():
            raise UsageError(f"there is no folder {path.parent}", hint="name a file in a folder that exists")
        write_text(path, "".join(f"{self._line(episode, form)}\n" for episode in episodes))
        self._written.add(path.resolve())
        self.show(EpisodesSaved(path=str(path), episodes=len(episodes), form=form))

    def _line(self, episode: Trajectory, form: Form) -> str:
        if form == "demonstrations":
            demonstration = Demonstration.of(episode, teacher=episode.agent, provenance={"source": "chat"})
            return demonstration.to_json()
        found = self._scored.get(episode.id) or Scored(trajectory=episode, reward=Breakdown(total=0.0))
        return found.to_json()


def _shape(name: str) -> str:
    """A problem's id with its numbers left out: training problems' ids have one shape."""
    return re.sub(r"\d+", "#", name)
