"""A process loads the plugins of its environment once."""

from __future__ import annotations

from plugin_site import COIN, Site

from mentor_kit.hooks import default_registry, forget_plugins, load_plugins


def test_a_process_loads_its_plugins_once_until_it_forgets_them(site: Site) -> None:
    before = default_registry()
    assert default_registry() is before
    assert load_plugins() is before.plugins
    site.install("coin", COIN)
    assert not default_registry().has("tools", "coin")
    forget_plugins()
    try:
        assert default_registry().has("tools", "coin")
        assert load_plugins() is default_registry().plugins
    finally:
        forget_plugins()
