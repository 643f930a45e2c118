"""What the tests share: components are built by name, as a recipe builds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mentor_kit.core.component import ComponentSpec
from mentor_kit.hooks import BuildContext, Registry, default_registry

Build = Callable[..., Any]


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The components of all installed plugins."""
    return default_registry()


@pytest.fixture(scope="session")
def build(registry: Registry) -> Build:
    """Builds a component by its kind, name and options; `context` has what `build` may need of a recipe."""

    def built(kind: Any, name: str, context: BuildContext | None = None, **options: Any) -> Any:
        return registry.build(kind, ComponentSpec(use=name, options=options), context or BuildContext(registry))

    return built
