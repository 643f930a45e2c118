"""The shipped example packages: the samples of every kind of component, by which files they are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mentor_kit.core.component import Kind
from mentor_kit.core.errors import UsageError, did_you_mean

#: What a plugin can bring: components, commands of `mentorkit`, and checks of `mentorkit doctor`.
Offer = Kind | Literal["commands", "doctor"]

#: The example whose README, `pyproject.toml`, recipe and shared tests every new plugin begins with.
BASE = "weather"


@dataclass(frozen=True)
class Sample:
    """A sample of one kind in an example package."""

    kind: Offer
    flag: str
    """The option of `mentorkit new plugin`, without dashes."""
    files: tuple[str, ...]
    """Its files in the example's Python package; the first one is the component itself."""
    tests: tuple[str, ...]
    """Its files in the example's `tests`."""
    example: str = BASE
    """The example that has it: the name of its plugin."""
    aliases: tuple[str, ...] = ()
    """The component's names, where they are not the plugin's."""
    needs: tuple[Offer, ...] = ()
    """Kinds that it cannot do without."""

    @property
    def hook(self) -> str:
        """The name of the hook that offers it."""
        return "doctor_checks" if self.kind == "doctor" else f"register_{self.kind}"


SAMPLES: tuple[Sample, ...] = (
    Sample("tools", "tools", ("tool.py", "cities.py"), ("test_tool.py",)),
    Sample("tasks", "task", ("task.py", "cities.py"), ("test_task.py",), needs=("tools",)),
    Sample("reward_terms", "term", ("reward_term.py",), ("test_reward_term.py",)),
    Sample("rewards", "reward", ("reward.py",), ("test_reward.py",)),
    Sample("teachers", "teacher", ("teacher.py",), ("test_teacher.py",)),
    Sample("trackers", "tracker", ("tracker.py",), ("test_tracker.py",)),
    Sample("losses", "loss", ("sapo.py",), ("test_loss.py",), "objectives", ("sapo",)),
    Sample(
        "advantages",
        "advantage",
        ("optimal_baseline.py",),
        ("test_advantage.py",),
        "objectives",
        ("optimal_baseline",),
    ),
    Sample("stages", "stage", ("stage.py",), ("test_stage.py",)),
    Sample("evaluations", "evaluation", ("evaluation.py",), ("test_evaluation.py",)),
    Sample("families", "family", ("family.py", "template.jinja"), ("test_family.py",)),
    Sample("formats", "format", ("data_format.py", "dialogues.jsonl", "dialogues.yaml"), ("test_data_format.py",)),
    Sample("engines", "engine", ("engine.py",), ("test_engine.py",)),
    Sample("students", "student", ("student.py",), ("test_student.py",)),
    Sample(
        "backends",
        "backend",
        ("backend.py", "device.py", "model.py", "optimizer.py", "policy.py"),
        ("test_backend.py",),
        "numpy",
    ),
    Sample("samplers", "sampler", ("sampler.py",), ("test_sampler.py",)),
    Sample("recipes", "recipe", (), ("test_registered_recipe.py",)),
    Sample("commands", "command", ("command.py",), ("test_command.py",)),
    Sample("doctor", "doctor", ("doctor.py",), ("test_doctor.py",)),
)

#: What a new plugin has if nothing is asked for.
DEFAULT: tuple[Offer, ...] = ("tools", "tasks", "recipes")

#: Files of every new plugin: in its folder, in its package, and in its tests.
FOLDER_FILES, PACKAGE_FILES, TEST_FILES = (".gitignore",), ("py.typed",), ("conftest.py", "test_recipe.py")


def chosen_samples(kinds: Iterable[str]) -> list[Sample]:
    """Return the samples of the kinds and of those that they need, in the order of `SAMPLES`.

    Raises:
        UsageError: there is no such kind.
    """
    by_name = {name: sample for sample in SAMPLES for name in (sample.kind, sample.flag)}
    wanted: set[Offer] = set()
    for kind in kinds:
        if kind not in by_name:
            names = [sample.kind for sample in SAMPLES]
            close = did_you_mean(str(kind), [*names, *(sample.flag for sample in SAMPLES)])
            raise UsageError(f"there is no sample of the kind {kind!r}{close}", hint=f"kinds: {', '.join(names)}")
        wanted |= {by_name[kind].kind, *by_name[kind].needs}
    return [sample for sample in SAMPLES if sample.kind in wanted]


def examples_used(samples: Sequence[Sample]) -> list[str]:
    """Return the names of the examples that samples come from, `BASE` first."""
    return list(dict.fromkeys([BASE, *(sample.example for sample in samples)]))


def example_folder(name: str) -> Path:
    """Return the folder of an example: in the installed package, or in the source tree."""
    installed, source_tree = Path(__file__).parent / "examples", Path(__file__).parents[3] / "examples"
    root = installed if installed.is_dir() else source_tree
    return root / f"mentor-kit-{name}"


def module_of(name: str) -> str:
    """Return the Python package of an example."""
    return f"mentor_kit_{name}"
