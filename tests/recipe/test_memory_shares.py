"""A teacher's model beside the student's: both have memory set aside, in dry runs as in runs, and neither more."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict
from shipped_recipes import tiny_model
from test_plan import with_plugin

from mentor_kit import api
from mentor_kit.backend.hosted_model import HostedModel, model_need, share_memory
from mentor_kit.backend.memory import GIB, DeviceMemory, MemoryEstimate, MemoryLoad
from mentor_kit.backend.policy import Backend, Policy
from mentor_kit.backend.sampling import SampleRequest
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import BackendError, MissingError
from mentor_kit.core.teacher import Teacher
from mentor_kit.hooks import BuildContext, Registry, hookimpl, load_plugins
from mentor_kit.recipe.memory_shares import PROMPT, Guest, guests_of, set_aside
from mentor_kit.recipe.model import Recipe, Rollout
from mentor_kit.recipe.plan import RunPlan
from mentor_kit.rl.reward import Reward, WeightedTerm
from mentor_kit.stages import EvaluationPlan, TeacherUse, Workload

STUDENT = StudentSpec("a student")


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    place: str = "shelf"
    memory: int | None = None


@dataclass(frozen=True)
class Shelf(Backend):
    """Weights take 100 bytes, and each sequence 10; real models are loaded by torch. `log` has what was loaded."""

    options: Options = field(default_factory=Options)
    has: int | None = None
    log: list[tuple[str, int | None]] = field(default_factory=list)
    inner: Backend | None = None

    def place(self) -> str:
        return self.options.place

    def memory_limit(self) -> int | None:
        return self.options.memory

    def device_memory(self) -> DeviceMemory | None:
        return None if self.has is None else DeviceMemory(device="shelf", bytes=self.has, usable=self.has)

    def held_to(self, memory: int) -> Shelf:
        return Shelf(self.options.model_copy(update={"memory": memory}), self.has, self.log, self.inner)

    def estimate(self, student: StudentSpec, load: MemoryLoad) -> MemoryEstimate:
        self.log.append((f"estimated for {load.sequences}", load.memory))
        parts = {"weights": 100 * GIB, "keys and values": 10 * GIB * min(load.sequences, 8)}
        return MemoryEstimate(parameters=1, trainable=1, parts=parts, rows=min(load.sequences, 8))

    def load(self, student: StudentSpec, seed: int) -> Policy:
        self.log.append((Path(student.model).name, self.memory_limit()))
        assert self.inner is not None
        return self.inner.load(student, seed)


@pytest.mark.parametrize(("sequences", "work"), [(1, 20.0625), (4, 50), (800, 100)])
def test_what_a_model_needs(sequences: int, work: float) -> None:
    found = model_need(HostedModel(Shelf(), STUDENT), None, sequences=sequences, context=64)
    # one sequence's keys and values twice, and a little
    assert (found.weights / GIB, found.least / GIB, found.work / GIB) == (100, 20.0625, work)


@pytest.mark.parametrize(
    ("places", "one_memory"),
    [
        (("cuda:0", "cuda:0"), True),
        (("cuda:0", "cuda:1"), False),
        (("cuda:0", "auto"), False),
        (("main memory", "auto"), True),
        (("auto", "auto"), True),
        (("main memory", "cuda:0"), False),
        (("", ""), False),
        (("", "auto"), False),
    ],
)
def test_which_share_a_memory(places: Sequence[str], one_memory: bool) -> None:
    one, other = (Shelf(Options(place=place)) for place in places)
    assert share_memory(one, other) is share_memory(other, one) is one_memory


@pytest.mark.parametrize(("place", "one_memory"), [("cuda:0", True), ("cuda:1", False), ("main memory", False)])
def test_auto_is_the_first_gpu_where_one_is_planned_for(place: str, one_memory: bool) -> None:
    one, other = Shelf(Options(place="auto")), Shelf(Options(place=place))
    assert share_memory(one, other, planned=True) is share_memory(other, one, planned=True) is one_memory


def shelves(has: int) -> tuple[Registry, list[tuple[str, int | None]]]:
    """A registry with the backend `shelf`, and the log of all that are built."""
    log: list[tuple[str, int | None]] = []
    real = Registry(load_plugins())

    class Theirs:
        @staticmethod
        @hookimpl
        def register_backends(register: Any) -> None:
            inner: Backend = real.build("backends", ComponentSpec(use="torch"), BuildContext(real))
            register("shelf", options=Options, build=lambda options, context: Shelf(options, has * GIB, log, inner))

    return with_plugin(Theirs(), "theirs"), log


def settings(model: Path, *, backend: dict[str, Any] | str = "shelf", own: bool = False) -> dict[str, Any]:
    teacher = {"use": "local", "with": {"model": str(model), "backend": backend}}
    stage = {"steps": 1, "problems": 4, "group": 2, "minibatches": 1, "optimizer": {"lr": 1e-4}}
    if own:
        stage |= {"teacher": teacher, "objective": {"preset": "opd"}}
    return {
        "backend": "shelf",
        "teacher": {"use": "scripted"} if own else teacher,
        "train": [{"use": "grpo", "with": stage}],
        "evaluate": {"at_start": False, "at_end": False},
    }


def planned(registry: Registry, overrides: dict[str, Any]) -> RunPlan:
    return api.plan("quickstart", overrides=overrides, registry=registry)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model(), tmp_path / "teacher"))


def test_a_run_is_held_to_what_its_dry_run_says(model: Path, tmp_path: Path) -> None:
    registry, log = shelves(400)
    overrides = settings(model, own=True)
    found = planned(registry, overrides)
    assert found.memory is not None
    # one that only reads takes a pass of one sequence
    assert found.memory.parts["other models"] == (100 + 20.0625) * GIB
    assert ("estimated for 1", 400 * GIB) in log
    assert ("estimated for 8", int((400 - 120.0625) * GIB)) in log
    assert found.memory.total == (100 + 80 + 120.0625) * GIB
    assert "120 GiB for the teacher 'local' of a stage" in found.text()
    log.clear()
    api.run("quickstart", overrides=overrides, registry=registry, output=tmp_path / "runs")
    assert loaded(log) == [("tiny", int((400 - 120.0625) * GIB)), ("teacher", int(120.0625 * GIB))]


def loaded(log: list[tuple[str, int | None]]) -> list[tuple[str, int | None]]:
    return [each for each in log if not each[0].startswith("estimated")]


def test_one_that_demonstrates_is_counted_with_what_it_samples(model: Path) -> None:
    found = planned(shelves(1000)[0], settings(model))
    assert found.memory is not None
    assert found.memory.parts["other models"] == (100 + 4 * 10 * 1.25) * GIB
    assert found.fits


def test_evaluations_ask_the_teacher_too(model: Path) -> None:
    overrides = settings(model) | {"train": ["evaluate"]}
    found = planned(shelves(1000)[0], overrides)
    assert found.memory is not None
    assert found.memory.parts["other models"] == 200 * GIB


EVALUATED = {"evaluate": {"at_start": False, "on": [{"split": "in-domain", "problems": 4}]}}


def test_a_teacher_that_a_stage_names_too_is_one_model(model: Path) -> None:
    overrides = settings(model, own=True) | {"teacher": settings(model)["teacher"]}
    found = planned(shelves(1000)[0], overrides)
    assert found.memory is not None
    assert found.memory.parts["other models"] == 120.0625 * GIB  # it only reads, as nothing is evaluated
    found = planned(shelves(1000)[0], overrides | EVALUATED)
    assert found.memory is not None
    assert found.memory.parts["other models"] == 150 * GIB


def test_passes_have_a_quarter_of_what_all_weights_leave(model: Path) -> None:
    other = settings(Path(shutil.copytree(model, model.with_name("other"))))["teacher"]
    found = planned(shelves(460)[0], settings(model, own=True) | EVALUATED | {"teacher": other})
    assert found.memory is not None
    # of what weights and a sequence each leave, 119.875, a quarter in two parts; one only reads
    assert found.memory.parts["other models"] == (100 + 20.0625 + 119.875 / 8 + 100 + 20.0625) * GIB


def test_a_teacher_that_nothing_asks_is_no_guest(model: Path) -> None:
    stage = {"use": "sft", "with": {"steps": 1, "teacher": {"use": "scripted"}, "optimizer": {"lr": 1e-4}}}
    overrides = settings(model) | {"train": [stage]}
    for evaluated, count in ((EVALUATED, 1), ({}, 0)):
        found = planned(shelves(1000)[0], overrides | evaluated)
        assert found.memory is not None
        assert ("other models" in found.memory.parts) is bool(count)


def test_what_does_not_fit_beside_a_teacher(model: Path, tmp_path: Path) -> None:
    registry, _ = shelves(240)
    found = planned(registry, settings(model, own=True))
    assert found.memory is not None
    assert not found.fits
    assert "take a smaller student or teacher" in found.text()
    assert planned(registry, settings(model, backend={"use": "shelf", "with": {"place": "window"}}, own=True)).fits
    with pytest.raises(
        BackendError, match=r"tiny does not fit beside other models: .* 100 GiB at least, and 59.9 GiB are left"
    ):
        api.run("quickstart", overrides=settings(model, own=True), registry=shelves(180)[0], output=tmp_path / "runs")


@pytest.mark.parametrize(("place", "where"), [("window", "on another device"), ("", "on a device unknown")])
def test_one_elsewhere_is_not_counted_and_said_not_to_be(model: Path, tmp_path: Path, place: str, where: str) -> None:
    registry, log = shelves(400)
    overrides = settings(model, backend={"use": "shelf", "with": {"place": place}}, own=True)
    found = planned(registry, overrides)
    assert found.memory is not None
    assert "other models" not in found.memory.parts
    assert f"not counted: the model of the teacher 'local' of a stage, {where}" in found.memory.notes
    log.clear()
    api.run("quickstart", overrides=overrides, registry=registry, output=tmp_path / "runs")
    assert loaded(log) == [("tiny", None), ("teacher", None)]


@pytest.mark.parametrize("own", [200, 60])
def test_a_student_whose_options_say_what_it_takes_keeps_it(model: Path, tmp_path: Path, own: int) -> None:
    registry, log = shelves(400)
    overrides = settings(model, own=True) | {"backend": {"use": "shelf", "with": {"memory": own * GIB}}}
    api.run("quickstart", overrides=overrides, registry=registry, output=tmp_path / "runs")
    # the device has room for the teacher whatever the student's limit is
    assert loaded(log) == [("tiny", own * GIB), ("teacher", int(120.0625 * GIB))]


def test_a_teacher_that_cannot_be_built_is_left_to_its_stage() -> None:
    """Which may be done already, when its key is gone."""

    def build(spec: ComponentSpec) -> Teacher:
        raise MissingError("no key")

    works = {"0-sft": Workload(own_teachers=(TeacherUse(teacher=ComponentSpec(use="openai")),))}
    assert guests_of(Recipe.model_construct(evaluate=EvaluationPlan()), None, None, works, build) == []


def test_judges_and_fallbacks_are_guests_too(model: Path, tmp_path: Path) -> None:
    registry, _ = shelves(400)
    context = BuildContext(registry, recipe_folder=tmp_path)
    spec = settings(model)["teacher"]
    spec["with"]["fallback"] = {"use": "local", "with": {"model": str(model), "backend": "shelf", "temperature": 0.2}}
    teacher = registry.build("teachers", ComponentSpec.model_validate(spec), context)
    judge = registry.build("reward_terms", ComponentSpec(use="judge", options={"teacher": spec}), context)
    reward = Reward(terms=(WeightedTerm("judge", judge, 1.0),))
    recipe = Recipe.model_construct(evaluate=EvaluationPlan())
    guests = guests_of(recipe, teacher, reward, {"0-grpo": Workload(reward=True)}, lambda spec: teacher)
    names = ["the teacher 'local'", "the teacher 'local'", "the reward term 'judge'", "the reward term 'judge'"]
    assert [guest.name for guest in guests] == names
    assert len({id(guest.host) for guest in guests}) == 4


def test_recipes_without_a_model_beside_the_student_have_no_such_part() -> None:
    found = api.plan("quickstart")
    assert found.memory is not None
    assert "other models" not in found.memory.parts
    assert not any("not counted" in note for note in found.memory.notes)


def test_a_teacher_whose_own_limit_is_below_its_weights_is_named(model: Path, tmp_path: Path) -> None:
    registry, _ = shelves(1000)
    overrides = settings(model, backend={"use": "shelf", "with": {"memory": 50 * GIB}}, own=True)
    found = planned(registry, overrides)
    words = "the teacher 'local' of a stage does not fit into its `memory`, 50 GiB: its weights take 100 GiB"
    assert words in found.text()
    with pytest.raises(BackendError, match=words):
        api.run("quickstart", overrides=overrides, registry=registry, output=tmp_path / "runs")


@pytest.mark.parametrize("own", [0.02, 40.0])
def test_a_real_teacher_has_room_for_a_sequence_whatever_the_students_limit_is(model: Path, own: float) -> None:
    """Also beside a student that may take all there is, and more."""
    registry = Registry(load_plugins())
    context = BuildContext(registry)
    backend = registry.build("backends", ComponentSpec(use="torch", options={"memory": own}), context)
    host = registry.build("teachers", ComponentSpec(use="local", options={"model": str(model)}), context)
    recipe = Recipe.model_construct(evaluate=EvaluationPlan(), rollout=Rollout())
    works = {"0-grpo": Workload(reward=True, problems=4, episodes=8, sequences=8)}
    shares = set_aside([Guest("it", host, samples=True)], recipe, works, backend, StudentSpec(tiny_model()), 24 << 20)
    shares.hold()
    held = host.hosted_model()
    assert held.backend.memory_limit() == shares.total
    longest = tuple(range(1, PROMPT // 2))
    request = SampleRequest("a", "a", longest, 1.0, recipe.rollout.max_response_tokens, frozenset(), seed=0)
    held.backend.load(held.model, 0).engine().check(request)
