"""Previews against what the recipe, the tokenizer and a person with a pencil say."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import AsyncIterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pluggy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit import api
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import ExitCode, MissingError, UsageError
from mentor_kit.core.task import Problem
from mentor_kit.core.teacher import Teacher
from mentor_kit.hooks import Plugins, Registry, hookimpl, load_plugins
from mentor_kit.report.preview import Preview, previewing
from mentor_kit.report.preview.cost import EpisodeTokens, Rates
from mentor_kit.report.preview.page import preview_page
from mentor_kit.report.preview.text import CLOSE, OPEN, preview_text, visible

HOSTILE = '</pre><script>alert(1)</script><img src=x onerror="alert(2)">\x1b[31m &amp;'


@pytest.fixture(scope="module")
def found() -> Preview:
    return api.preview("quickstart")


def test_the_prompt_has_the_question_and_every_tool(found: Preview) -> None:
    assert [problem.id for problem in found.problems] == ["train-0-0", "train-0-1", "train-0-2"]
    for problem in found.problems:
        assert problem.question in problem.prompt
        assert set(problem.tools) == set(found.tools)
        assert all(name in problem.prompt for name in problem.tools)
        assert problem.key not in problem.prompt.split()


def test_the_assistants_words_are_trained_on_and_no_others(found: Preview) -> None:
    for problem in found.problems:
        (shown,) = problem.demonstrations
        assert shown.trajectory is not None
        trained = [span.string for span in shown.spans if span.trained]
        masked = "".join(span.string for span in shown.spans if not span.trained)
        assert len(trained) == len(shown.trajectory.turns)
        for turn, string in zip(shown.trajectory.turns, trained, strict=True):
            assert turn.content in string
            assert all(f'"{call.name}"' in string for call in turn.tool_calls)
        for message in shown.trajectory.episode:
            if message.result is not None:
                assert message.result.content in masked


def test_a_right_demonstration_earns_the_whole_reward(found: Preview) -> None:
    # the paper's weights: 0.7 for the answer, 0.3 for the teacher's tools, 0.1 for known ones
    for problem in found.problems:
        (shown,) = problem.demonstrations
        assert shown.reward is not None
        assert shown.reward.total == pytest.approx(1.1)
    assert found.reward_maximum == pytest.approx(1.1)


def test_lengths_are_counted_against_the_limits_of_the_recipe() -> None:
    found = api.preview("quickstart", overrides={"rollout.max_turn_tokens": 12, "rollout.max_turns": 2}, problems=16)
    lengths = {one.name: one for one in found.lengths}
    spans = [shown.spans for problem in found.problems for shown in problem.demonstrations]
    turns = [span.tokens for one in spans for span in one if span.trained]
    assert (lengths["turn"].limit, lengths["turn"].largest) == (12, max(turns))
    assert lengths["turn"].above == sum(tokens > 12 for tokens in turns) > 0
    faulty = [one for one in spans if max(span.tokens for span in one if span.trained) > 12 or len(one) > 2 * 2]
    assert found.faulty == len(faulty) == sum(bool(s.faults) for p in found.problems for s in p.demonstrations)


def test_tokens_of_a_conversation_with_a_server() -> None:
    # 100 in the prompt; a turn of 10 and its result of 5; then a turn of 20
    counted = EpisodeTokens.of_spans(100, [(10, True), (5, False), (20, True)])
    assert counted == EpisodeTokens(requests=2, input_tokens=100 + 115, output_tokens=30)


class Expensive(Teacher):
    """Solves nothing, at a price."""

    name = "expensive"
    concurrency = 4

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        self.asked += [problem.id for problem in problems]
        for problem in problems:
            yield Demonstration(problem_id=problem.id, teacher=self.name, tools_used=("add",), correct=False)

    def cost(self, input_tokens: int, output_tokens: int) -> float | None:
        return input_tokens * 2e-6 + output_tokens * 8e-6


@pytest.mark.parametrize(
    ("rates", "dollars"),
    [
        (Rates(), 2 + 8),
        (Rates(price_in=3), 3 + 8),
        (Rates(price_out=1), 2 + 1),
        (Rates(price_in=0, price_out=1), 1),
    ],
)
def test_a_price_that_is_left_out_is_the_teachers(rates: Rates, dollars: float) -> None:
    assert rates.dollars(Expensive(), 1_000_000, 1_000_000) == pytest.approx(dollars)


def registry_with(teacher: Teacher) -> Registry:
    class Plugin:
        @hookimpl
        def register_teachers(self, register: Any) -> None:
            register("expensive", build=lambda options, context: teacher)

    loaded = load_plugins()
    manager = pluggy.PluginManager("mentorkit")
    for name, plugin in loaded.manager.list_name_plugin():
        manager.register(plugin, name)
    manager.register(Plugin(), "test")
    return Registry(Plugins(manager, loaded.found))


def test_an_expensive_teacher_is_asked_on_request_only() -> None:
    teacher = Expensive()
    registry = registry_with(teacher)
    found = api.preview("quickstart", overrides={"teacher.use": "expensive"}, registry=registry)
    assert teacher.asked == []
    assert any("--ask" in note for note in found.notes)
    assert found.cost is not None
    # 24 steps of 32 problems need a demonstration each
    assert found.cost.problems == 768
    assert found.cost.dollars == pytest.approx(2e-6 * found.cost.input_tokens + 8e-6 * found.cost.output_tokens)
    dearer = api.preview(
        "quickstart", overrides={"teacher.use": "expensive"}, registry=registry, price_in=4.0, price_out=16.0
    )
    assert dearer.cost is not None
    assert dearer.cost.dollars == pytest.approx(2 * (found.cost.dollars or 0))
    asked = api.preview("quickstart", overrides={"teacher.use": "expensive"}, registry=registry, ask=True)
    assert teacher.asked == [f"train-0-{index}" for index in range(16)]
    assert asked.problems[0].demonstrations[0].tools_used == ("add",)


def test_without_a_key_the_rest_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    overrides = {"teacher": {"use": "openai", "with": {"model": "large"}}}
    found = api.preview("quickstart", overrides=overrides)
    assert any("OPENAI_API_KEY" in note for note in found.notes)
    assert found.problems[0].prompt


def test_without_a_tokenizer_problems_and_demonstrations_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(loaded: object, registry: object, student: StudentSpec) -> None:
        raise MissingError(f"no tokenizer for {student.model!r}")

    monkeypatch.setattr(previewing, "student_format", nowhere)
    found = api.preview("quickstart", overrides={"student.model": "nobody/nothing-1B"})
    assert any("nobody/nothing-1B" in note for note in found.notes)
    first = found.problems[0]
    assert (first.prompt, first.prompt_tokens) == ("", None)
    assert first.demonstrations[0].trajectory is not None
    assert first.question in preview_text(found, colours=False).plain


def test_one_problem_by_its_id_and_a_split() -> None:
    found = api.preview("quickstart", problem="train-0-40")
    assert [problem.id for problem in found.problems] == ["train-0-40"]
    assert api.preview("quickstart", split="out-of-domain", problems=1).problems[0].split == "out-of-domain"
    for wrong in ({"problem": "train-0-x"}, {"split": "nowhere"}, {"price_in": -1.0}, {"tokens_per_second": 0.0}):
        with pytest.raises(UsageError):
            api.preview("quickstart", **wrong)


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.data = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.data += data


def test_what_others_wrote_is_no_markup(found: Preview) -> None:
    first, *others = found.problems
    (shown,) = first.demonstrations
    spans = tuple(span.model_copy(update={"string": HOSTILE}) for span in shown.spans)
    shown = shown.model_copy(update={"spans": spans, "faults": (HOSTILE,), "teacher": HOSTILE})
    first = first.model_copy(
        update=dict.fromkeys(("id", "group", "question", "key", "prompt"), HOSTILE) | {"demonstrations": (shown,)}
    )
    notes = (HOSTILE,)
    page = preview_page(found.model_copy(update={"problems": (first, *others), "notes": notes, "recipe": HOSTILE}))
    elements = Elements()
    elements.feed(page)
    assert not elements.names & {"script", "img", "link", "iframe", "object"}
    assert elements.data.count(HOSTILE) >= 8 + len(spans)
    assert "default-src 'none'" in page


@given(st.text(max_size=50))
def test_no_control_character_reaches_a_terminal(string: str) -> None:
    shown = visible(string)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    if not any(unicodedata.category(char) in ("Cc", "Cf") for char in string):
        assert shown == string


def test_marks_stand_around_trained_tokens(found: Preview) -> None:
    plain = preview_text(found, colours=False).plain
    turns = sum(len(shown.trajectory.turns) for p in found.problems for shown in p.demonstrations if shown.trajectory)
    marks = sum(len([line for line in plain.splitlines() if mark in line]) for mark in (OPEN, CLOSE))
    assert marks == 2 * turns + 2 * len(found.problems)  # the line that explains the marks has both
    assert OPEN not in preview_text(found, colours=True).plain


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mentor_kit.cli.app import run_app

    page = tmp_path / "preview.html"
    assert run_app(["preview", "quickstart", "--problems", "1", "--json", "-o", str(page)]) == ExitCode.DONE
    data = json.loads(capsys.readouterr().out)
    assert data["problems"][0]["id"] == "train-0-0"
    assert page.read_text().startswith("<!doctype html>")
    assert run_app(["preview", "quickstart", "--split", "nowhere"]) == ExitCode.USAGE
