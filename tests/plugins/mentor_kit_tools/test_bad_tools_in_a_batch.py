"""One batch of episodes: tools that hang, exit, fill the memory and flood, beside good ones; through the rollout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mentor_kit_tools.functions import IsolatedTools, tools_of
from mentor_kit_tools.limits import Limits
from mentor_kit_tools.runner import Runner

from mentor_kit.actor import EpisodeLimits, Reply, Scene
from mentor_kit.conversation import CallState, Message, ToolCall, assistant, call
from mentor_kit.rollout import play, run_async
from mentor_kit.task import TRAIN, Problem
from mentor_kit.tool import Toolbox
from mentor_kit.trajectory import Trajectory

HERE = Path(__file__).parent
BAD: dict[str, tuple[ToolCall, str]] = {
    "hang": (call("hang"), "the tool took longer than 2 s"),
    "leave": (call("leave", code=1), "the tool ended its process (exit code 1)"),
    "fill": (call("fill"), "the tool ran out of memory (more than 256 MiB)"),
    "flood": (call("flood"), "the tool printed more than 64 KiB"),
}


class CallThenTell:
    """Makes the call of its scene, then says what came back."""

    name = "scripted"

    def start(self, scene: Scene) -> CallThenTell:
        speaker = CallThenTell()
        speaker.scene = scene
        return speaker

    scene: Scene

    async def respond(self, messages: Sequence[Message]) -> Reply:
        if messages[-1].role == "tool":
            return Reply(assistant(messages[-1].content))
        name = self.scene.id
        return Reply(assistant(calls=[BAD[name][0] if name in BAD else call("add", a=int(name), b=1)]))

    def trace(self) -> None:
        return None

    def close(self) -> None:
        return None


class Successor:
    """The answer is the number after the problem's."""

    splits = (TRAIN,)

    def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
        return []

    def answer(self, trajectory: Trajectory) -> str | None:
        return trajectory.final_text

    def check(self, answer: str, problem: Problem) -> bool:
        return answer == problem.answer


def test_each_bad_call_is_a_failed_call_and_the_good_ones_are_unharmed() -> None:
    setup = {"module": "isolated_tools.py", "functions": [], "folder": str(HERE)}
    patient = Limits(seconds=120.0, memory_mb=256, output_kb=64)
    brief = patient.model_copy(update={"seconds": 2.0})
    runners = [Runner("mentor_kit_tools.functions:serve", setup, limits=some, workers=2) for some in (brief, patient)]
    tools = tools_of(runners[0].catalogue)
    hang = [tool for tool in tools if tool.name == "hang"]
    others = [tool for tool in tools if tool.name != "hang"]
    toolbox = Toolbox([IsolatedTools(runners[0], hang), IsolatedTools(runners[1], others)])
    scenes = []
    for name in (*BAD, *map(str, range(12))):
        problem = Problem(id=name, question="?", answer=str(int(name) + 1) if name.isdigit() else "")
        scenes.append(Scene(id=name, problem=problem, tools=toolbox.tools(problem), seed=0))
    played = run_async(play(CallThenTell(), scenes, task=Successor(), toolbox=toolbox, limits=EpisodeLimits()))
    for runner in runners:
        runner.close()
    for trajectory in played:
        (made,) = trajectory.calls
        if trajectory.id in BAD:
            assert (made.state, made.error) == (CallState.FAILED, BAD[trajectory.id][1])
            assert not trajectory.correct
        else:
            assert made.state is CallState.EXECUTED
            assert trajectory.correct
