"""Every fault at once, each with its place and what was probably meant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from recipe_helpers import SMALL, Parts, registry, write

from mentor_kit.core.errors import ExitCode, RecipeError
from mentor_kit.hooks import default_registry, hookimpl
from mentor_kit.recipe.checking import expand_reward, load_checked
from mentor_kit.recipe.faults import RecipeFaults
from mentor_kit.recipe.loading import recipe_names
from mentor_kit.recipe.settings import parse_settings


def faults(path: Path, *settings: str) -> list[str]:
    with pytest.raises(RecipeError) as error:
        load_checked(path, parse_settings(settings), registry())
    assert error.value.exit_code == ExitCode.USAGE
    return error.value.message.split("\n")


def replaced(folder: Path, old: str, new: str) -> Path:
    assert old in SMALL
    return write(folder, SMALL.replace(old, new))


def test_a_right_recipe_is_checked_without_building_anything(here: Path) -> None:
    assert load_checked(write(here), {}, registry()).recipe.name == "small"


#: What is put in place of what; the mark § stands where the fault is to be reported.
CASES = [
    # a misspelt key, in the recipe and in options
    ("name: small", "name: small\n§rewrad: 3", "rewrad: unknown key (did you mean 'reward'?); known keys: mentorkit,"),
    ("some/model", "x, §modle: y", "student.modle: unknown key (did you mean 'model'?); known keys: model, revision"),
    ("steps: 3", "§stesp: 3, steps: 3", "train.0.with.stesp: unknown key (did you mean 'steps'?); known keys: steps,"),
    # a wrong type or range
    ("name: small", "name: small\nseed: §x", "seed: must be a whole number, not 'x'"),
    ("name: small", "name: small\nseed: §-1", "seed: must be greater than or equal to 0, not -1"),
    ("name: small", "name: §a/b", "name: must start with a letter or digit and have no slashes"),
    ("name: small", "name: s\nrollout: {temperature: §-0.5}", "rollout.temperature: must be greater than 0, not -0.5"),
    ("name: small", "name: s\nrollout: {top_p: §.nan}", "rollout.top_p: must be a finite number, not nan"),
    ("name: small", "name: s\nrollout: §3", "rollout: must be a mapping of keys to values, not 3"),
    ("mentorkit: 1", "mentorkit: §2", "mentorkit: must be 1, not 2"),
    ("[{use: maths}]", "§maths", "tools: must be a list, not 'maths'"),
    ("steps: 3", "steps: §0", "train.0.with.steps: must be greater than 0, not 0"),
    ("steps: 3", "steps: 3, rate: §fast", "train.0.with.rate: must be a number, not 'fast'"),
    ("steps: 3", "steps: 3, inner: {depth: §0}", "train.0.with.inner.depth: must be greater than 0, not 0"),
    # a missing key
    ("{model: some/model}", "§{}", "student.model: this key is required"),
    ("mentorkit: 1\nname: small", "§mentorkit: 1", "name: this key is required"),
    ("with: {steps: 3}", "with: §{}", "train.0.with.steps: this key is required"),
    # an unknown part
    (
        "mentor}",
        "§menotr}",
        "reward.use: no reward is called 'menotr' (did you mean 'mentor'?); `mentorkit plugins rew",
    ),
    (
        "{use: sums}",
        "§sum",
        "task.use: no task is called 'sum' (did you mean 'sums'?); `mentorkit plugins tasks` lists",
    ),
    ("{use: maths}", "{use: maths}, {use: §math}", "tools.1.use: no tool is called 'math' (did you mean 'maths'?);"),
    ("name: small", "name: s\ntrackers: [§wandb]", "trackers.0.use: no tracker is called 'wandb'; `mentorkit plug"),
    # slots inside options
    ("steps: 3", "steps: 3, teacher: {use: §scripte}", "train.0.with.teacher.use: no teacher is called 'scripte'"),
    (
        "steps: 3",
        "steps: 3, teacher: {use: scripted, with: {count: §x}}",
        "train.0.with.teacher.with.count: must be a whole number, not 'x'",
    ),
    (
        "steps: 3",
        "steps: 3, helpers: [scripted, {use: §scripter}]",
        "train.0.with.helpers.1.use: no teacher is called 'scripter' (did you mean 'scripted'?)",
    ),
    # a reward of one's own
    ("{use: mentor}", "{terms: [{use: §rigth, weight: 1}]}", "reward.terms.0.use: no reward term is called 'rigth'"),
    ("{use: mentor}", "{terms: [§{use: right}]}", "reward.terms.0.weight: this key is required"),
    ("{use: mentor}", "{terms: [{use: right, weight: §x}]}", "reward.terms.0.weight: must be a number, not 'x'"),
    # evaluations: a split, or a component
    (
        "name: small",
        "name: s\nevaluate: {on: [{split: a, problems: §0}]}",
        "evaluate.on.0.problems: must be greater than 0, not 0",
    ),
    (
        "name: small",
        "name: s\nevaluate: {on: [{use: §bench}]}",
        "evaluate.on.0.use: no evaluation is called 'bench'; `mentorkit plugins evaluations` lists them",
    ),
    (
        "name: small",
        "name: s\nevaluate: {on: [{split: a}]}\ncheckpoints: {best: §a/gredy}",
        "checkpoints.best: no evaluation has the metric 'a/gredy' (did you mean 'a/greedy'?); there are a/greedy",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), CASES, ids=[new for _, new, _ in CASES])
def test_a_fault_has_its_place_and_its_cure(here: Path, old: str, new: str, message: str) -> None:
    before, _, after = SMALL.replace(old, new).partition("§")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    (found,) = faults(write(here, before + after))
    assert found.startswith(f"recipe.yaml:{line}:{column}: {message}")


def test_all_faults_come_at_once_in_the_order_of_the_file(here: Path) -> None:
    text = """\
