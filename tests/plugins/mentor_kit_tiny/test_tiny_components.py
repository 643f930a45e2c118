"""What the plugin registers: the noisy demonstrator, the tiny student and its blank one, and their faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mentor_kit_math.arithmetic import ArithmeticTask
from mentor_kit_math.operations import math_tools
from mentor_kit_records.records_task import RecordsTask
from mentor_kit_tiny import blank, components
from mentor_kit_tiny.noisy_demonstrator import SKILL, NoisyTeacher

from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import ExitCode, MissingError, PluginError, UsageError
from mentor_kit.core.toolbox import FunctionTools, Toolbox
from mentor_kit.hooks import BuildContext, ComponentError, Registry, load_plugins


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry(load_plugins())


def spec(use: str, **options: Any) -> ComponentSpec:
    return ComponentSpec.model_validate({"use": use, "with": options})


@pytest.mark.parametrize(
    ("kind", "name"),
    [("teachers", "noisy-demonstrator"), ("students", "tiny-student"), ("students", "tiny-blank")],
)
def test_components_are_registered_with_a_summary(registry: Registry, kind: Any, name: str) -> None:
    component = registry.component(kind, name)
    assert component.owner == "tiny"
    assert component.summary
    assert component.unavailable() == ""


class TestNoisyDemonstrator:
    def _context(self, registry: Registry, task: Any) -> BuildContext:
        toolbox = Toolbox([FunctionTools(math_tools(2))])
        return BuildContext(registry, seed=5, task=task, toolbox=toolbox, limits=EpisodeLimits(max_turns=4))

    @pytest.mark.parametrize("task", [ArithmeticTask(), RecordsTask()], ids=["arithmetic", "records"])
    def test_built_from_its_stage(self, registry: Registry, task: Any) -> None:
        context = self._context(registry, task)
        teacher = registry.build("teachers", spec("noisy-demonstrator", stage="skill"), context)
        assert isinstance(teacher, NoisyTeacher)
        assert (teacher.habits, teacher.seed, teacher.limits.max_turns) == (SKILL, 5, 4)

    def test_refuses_other_tasks_and_none(self, registry: Registry) -> None:
        with pytest.raises(UsageError, match="arithmetic"):
            registry.build("teachers", spec("noisy-demonstrator"), self._context(registry, object()))
        with pytest.raises(PluginError):
            registry.build("teachers", spec("noisy-demonstrator"), BuildContext(registry))

    @pytest.mark.parametrize(
        ("options", "place"),
        [
            ({"stage": "expert"}, "stage"),
            ({"habits": {"swop": 0.1}}, "swap"),
            ({"habits": {"guess": 2}}, "habits.guess"),
            ({"habits": {"weak_right": 0.9, "weak_favourite": 0.9}}, "add up to 1.8"),
        ],
    )
    def test_faults(self, registry: Registry, options: Any, place: str) -> None:
        with pytest.raises(ComponentError, match=place):
            registry.check("teachers", spec("noisy-demonstrator", **options))


class TestStudents:
    def test_the_tiny_student_is_there_or_said_to_be_missing(self, registry: Registry) -> None:
        if not (components.TINY / "model.safetensors").is_file():
            with pytest.raises(MissingError) as caught:
                registry.build("students", spec("tiny-student"), BuildContext(registry))
            assert caught.value.exit_code == ExitCode.MISSING
            assert caught.value.hint
            return
        folder = registry.build("students", spec("tiny-student"), BuildContext(registry))
        assert (folder / "config.json").is_file()
        assert (folder / "tokenizer.json").is_file()
        assert sum(path.stat().st_size for path in folder.rglob("*")) <= 6_000_000

    def test_without_its_weights_it_is_missing(
        self, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(components, "TINY", tmp_path)
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(MissingError, match="tiny student"):
            registry.build("students", spec("tiny-student"), BuildContext(registry))
        (tmp_path / "model.safetensors").touch()
        assert registry.build("students", spec("tiny-student"), BuildContext(registry)) == tmp_path

    def test_students_take_no_options(self, registry: Registry) -> None:
        for name in ("tiny-student", "tiny-blank"):
            with pytest.raises(ComponentError):
                registry.check("students", spec(name, seed=3))

    def test_a_blank_student_is_made_once_for_each_seed(
        self, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        made = self._count_writes(monkeypatch)
        first, again = (
            registry.build("students", spec("tiny-blank"), BuildContext(registry, seed=4)) for _ in range(2)
        )
        other = registry.build("students", spec("tiny-blank"), BuildContext(registry, seed=5))
        assert first == again != other
        assert made == [4, 5]
        assert first.is_relative_to(tmp_path)
        assert sorted(path.name for path in first.parent.iterdir()) == sorted([first.name, other.name])

    def test_two_runs_at_once_share_it(
        self, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        self._count_writes(monkeypatch)
        context = BuildContext(registry, seed=4)
        folder = registry.build("students", spec("tiny-blank"), context)
        (folder / "config.json").rename(tmp_path / "config.json")

        def overtaken(to: Path, seed: int) -> Path:
            (tmp_path / "config.json").rename(folder / "config.json")
            to.mkdir()
            (to / "config.json").write_text("late")
            return to

        monkeypatch.setattr(blank, "write_blank", overtaken)
        assert registry.build("students", spec("tiny-blank"), context) == folder
        assert (folder / "config.json").read_text() == "4"

    def _count_writes(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        made: list[int] = []

        def write(folder: Path, seed: int) -> Path:
            made.append(seed)
            folder.mkdir()
            (folder / "config.json").write_text(str(seed))
            return folder

        monkeypatch.setattr(blank, "write_blank", write)
        return made
