"""The names of a new plugin, all made from one, and what they would clash with."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

from mentor_kit.api.scaffold.samples import Sample, module_of
from mentor_kit.core.errors import UsageError
from mentor_kit.hooks.registry import KINDS, Registry, noun

#: What the names of distributions of plugins begin with.
PREFIX = "mentor-kit-"
#: The longest name: lines of the examples stay within 120 characters with it.
LONGEST = 24

_FORM = "letters and digits in words that are joined by hyphens, the first one a letter, such as `chess-openings`"


@dataclass(frozen=True)
class PluginNames:
    """The names of a plugin called `chess-openings`."""

    plugin: str
    """`chess-openings`: the entry point, and every component."""

    @property
    def distribution(self) -> str:
        """`mentor-kit-chess-openings`: what pip installs."""
        return PREFIX + self.plugin

    @property
    def package(self) -> str:
        """`mentor_kit_chess_openings`: what Python imports."""
        return self.distribution.replace("-", "_")

    @property
    def snake(self) -> str:
        """`chess_openings`: the beginning of functions' names."""
        return self.plugin.replace("-", "_")

    @property
    def camel(self) -> str:
        """`ChessOpenings`: the beginning of classes' names."""
        return "".join(word.capitalize() for word in self.plugin.split("-"))

    @staticmethod
    def of(name: str) -> PluginNames:
        """Return the names that a user's name makes: `chess`, `mentor-kit-chess` and `mentor_kit_chess` are one.

        Raises:
            UsageError: it makes no names for PyPI and Python.
        """
        if not isinstance(name, str):
            raise UsageError(f"a plugin cannot be called {name!r}", hint=f"expected {_FORM}")
        plugin = re.sub(r"[-_.]+", "-", name).lower().removeprefix(PREFIX)
        if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", plugin):
            close = re.sub(r"[^a-z0-9]+", "-", plugin).strip("-0123456789")
            # of a name in another script a few letters are left, which are no suggestion
            is_close = close != plugin and 2 * len(close) > len(plugin)
            suggestion = f" (did you mean {close!r}?)" if is_close else ""
            raise UsageError(f"a plugin cannot be called {name!r}{suggestion}", hint=f"expected {_FORM}")
        if len(plugin) > LONGEST:
            raise UsageError(
                f"the name {plugin!r} has {len(plugin)} characters", hint=f"expected at most {LONGEST}: a shorter one"
            )
        return PluginNames(plugin)

    def renamed(self, text: str, example: str, aliases: Iterable[str] = ()) -> str:
        """Return a text of an example with this plugin's names in place of the example's.

        Args:
            text: Python, TOML, YAML or Markdown.
            example: the name of the example's plugin.
            aliases: names of its components other than the plugin's own.
        """
        ours = "|".join([example, *aliases])
        before = "use: |name: |model: |format: |backend |mentorkit |mentorkit plugins "
        rules = (
            (rf"\b{module_of(example)}(?![a-z])", self.package),
            (rf"\b{PREFIX}{example}(?![a-z])", self.distribution),
            (rf"([\"`])(?:{ours})(?=[\"`])", rf"\g<1>{self.plugin}"),
            (rf"\b({before})(?:{ours})\b", rf"\g<1>{self.plugin}"),
            (rf"^{example} = ", f"{self.plugin} = "),
            (rf"\b{example}_(?=[a-z])", f"{self.snake}_"),
            (rf"\b{example.upper()}_(?=[A-Z])", f"{self.snake.upper()}_"),
            (rf"{example.capitalize()}(?![a-z])", self.camel),
        )
        # a name of ours that has the example's in it, such as weather-station, is not renamed again
        all_ours = {self.plugin, self.package, self.distribution, self.snake, self.snake.upper(), self.camel}
        holding = [name for name in all_ours if any(word in name.lower() for word in (example, *aliases))]
        for pattern, name in rules:
            text = _replaced(pattern, name, text, holding)
        return text


def _replaced(pattern: str, name: str, text: str, kept: Iterable[str]) -> str:
    """Replace a pattern, but for matches that end inside one of the kept strings."""
    spans = [found.span() for one in kept for found in re.finditer(re.escape(one), text)]

    def new(match: re.Match[str]) -> str:
        is_kept = any(start < match.end() <= end for start, end in spans)
        return match[0] if is_kept else match.expand(name)

    return re.sub(pattern, new, text, flags=re.MULTILINE)


def check_clashes(names: PluginNames, samples: Iterable[Sample], registry: Registry) -> None:
    """Check that nothing installed has a name of the new plugin.

    Raises:
        UsageError: something has; the message says what.
    """
    if clash := _clash(names, samples, registry):
        raise UsageError(
            f"a plugin cannot be called {names.plugin!r}: {clash}",
            hint=f"take another name, such as `my-{names.plugin}`",
        )


def _clash(names: PluginNames, samples: Iterable[Sample], registry: Registry) -> str:
    for info in registry.plugins.found:
        if info.name == names.plugin:
            return f"{info.distribution} has a plugin of that name"
    if find_spec(names.package) is not None:
        return f"a package {names.package} is installed already"
    try:
        return f"{names.distribution} {metadata.version(names.distribution)} is installed already"
    except metadata.PackageNotFoundError:
        pass
    for sample in samples:
        for kind in (kind for kind in KINDS if kind == sample.kind and registry.has(kind, names.plugin)):
            owner = registry.components(kind)[names.plugin].owner
            return f"the plugin {owner!r} has a {noun(kind)} of that name"
    return ""
