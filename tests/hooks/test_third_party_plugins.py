"""Real third-party plugins: modules with their own metadata, as pip leaves them; good ones and bad ones."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from plugin_site import COIN, Site

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import DataError, ExitCode, MissingError, PluginError
from mentor_kit.hooks import (
    BuildContext,
    ComponentError,
    PluginInfo,
    Plugins,
    Registry,
    load_plugins,
)
from mentor_kit.hooks.registry import KINDS


def fate(plugins: Plugins, name: str) -> PluginInfo:
    (found,) = [info for info in plugins.found if info.name == name]
    return found


def test_a_plugin_is_loaded_and_its_part_built(site: Site) -> None:
    site.install("coin", COIN)
    plugins = site.load()
    assert plugins.found == (PluginInfo("coin", "plugin_coin", "plugin_coin 1.2", "loaded"),)
    registry = Registry(plugins)
    part = registry.component("tools", "coin")
    assert (part.owner, part.summary, part.kind) == ("coin", "flips", "tools")
    built = registry.build(
        "tools", ComponentSpec.model_validate({"use": "coin", "with": {"sides": 3}}), BuildContext(registry)
    )
    assert [function() for function in built] == ["heads"] * 3
    assert registry.components("tasks") == {}


def test_installed_entry_points_are_found_without_being_handed_in(site: Site) -> None:
    site.install("coin", COIN)
    site.install("broken", "1 / 0")
    code = "from mentor_kit.hooks import load_plugins; print({p.name: p.state for p in load_plugins().found})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": str(site.folder)},
    )  # fmt: skip
    assert "'coin': 'loaded'" in done.stdout
    assert "'broken': 'failed'" in done.stdout
    assert "'rewards': 'loaded'" in done.stdout


BAD = {
    "missing import": ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
    "exit": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "syntax": ("def register_tools(:", "SyntaxError: "),
    "raises": ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
    "generator exit": ("raise GeneratorExit", "GeneratorExit"),
    "future": ("MENTORKIT_API = 99", "written for version 99 of the plugin hooks, this mentor-kit has version 1"),
    "misspelt": (
        "from mentor_kit.hooks import hookimpl\n@hookimpl\ndef register_tool(register): ...",
        "there is no hook 'register_tool' (did you mean 'register_tools'?)",
    ),
    "no hook": (
        "from mentor_kit.hooks import hookimpl\n@hookimpl\ndef on_step_end(folder): ...",
        "there is no hook 'on_step_end'",
    ),
    "argument": (
        "from mentor_kit.hooks import hookimpl\n@hookimpl\ndef register_tools(registry): ...",
        "PluginValidationError: ",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_broken_plugin_fails_alone_and_says_why(site: Site, kind: str) -> None:
    source, reason = BAD[kind]
    site.install("aa", source)
    site.install("coin", COIN)
    plugins = site.load()
    broken = fate(plugins, "aa")
    assert broken.state == "failed"
    assert reason in broken.reason
    assert plugins.failed == (broken,)
    assert fate(plugins, "coin").state == "loaded"
    registry = Registry(plugins)
    assert list(registry.components("tools")) == ["coin"]
    with pytest.raises(ComponentError, match=r"\baa\b"):
        registry.component("tools", "dice")


def test_a_missing_module_fails_alone(site: Site) -> None:
    plugins = load_plugins([EntryPoint("ghost", "no_such_module_at_all", "mentorkit")])
    assert fate(plugins, "ghost").distribution == "unknown"
    assert fate(plugins, "ghost").reason.startswith("ModuleNotFoundError")


def test_an_interrupt_by_the_user_is_not_swallowed(site: Site) -> None:
    site.install("slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        site.load()


def test_a_plugin_may_be_denied(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("coin", "raise RuntimeError('never imported')")
    monkeypatch.setenv("MENTORKIT_DISABLE_PLUGINS", "other, coin")
    assert fate(site.load(), "coin").state == "disabled"
    assert fate(site.load(), "coin").reason == "named in MENTORKIT_DISABLE_PLUGINS"


def test_a_part_of_a_disabled_plugin_is_not_merely_unknown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("coin", COIN)
    monkeypatch.setenv("MENTORKIT_DISABLE_PLUGINS", "coin")
    with pytest.raises(ComponentError, match=r"disabled.*\bcoin\b"):
        Registry(site.load()).check("tools", ComponentSpec(use="coin"))


def test_only_allowed_plugins_are_loaded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("coin", COIN)
    site.install("other", "raise RuntimeError('never imported')")
    monkeypatch.setenv("MENTORKIT_PLUGINS", " coin ,")
    assert {info.name: info.state for info in site.load().found} == {"coin": "loaded", "other": "disabled"}
    monkeypatch.setenv("MENTORKIT_DISABLE_PLUGINS", "coin")
    assert {info.state for info in site.load().found} == {"disabled"}
    monkeypatch.setenv("MENTORKIT_PLUGINS", "")
    assert fate(site.load(), "other").state == "failed"


def test_two_plugins_of_one_name(site: Site) -> None:
    site.install("coin", COIN)
    site.install("coin", COIN, module="plugin_coin_again")
    first, second = site.load().found
    assert (first.name, first.state, second.name, second.state) == ("coin", "loaded", "plugin_coin_again", "loaded")


@pytest.mark.parametrize("name", ["tools", "math", "core", "torch"])
def test_a_stranger_that_is_called_like_a_built_in_plugin_displaces_none(
    site: Site, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    site.install(name, COIN, module="aaa_first_by_name")
    ours = [point for point in entry_points(group="mentorkit") if point.dist and point.dist.name == "mentor-kit"]
    for order in ([*site.points(), *ours], [*ours, *site.points()]):
        plugins = load_plugins(order)
        built_in = fate(plugins, name)
        assert (built_in.state, built_in.is_built_in) == ("loaded", True)
        theirs = fate(plugins, "aaa_first_by_name")
        assert (theirs.state, theirs.is_built_in, theirs.distribution) == ("loaded", False, "aaa_first_by_name 1.2")
        assert Registry(plugins).component("tools", "coin").owner == "aaa_first_by_name"
    # each can be switched off by itself
    monkeypatch.setenv("MENTORKIT_DISABLE_PLUGINS", name)
    assert fate(load_plugins(order), name).state == "disabled"
    assert fate(load_plugins(order), "aaa_first_by_name").state == "loaded"
    monkeypatch.setenv("MENTORKIT_DISABLE_PLUGINS", "aaa_first_by_name")
    assert fate(load_plugins(order), name).state == "loaded"
    assert fate(load_plugins(order), "aaa_first_by_name").state == "disabled"


def test_a_clash_names_both_owners_and_matters_only_when_used(site: Site) -> None:
    site.install("coin", COIN)
    site.install("mint", COIN + '        register("penny", build=lambda options, context: [flip])\n')
    registry = Registry(site.load())
    assert registry.clashes("tools") == {"coin": {"coin", "mint"}}
    assert registry.component("tools", "penny").owner == "mint"
    with pytest.raises(PluginError, match="tool 'coin' is registered by two plugins: 'coin' and 'mint'") as caught:
        registry.component("tools", "coin")
    assert "MENTORKIT_DISABLE_PLUGINS=mint" in str(caught.value.hint)


def test_a_recipe_can_say_whose_part_is_meant(site: Site) -> None:
    site.install("coin", COIN)
    site.install("mint", COIN.replace("default=2", "default=3"))
    registry = Registry(site.load())
    context = BuildContext(registry)
    assert len(registry.build("tools", ComponentSpec(use="coin:coin"), context)) == 2
    assert len(registry.build("tools", ComponentSpec(use="mint:coin"), context)) == 3
    with pytest.raises(ComponentError):
        registry.component("tools", "mint:penny")
    with pytest.raises(ComponentError):
        registry.component("tools", "other:coin")


def test_a_clash_with_a_built_in_part_advises_against_the_stranger(site: Site) -> None:
    # by its name it comes before all built-in plugins
    site.install("aaa", COIN.replace('"coin"', '"math"'))
    registry = Registry(load_plugins([*entry_points(group="mentorkit"), *site.points()]))
    assert registry.components("tools")["math"].owner == "math"
    with pytest.raises(PluginError) as caught:
        registry.component("tools", "math")
    assert "MENTORKIT_DISABLE_PLUGINS=aaa" in str(caught.value.hint)
    assert "math:math" in str(caught.value.hint)
    assert registry.component("tools", "aaa:math").owner == "aaa"
    assert registry.component("tools", "math:math").owner == "math"


def test_how_long_a_plugin_takes_to_load_is_known(site: Site) -> None:
    site.install("coin", COIN)
    site.install("slow", "import time; time.sleep(0.3)")
    assert fate(site.load(), "slow").seconds >= 0.3
    assert fate(site.load(), "coin").seconds < 0.3


def test_one_plugin_registering_a_name_twice_is_a_clash_with_itself(site: Site) -> None:
    site.install("coin", COIN + '        register("coin", build=lambda options, context: [])\n')
    registry = Registry(site.load())
    with pytest.raises(PluginError, match="tool 'coin' is registered twice by the plugin 'coin'"):
        registry.component("tools", "coin")


FAULTS = [
    "raise ValueError('oh')",
    "raise SystemExit(1)",
    "register('x')",
    "register('a:b', build=print)",
    "register(1, build=print)",
    "register('x', build=1)",
    "register('x', build=print, options=dict)",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_hook_that_raises_is_a_fault_of_its_own(site: Site, fault: str) -> None:
    site.install(
        "aa", f"from mentor_kit.hooks import hookimpl\n@hookimpl\ndef register_tools(register):\n    {fault}\n"
    )
    site.install("coin", COIN)
    registry = Registry(site.load())
    assert list(registry.components("tools")) == ["coin"]
    ((owner, reason),) = registry.faults
    assert owner == "aa"
    assert reason.startswith("register_tools failed: ")
    with pytest.raises(ComponentError, match=r"\baa\b"):
        registry.check("tools", ComponentSpec(use="dice"))


def test_an_unavailable_part_is_missing_with_the_command(site: Site) -> None:
    site.install(
        "gpu",
        """
        from mentor_kit.hooks import hookimpl

        @hookimpl
        def register_backends(register):
            register("gpu", build=lambda options, context: 1 / 0, available=lambda: "no GPU\\npip install gpu")
        """,
    )
    registry = Registry(site.load())
    assert registry.component("backends", "gpu").unavailable() == "no GPU\npip install gpu"
    registry.check("backends", ComponentSpec(use="gpu"))
    with pytest.raises(MissingError, match="backend 'gpu' cannot be used here: no GPU") as caught:
        registry.build("backends", ComponentSpec(use="gpu"), BuildContext(registry))
    assert caught.value.hint == "pip install gpu"
    assert caught.value.exit_code is ExitCode.MISSING


def test_a_build_or_a_check_that_raises_is_the_plugins_fault(site: Site) -> None:
    site.install(
        "odd",
        """
        from mentor_kit.core.errors import DataError
        from mentor_kit.hooks import hookimpl

        def refuse(options, context):
            raise DataError("its own words")

        @hookimpl
        def register_tools(register):
            register("odd", build=lambda options, context: 1 / 0)
            register("clear", build=refuse)
            register("unsure", build=print, available=lambda: 1 / 0)
        """,
    )
    registry = Registry(site.load())
    context = BuildContext(registry)
    with pytest.raises(PluginError, match="plugin 'odd' could not build the tool 'odd': ZeroDivisionError"):
        registry.build("tools", ComponentSpec(use="odd"), context)
    with pytest.raises(DataError, match="its own words"):
        registry.build("tools", ComponentSpec(use="clear"), context)
    with pytest.raises(MissingError, match=r"'odd'.*ZeroDivisionError"):
        registry.build("tools", ComponentSpec(use="unsure"), context)


@pytest.mark.parametrize(
    ("options", "faults"),
    [
        ({"side": 2}, [(("with", "side"), "unknown key (did you mean 'sides'?); known keys: sides, faces")]),
        ({"sides": 1}, [(("with", "sides"), "must be greater than or equal to 2, not 1")]),
        (
            {"sides": "many", "faces": [{"a": 1}, {"a": "x"}]},
            [
                (("with", "sides"), "must be a whole number, not 'many'"),
                (("with", "faces", 1, "a"), "must be a whole number, not 'x'"),
            ],
        ),
    ],
)
def test_wrong_options_have_places_and_suggestions(
    site: Site, options: dict[str, object], faults: list[tuple[tuple[str | int, ...], str]]
) -> None:
    site.install("coin", COIN)
    registry = Registry(site.load())
    with pytest.raises(ComponentError) as caught:
        registry.check("tools", ComponentSpec.model_validate({"use": "coin", "with": options}))
    assert caught.value.faults == faults
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_wrong_name_has_a_suggestion(site: Site) -> None:
    site.install("coin", COIN)
    registry = Registry(site.load())
    with pytest.raises(ComponentError) as caught:
        registry.check("tools", ComponentSpec(use="coyn"))
    text = "no tool is called 'coyn' (did you mean 'coin'?); `mentorkit plugins tools` lists them"
    assert caught.value.faults == [(("use",), text)]


def test_a_part_without_options_takes_none(site: Site) -> None:
    site.install("mint", COIN.replace("options=Options, ", ""))
    registry = Registry(site.load())
    with pytest.raises(ComponentError, match="unknown key"):
        registry.check("tools", ComponentSpec.model_validate({"use": "coin", "with": {"sides": 2}}))


def test_the_example_in_the_hooks_own_documentation_works(site: Site) -> None:
    from mentor_kit.hooks import specs

    doc = specs.__doc__ or ""
    site.install("doc", doc[doc.index("    from mentor_kit") : doc.index("Every `register_<kind>`")])
    registry = Registry(site.load())
    (flip,) = registry.build("tools", ComponentSpec(use="coin"), BuildContext(registry))
    assert flip() == "heads"


def test_the_weather_example_has_a_sample_of_its_own_of_most_kinds(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples" / "mentor-kit-weather"))
    plugins = load_plugins([EntryPoint("weather", "mentor_kit_weather", "mentorkit")])
    assert plugins.failed == ()
    registry = Registry(plugins)
    found = {kind: list(registry.components(kind)) for kind in KINDS}
    # these have an example package of their own
    elsewhere = {"backends", "losses", "advantages"}
    assert found == {kind: [] if kind in elsewhere else ["weather"] for kind in KINDS}
    assert registry.faults == []