mentorkit: 1
nmae: x
student: {model: 5}
task: {use: smus}
tools: [maths, {use: meths}]
teacher: {use: scripted, with: {count: many}}
reward: {use: menotr}
train:
  - use: learn
    with: {steps: 0, teacher: nobody}
rollout: {max_turns: 0}
"""
    found = faults(write(here, text))
    assert [fault.split(": ")[:2] for fault in found] == [
        ["recipe.yaml:1:1", "name"],
        ["recipe.yaml:2:1", "nmae"],
        ["recipe.yaml:3:18", "student.model"],
        ["recipe.yaml:4:13", "task.use"],
        ["recipe.yaml:5:22", "tools.1.use"],
        ["recipe.yaml:6:40", "teacher.with.count"],
        ["recipe.yaml:7:15", "reward.use"],
        ["recipe.yaml:10:19", "train.0.with.steps"],
        ["recipe.yaml:11:22", "rollout.max_turns"],
    ]


def test_faults_name_the_file_or_the_setting_they_come_from(here: Path) -> None:
    write(here, SMALL.replace("use: sums", "use: smus"), "base.yaml")
    top = write(here, "extends: base.yaml\nseed: x\n")
    assert [fault.split(": ")[:2] for fault in faults(top, "reward.use=menotr", "train.0.steps=0")] == [
        ["--set reward.use=menotr", "reward.use"],
        ["--set train.0.steps=0", "train.0.with.steps"],
        ["base.yaml:4:13", "task.use"],
        ["recipe.yaml:2:7", "seed"],
    ]


def test_faults_for_programs(here: Path) -> None:
    with pytest.raises(RecipeFaults) as error:
        load_checked(replaced(here, "mentor}", "menotr}"), parse_settings(["seed=x"]), registry())
    setting, line = error.value.as_data()["faults"]
    assert (setting["file"], setting["line"]) == ("--set seed=x", 0)
    assert (line["file"], line["line"], line["column"]) == ("recipe.yaml", 7, 15)
    assert line["text"].startswith("reward.use: no reward")


def test_two_plugins_with_one_name_matter_only_if_it_is_used(here: Path) -> None:
    class Rival(Parts):
        @staticmethod
        @hookimpl
        def register_rewards(register: Any) -> None:
            register("mentor", build=lambda options, context: None)

    class Only(Rival):
        register_backends = register_tasks = register_tools = register_teachers = register_stages = None
        register_reward_terms = None

    both = registry(Parts("parts"), Only("rival"))
    with pytest.raises(RecipeError, match=r"^recipe.yaml:7:15: reward.use: .*two plugins: 'parts' and 'rival'; "):
        load_checked(write(here), {}, both)
    load_checked(write(here), {"reward": {"terms": [{"use": "right", "weight": 1}]}}, both)


def test_a_plugin_that_fails_while_registering_matters_only_if_its_part_is_used(here: Path) -> None:
    class Broken(Parts):
        @staticmethod
        @hookimpl
        def register_teachers(register: Any) -> None:
            raise RuntimeError("no licence")

    broken = registry(Broken("broken"))
    load_checked(write(here), {"teacher": None}, broken)
    with pytest.raises(RecipeError, match=r"no teacher is called 'scripted'.*these plugins failed, .*: broken\)"):
        load_checked(write(here), {}, broken)


def test_rewards_are_expanded(here: Path) -> None:
    spec = expand_reward(load_checked(write(here), {}, registry()), registry())
    assert spec is not None
    assert [(term.use, term.weight) for term in spec.terms] == [("right", 1.0)]
    own = load_checked(write(here), {"reward": {"terms": [{"use": "right", "weight": 2}]}}, registry())
    assert expand_reward(own, registry()) == own.recipe.reward
    assert expand_reward(load_checked(write(here), {"reward": None}, registry()), registry()) is None


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("token_budget=aut", "token_budget: must be 'auto' or a whole number, not 'aut'"),
        ("token_budget=-5", "token_budget: must be 'auto' or greater than 0, not -5"),
        ("gradient_checkpointing=maybe", "gradient_checkpointing: must be 'auto' or true or false, not 'maybe'"),
    ],
)
def test_a_value_that_may_have_several_types_is_one_fault(setting: str, fault: str) -> None:
    with pytest.raises(RecipeFaults) as error:
        load_checked("quickstart", parse_settings([f"backend.with.{setting}"]), default_registry())
    assert error.value.message == f"--set backend.with.{setting}: backend.with.{fault}"


def test_grpo_needs_a_reward(here: Path) -> None:
    with pytest.raises(RecipeError, match=r"quickstart.yaml:\d+:\d+: train.0.use: the stage `grpo` needs a reward"):
        load_checked("quickstart", {"reward": None}, default_registry())


def test_distillation_needs_a_teacher_and_alone_no_reward() -> None:
    alone = ["reward=null", "teacher=null", "train.0.objective={preset: opd}"]
    local = "train.0.teacher={use: local, with: {model: tiny-student}}"
    load_checked("quickstart", parse_settings([*alone, local]), default_registry())
    load_checked(
        "quickstart",
        parse_settings([*alone, "teacher={use: local, with: {model: tiny-student}}"]),
        default_registry(),
    )
    with pytest.raises(RecipeError, match=r"train.0.use: the stage `grpo` needs a teacher to distil from"):
        load_checked("quickstart", parse_settings(alone), default_registry())
    with pytest.raises(RecipeError, match=r"train.0.use: the stage `grpo` needs a reward"):
        load_checked(
            "quickstart",
            parse_settings(["reward=null", local, "train.0.objective={preset: sod}"]),
            default_registry(),
        )
    with pytest.raises(RecipeError, match=r"no teacher is called 'locla' \(did you mean 'local'\?\)"):
        load_checked("quickstart", parse_settings([*alone, "train.0.teacher=locla"]), default_registry())
    with pytest.raises(RecipeError, match="the objective does not distil"):
        load_checked("quickstart", parse_settings([local]), default_registry())


@pytest.mark.parametrize(
    ("backend", "format", "adapter", "fault"),
    [
        ("torch", "onnx", True, "the backend 'torch' does not export 'onnx'"),
        # which the backend mlx writes of what torch hands over
        ("torch", "mlx", True, ""),
        ("torch", "mlx-adapter", False, "'mlx-adapter' needs an adapter"),
        ("torch", "adaptor", True, r"does not export 'adaptor' \(did you mean 'adapter'\?\)"),
        ("torch", "adapter", False, "'adapter' needs an adapter"),
        ("torch", "adapter", True, ""),
        ("mlx", "mlx", False, ""),
        ("mlx", "mlx-adapter", False, "'mlx-adapter' needs an adapter"),
    ],
)
def test_exports_that_the_backend_does_not_write_are_refused(
    backend: str, format: str, adapter: bool, fault: str
) -> None:
    settings = [f"backend={backend}", f"train=[{{use: export, with: {{format: {format}}}}}]"]
    settings += ["student.adapter=lora"] if adapter else []
    if not fault:
        load_checked("quickstart", parse_settings(settings), default_registry())
        return
    with pytest.raises(RecipeError, match=rf"train.0.with.format: .*{fault}"):
        load_checked("quickstart", parse_settings(settings), default_registry())


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_are_right(name: str) -> None:
    load_checked(name, {}, default_registry())


def test_checking_imports_nothing_heavy() -> None:
    code = """
import sys
from mentor_kit.api import check
check("quickstart")
print([name for name in ("torch", "transformers", "mlx", "pandas", "matplotlib", "peft") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
