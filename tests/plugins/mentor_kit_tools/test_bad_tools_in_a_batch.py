"""One batch of episodes: tools that hang, exit, fill the memory and flood, beside good ones; through the rollout."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "stages"))
sys.path.append(str(Path(__file__).parents[2] / "rollout"))
from mentor_kit_tools.functions import IsolatedTools, tools_of
from mentor_kit_tools.limits import Limits
from mentor_kit_tools.runner import Runner
from stage_fakes import ListContext, RecordingPolicy, experiment

from mentor_kit.backend.sampling import SampleRequest
from mentor_kit.core.agent import EpisodeLimits, EpisodeRequest, Reply
from mentor_kit.core.conversation import CallState, Message, ToolCall, assistant, call
from mentor_kit.core.task import TRAIN, Problem, Task
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rollout import run_async, run_episodes
from mentor_kit.stages.grpo import GRPOStage
from mentor_kit.stages.grpo_options import GRPOOptions

HERE = Path(__file__).parent
BAD: dict[str, tuple[ToolCall, str]] = {
    "hang": (call("hang"), "the tool took longer than 2 s"),
    "leave": (call("leave", code=1), "the tool ended its process (exit code 1)"),
    "fill": (call("fill"), "the tool ran out of memory (more than 256 MiB)"),
    "flood": (call("flood"), "the tool printed more than 64 KiB"),
}


class CallThenTell:
    """Makes the call of its episode, then says what came back."""

    name = "scripted"

    def start(self, episode: EpisodeRequest) -> CallThenTell:
        session = CallThenTell()
        session.episode = episode
        return session

    episode: EpisodeRequest

    async def respond(self, messages: Sequence[Message]) -> Reply:
        if messages[-1].role == "tool":
            return Reply(assistant(messages[-1].content))
        name = self.episode.id
        return Reply(assistant(calls=[BAD[name][0] if name in BAD else call("add", a=int(name), b=1)]))

    def trace(self) -> None:
        return None

    def close(self) -> None:
        return None


class Successor(Task):
    """The answer is the number after the problem's."""

    splits = (TRAIN,)

    def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
        return []

    def answer(self, trajectory: Trajectory) -> str | None:
        return trajectory.final_text

    def check(self, answer: str, problem: Problem) -> bool:
        return answer == problem.answer


def toolbox_of_bad_and_good() -> Toolbox:
    """The tools of `isolated_tools.py`; the one that hangs is not waited for as long as the others."""
    setup = {"module": "isolated_tools.py", "functions": [], "folder": str(HERE)}
    patient = Limits(seconds=120.0, memory_mb=256, output_kb=64)
    brief = patient.model_copy(update={"seconds": 2.0})
    runners = [Runner("mentor_kit_tools.functions:serve", setup, limits=some, workers=2) for some in (brief, patient)]
    tools = tools_of(runners[0].catalogue)
    hang = [tool for tool in tools if tool.name == "hang"]
    others = [tool for tool in tools if tool.name != "hang"]
    return Toolbox([IsolatedTools(runners[0], hang), IsolatedTools(runners[1], others)])


def test_each_bad_call_is_a_failed_call_and_the_good_ones_are_unharmed() -> None:
    toolbox = toolbox_of_bad_and_good()
    episodes = []
    for name in (*BAD, *map(str, range(12))):
        problem = Problem(id=name, question="?", answer=str(int(name) + 1) if name.isdigit() else "")
        episodes.append(EpisodeRequest(id=name, problem=problem, tools=toolbox.tools(problem), seed=0))
    played = run_async(
        run_episodes(CallThenTell(), episodes, task=Successor(), toolbox=toolbox, limits=EpisodeLimits())
    )
    toolbox.close()
    for trajectory in played:
        (made,) = trajectory.calls
        if trajectory.id in BAD:
            assert (made.state, made.error) == (CallState.FAILED, BAD[trajectory.id][1])
            assert not trajectory.correct
        else:
            assert made.state is CallState.EXECUTED
            assert trajectory.correct


@pytest.mark.slow
def test_a_step_of_grpo_ends_with_all_of_them_in_its_batch() -> None:
    """The stage itself, over a student that says what it is told; what is trained on is what the good tools gave."""
    names = list(BAD)

    def speak(request: SampleRequest, version: int) -> str:
        episode, _, turn = request.id.partition("/")
        number = int(episode.removeprefix("p").partition("#")[0])
        if turn != "0":
            return "5"
        made = BAD[names[number]][0] if number < len(names) else call("add", a=number, b=1)
        return f"!{made.name} {json.dumps(made.arguments)}"

    toolbox = toolbox_of_bad_and_good()
    policy = RecordingPolicy(speak)
    limits = EpisodeLimits(max_turn_tokens=40, max_response_tokens=400)
    context = ListContext(policy)
    options = {"steps": 1, "problems": 8, "group": 2, "optimizer": {"lr": 0.1}, "objective": {"kl": 0.0}}
    GRPOStage(GRPOOptions.model_validate(options)).run(experiment(policy, toolbox=toolbox, limits=limits), context)
    toolbox.close()
    assert policy.version == 1  # the step ended, with its update
    ((groups, _),) = policy.of("forward_backward")
    assert sum(len(group.completions) for group in groups) == 16
    for scored in context.rollouts[1]:
        number = int(scored.trajectory.problem_id.removeprefix("p"))
        (made,) = scored.trajectory.calls
        told = [message.content for message in scored.trajectory.messages if message.role == "tool"]
        if number < len(names):
            reason = BAD[names[number]][1]
            assert (made.state, made.error, told) == (CallState.FAILED, reason, [f"error: {reason}"])
        else:
            assert (made.state, told) == (CallState.EXECUTED, [str(number + 1)])
        assert scored.trajectory.final_text == "5"
