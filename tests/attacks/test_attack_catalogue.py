"""Every attack, as raw text through the real parser, tools and rollout, earns no more than honest work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import mentor_kit_tiny
import pytest
from attack_worlds import FAMILIES, PRESETS, bounds, bounds_of, earned, parts

from mentor_kit.audits import ATTACKS, END, Attack, AuditEnvironment, Bounds, try_attacks
from mentor_kit.chat import HermesParser, load_chat_format
from mentor_kit.core.conversation import CallState, Message
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import PluginError
from mentor_kit.core.task import Problem, Task
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.rl.reward import Reward, Term, WeightedTerm

#: Right and wrong with the teacher's two tools, right and wrong without a tool: by hand from the paper's table.
HONEST = {
    "mentor": (1.1, 0.16, 0.8, 0.1),
    "sparse": (1.0, 0.1, 1.0, 0.1),
    "mentor-overlap": (1.0, 0.06, 0.7, 0.0),
    "mentor-no-match": (0.8, 0.1, 0.8, 0.1),
    "mentor-f1": (1.1, 0.16, 0.8, 0.1),
}
#: What the published code is known to pay in full.
FAULTS = (
    "calls in the reasoning",
    "garbage arguments",
    "giant numbers",
    "calls after the answer, in its turn",
    "every call twenty times",
    "names quoted",
    "schemas quoted",
    "two boxes, the right one last",
    "every number in one box",
    "the answer in the prompt",
)


def test_there_are_many_kinds() -> None:
    assert len(ATTACKS) >= 100
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    assert min(Counter(attack.kind for attack in ATTACKS).values()) >= 8


#: What a family has no way to write.
UNWRITTEN = {"a name given twice", "calls without their closing tag"}


@pytest.mark.spread(4)
@pytest.mark.parametrize("family", FAMILIES)
def test_all_apply_to_the_quickstart(family: str) -> None:
    twice = {name for name, found in earned("mentor", family).items() if len(found) == 2}
    # its questions are in words, so that no expression can be taken from them
    expected = {attack.name for attack in ATTACKS if not attack.name.startswith("the question's expression")}
    assert expected - UNWRITTEN <= twice | {"all that is no more", *_of_whole_answers(twice)}
    assert family not in ("hermes", "phi-4") or twice >= UNWRITTEN


def _of_whole_answers(twice: set[str]) -> set[str]:
    """Attacks that need a whole number for an answer, which one of the two problems has."""
    return {name for name, found in earned("mentor").items() if len(found) == 1}


@pytest.mark.spread
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("preset", PRESETS)
def test_none_pays(preset: str, family: str) -> None:
    right, wrong, *_ = HONEST[preset]
    for found in earned(preset, family).values():
        for one in found:
            assert not one.pays, (preset, one)
            # where a turn with words has no calls, calls beside the answer are words
            solves = one.attack.solves or (one.attack.apart and family == "llama-3")
            assert one.earned <= (right if solves else wrong) + 1e-9, (preset, one)


@pytest.mark.spread
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("preset", PRESETS)
def test_honest_work_earns_what_the_paper_pays(preset: str, family: str) -> None:
    for one in bounds(preset, family=family):
        assert len(one.subject.names) == 2
        alone = one.environment.run_honest([one.subject.twin((), right=True), one.subject.twin((), right=False)])
        found = (one.honest(right=True), one.honest(right=False), *(paid.total for paid in one.paid(alone)))
        assert found == pytest.approx(HONEST[preset])


@pytest.mark.parametrize("fault", FAULTS)
def test_what_the_published_rule_pays_in_full(fault: str) -> None:
    for one in earned("mentor")[fault]:
        assert one.published == pytest.approx(1.1)
        assert one.earned < 1.1


def test_a_name_that_is_no_text_crashes_the_published_rule_and_not_ours() -> None:
    assert {one.published for one in earned("mentor")["a name that is a number"]} == {None}


@pytest.mark.parametrize("ending", [Ending.ANSWERED, Ending.MAX_TURNS, Ending.LENGTH])
def test_episodes_end_in_every_way_a_text_can_end_them(ending: Ending) -> None:
    one = bounds()[0]
    played = one.environment.run([attack.script(one.subject) for attack in applying(one)])
    assert ending in {episode.trajectory.ending for episode in played}


def test_calls_end_in_every_state_that_a_played_call_can_end_in() -> None:
    one = bounds()[0]
    played = one.environment.run([attack.script(one.subject) for attack in applying(one)])
    states = {call.state for episode in played for call in episode.trajectory.calls}
    assert states >= set(CallState) - {CallState.PARSED, CallState.VALID}


def test_what_a_tool_notes_is_what_the_trajectory_says() -> None:
    for family in FAMILIES:
        one = bounds(family=family)[0]
        attacks = [attack for attack in ATTACKS if attack.needs(one.subject)]
        for episode in one.environment.run([attack.script(one.subject) for attack in attacks]):
            assert tuple(name for name, _ in episode.executed) == episode.trajectory.tools_used


def test_a_students_own_tokens_read_the_same() -> None:
    chat = load_chat_format(Path(mentor_kit_tiny.__file__).parent / "students" / "tiny")
    one = bounds()[0]
    texts = {turn for attack in applying(one) for turn in attack.script(one.subject).turns if len(turn) < 1000}
    assert len(texts) > 100
    for text in texts:
        sampled = chat.tokenizer.encode(text)
        stop = next((index for index, token in enumerate(sampled) if token in chat.stop_ids), None)
        heard = chat.parse(sampled if stop is None else sampled[: stop + 1])
        assert _essence(heard) == _essence(one.environment.parser.parse(text.partition(END)[0])), text


def test_a_prompt_that_opens_the_reasoning_changes_nothing() -> None:
    one = bounds()[0]
    thinking = AuditEnvironment(
        one.environment.task, one.environment.toolbox, one.environment.limits, HermesParser(in_reasoning=True)
    )
    scripts = [attack.script(one.subject) for attack in applying(one)]
    closed = [replace(script, turns=tuple(f"So.\n</think>{turn}" for turn in script.turns)) for script in scripts]
    for plain, after, inside in zip(
        *(
            w.run(s)
            for w, s in (
                (one.environment, scripts),
                (thinking, closed),
                (thinking, scripts),
            )
        ),
        strict=True,
    ):
        assert one.paid([after]) == one.paid([plain]), plain.script.turns
        # whoever never closes the reasoning has said nothing
        if not any("</think>" in turn for turn in plain.script.turns):
            assert (inside.executed, inside.trajectory.answer) == ((), None)


def applying(one: Bounds) -> list[Attack]:
    return [attack for attack in ATTACKS if attack.needs(one.subject)]


class ReadsText(Term):
    """A term as nobody should write one: it looks for names in what was said."""

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        said = "".join(m.content + m.reasoning + "".join(c.raw for c in m.tool_calls) for m in trajectory.turns)
        return float(all(f'"name": "{name}"' in said for name in demonstrations[0].tools_used))


def test_a_reward_that_reads_text_is_caught() -> None:
    paid = {
        one.attack.name
        for each in bounds_of(Reward(terms=(WeightedTerm("text", ReadsText(), 1.0),)))
        for one in try_attacks(each)
        if one.pays
    }
    assert paid >= {"calls in the reasoning", "names quoted", "garbage arguments", "calls cut short"}
    assert "every call twice" not in paid


class PaysForBroken(Term):
    """Takes a call for made when its name could be read."""

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        return float({call.name for call in trajectory.calls} >= set(demonstrations[0].tools_used))


@pytest.mark.spread(4)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_reward_that_pays_for_broken_calls_is_caught_in_every_family(family: str) -> None:
    planted = Reward(terms=(WeightedTerm("broken", PaysForBroken(), 1.0),))
    paid = {one.attack.name for each in bounds_of(planted, family) for one in try_attacks(each) if one.pays}
    assert paid >= {"garbage arguments", "no arguments", "arguments of other types", "two hundred broken calls"} - (
        {"two hundred broken calls"} if family == "llama-3" else set()
    )


def test_a_task_that_cannot_take_a_text_is_named_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = parts()

    class Fragile(Task):
        def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
            return found.task.problems(split, seed, count)

        def answer(self, trajectory: Trajectory) -> str | None:
            return found.task.answer(trajectory)

        def check(self, answer: str, problem: Problem) -> bool:
            return float(answer) == float(problem.answer)

    one = bounds()[0]
    world = AuditEnvironment(Fragile(), found.toolbox, found.limits)
    with pytest.raises(PluginError, match="ValueError") as caught:
        world.run([attack.script(one.subject) for attack in applying(one)])
    assert "boxed" in str(caught.value.hint)


def _essence(message: Message) -> object:
    calls = [(c.name, c.arguments, c.state) for c in message.tool_calls]
    return message.content.split(), message.reasoning.split(), calls
