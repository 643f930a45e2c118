"""What the plugin registers: names, options and their faults, and what is built."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from mentor_kit_math import components
from mentor_kit_math.arithmetic import ArithmeticTask

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import ExitCode
from mentor_kit.core.task import Problem
from mentor_kit.core.toolbox import FunctionTools, Toolbox
from mentor_kit.hooks import BuildContext, ComponentError, Registry, load_plugins


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry(load_plugins())


def spec(use: str, **options: Any) -> ComponentSpec:
    return ComponentSpec.model_validate({"use": use, "with": options})


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("tools", "math"),
        ("tasks", "arithmetic"),
    ],
)
def test_components_are_registered_with_a_summary(registry: Registry, kind: Any, name: str) -> None:
    component = registry.component(kind, name)
    assert component.owner == "math"
    assert component.summary
    assert component.unavailable() == ""


def test_registering_imports_no_torch() -> None:
    script = (
        "import sys; from mentor_kit.hooks import Registry, load_plugins; registry = Registry(load_plugins());"
        "[registry.components(kind) for kind in ('tools', 'tasks', 'teachers', 'students')];"
        "assert not registry.faults, registry.faults;"
        "assert not {'torch', 'transformers', 'tokenizers', 'mlx'} & set(sys.modules), 'heavy imports'"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


class TestTools:
    @pytest.mark.parametrize(("options", "value"), [({}, 0.67), ({"decimals": 4}, 0.6667), ({"decimals": None}, 2 / 3)])
    def test_results_have_the_decimals_asked_for(self, registry: Registry, options: Any, value: float) -> None:
        tools = {tool.name: tool for tool in registry.build("tools", spec("math", **options), BuildContext(registry))}
        assert len(tools) == 12
        assert tools["divide"].function is not None
        assert tools["divide"].function(a=2, b=3) == value

    @pytest.mark.parametrize("options", [{"decimals": -1}, {"decimals": 13}, {"decimals": "two"}, {"decimal": 2}])
    def test_faults(self, registry: Registry, options: Any) -> None:
        with pytest.raises(ComponentError) as caught:
            registry.check("tools", spec("math", **options))
        assert next(iter(options)) in str(caught.value)
        assert caught.value.exit_code == ExitCode.USAGE


class TestTask:
    @pytest.mark.parametrize("gap", [False, True])
    @pytest.mark.parametrize("blind", [False, True])
    def test_switches(self, registry: Registry, gap: bool, blind: bool) -> None:
        made = spec("arithmetic", capacity_gap=gap, blind_check=blind)
        task = registry.build("tasks", made, BuildContext(registry))
        assert isinstance(task, ArithmeticTask)
        assert (task.capacity_gap, task.blind_check) == (gap, blind)

    def test_both_are_off_unless_asked_for(self, registry: Registry) -> None:
        task = registry.build("tasks", spec("arithmetic"), BuildContext(registry))
        assert not task.capacity_gap
        assert not task.blind_check

    def test_a_misspelt_switch_is_named_with_the_right_one(self, registry: Registry) -> None:
        with pytest.raises(ComponentError, match="blind_check"):
            registry.check("tasks", spec("arithmetic", blind_chek=True))
        with pytest.raises(ComponentError, match="capacity_gap"):
            registry.check("tasks", spec("arithmetic", capacity_gap="perhaps"))


def test_the_toolbox_offers_the_twelve_tools_for_any_problem() -> None:
    toolbox = Toolbox([FunctionTools(components.math_tools(2))])
    assert len(toolbox.tools(Problem(id="p", question="q", answer="0"))) == 12
