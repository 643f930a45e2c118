"""Writes a new plugin: a package with samples of the chosen kinds, their tests, a recipe and a README."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.scaffold.hook_module import hooks_of, with_hooks
from mentor_kit.api.scaffold.names import PluginNames, check_clashes
from mentor_kit.api.scaffold.new_folder import write_new
from mentor_kit.api.scaffold.sample_recipe import sample_recipe
from mentor_kit.api.scaffold.samples import (
    BASE,
    DEFAULT,
    FOLDER_FILES,
    PACKAGE_FILES,
    TEST_FILES,
    Sample,
    chosen_samples,
    example_folder,
    examples_used,
    module_of,
)
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry

#: Files of a package: their places in its folder, and their contents.
Files = dict[str, str]


@dataclass(frozen=True)
class NewPlugin:
    """A plugin that was written."""

    folder: Path
    names: PluginNames
    kinds: tuple[str, ...]
    files: tuple[str, ...]
    """The places of its files in the folder, sorted."""

    @property
    def recipe(self) -> str:
        """The place of its recipe in the folder."""
        return f"{self.names.package}/recipe.yaml"

    def next_steps(self) -> list[str]:
        """The commands that install the package, test it, and run its recipe."""
        return [f"cd {quote(str(self.folder))}", "pip install -e '.[test]'", "pytest", f"mentorkit run {self.recipe}"]

    def as_data(self) -> dict[str, Json]:
        """The plugin for programs."""
        return {
            "folder": str(self.folder),
            "plugin": self.names.plugin,
            "distribution": self.names.distribution,
            "package": self.names.package,
            "kinds": list(self.kinds),
            "recipe": str(self.folder / self.recipe),
            "files": list(self.files),
        }


@checked_arguments
def new_plugin(
    name: str, kinds: Sequence[str] = DEFAULT, *, folder: str | Path | None = None, registry: Registry | None = None
) -> NewPlugin:
    """Write a package with a plugin into a new folder. Its tests pass as it is.

    Args:
        name: the plugin's name, such as `chess`; its distribution is then `mentor-kit-chess`, its Python package
            `mentor_kit_chess`, and its components are called `chess`.
        kinds: what it has samples of: kinds of components, `commands` and `doctor`. A task comes with its tools.
        folder: the new folder; that of the distribution's name in the working directory if left out.
        registry: the plugins whose names it must not have; those of this environment if left out.

    Raises:
        UsageError: the name cannot be used or is taken, there is no such kind, or the folder is there already.
        MentorKitError: the folder cannot be written.
    """
    names, samples = PluginNames.of(name), chosen_samples(kinds)
    check_clashes(names, samples, registry or default_registry())
    files = plugin_files(names, samples)
    written = write_new(Path(names.distribution if folder is None else folder), files)
    return NewPlugin(written, names, tuple(sample.kind for sample in samples), tuple(sorted(files)))


def plugin_files(names: PluginNames, samples: Sequence[Sample]) -> Files:
    """Return the files of a package with these samples."""
    package = names.package
    files = {f"{package}/__init__.py": _hooks(names, samples), f"{package}/recipe.yaml": _recipe(names, samples)}
    files |= {file: _read(BASE, file) for file in FOLDER_FILES}
    for file in PACKAGE_FILES:
        files[f"{package}/{file}"] = _read(BASE, f"{module_of(BASE)}/{file}")
    for file in TEST_FILES:
        files[f"tests/{file}"] = names.renamed(_read(BASE, f"tests/{file}"), BASE)
    for sample in samples:
        inside, beside = module_of(sample.example), package
        places = {f"{inside}/{file}": f"{beside}/{file}" for file in sample.files}
        places |= {f"tests/{file}": f"tests/{file}" for file in sample.tests}
        for old, new in places.items():
            files[new] = names.renamed(_read(sample.example, old), sample.example, sample.aliases)
    return {**files, "pyproject.toml": _project(names, samples), "README.md": _readme(names, samples, files)}


def _read(example: str, file: str) -> str:
    return (example_folder(example) / file).read_text(encoding="utf-8")


def _hooks(names: PluginNames, samples: Sequence[Sample]) -> str:
    """The package's own module, with the hooks of all samples."""
    further = []
    for sample in samples:
        if sample.example != BASE:
            source = hooks_of(_read(sample.example, f"{module_of(sample.example)}/__init__.py"))[sample.hook]
            further.append(names.renamed(source, sample.example, sample.aliases))
    ours = {sample.hook for sample in samples if sample.example == BASE}
    return with_hooks(names.renamed(_read(BASE, f"{module_of(BASE)}/__init__.py"), BASE), ours, further)


def _recipe(names: PluginNames, samples: Sequence[Sample]) -> str:
    text = sample_recipe(_read(BASE, f"{module_of(BASE)}/recipe.yaml"), samples)
    for sample in samples:
        text = names.renamed(text, sample.example, sample.aliases)
    return names.renamed(text, BASE)


def _project(names: PluginNames, samples: Sequence[Sample]) -> str:
    """The `pyproject.toml` with what all samples need; the licence is for the author to choose."""
    projects = [tomllib.loads(_read(example, "pyproject.toml")) for example in examples_used(samples)]
    needed = _quoted(item for project in projects for item in project["project"]["dependencies"])
    tested = _quoted(item for project in projects for item in project["project"]["optional-dependencies"]["test"])
    untyped = _quoted(item for project in projects for item in project["tool"]["mypy"]["overrides"][0]["module"])
    text = names.renamed(_read(BASE, "pyproject.toml"), BASE)
    for key, value in (("dependencies", needed), ("test", tested), ("module", untyped)):
        text = re.sub(rf"^{key} = \[.*\]$", f"{key} = [{value}]", text, flags=re.MULTILINE)
    return re.sub(r"^license = .*\n", "", text, flags=re.MULTILINE)


def _quoted(items: Iterable[str]) -> str:
    return ", ".join(f'"{item}"' for item in dict.fromkeys(items))


def _readme(names: PluginNames, samples: Sequence[Sample], files: Files) -> str:
    """The README, whose table has a row for each component."""
    text = names.renamed(_read(BASE, "README.md"), BASE)
    kinds = {sample.kind for sample in samples}
    rows = list(_rows(text))
    # every plugin has the recipe's file; the row is about its name
    kept = [row for row in rows if row[1] in files and (not row[1].endswith("recipe.yaml") or "recipes" in kinds)]
    for sample in samples:
        if sample.example != BASE:
            other = names.renamed(_read(sample.example, "README.md"), sample.example, sample.aliases)
            kept += [row for row in _rows(other) if row[1] == f"{names.package}/{sample.files[0]}"]
    first, last = rows[0][0], rows[-1][0]
    start, end = text.index(first), text.index(last) + len(last)
    return text[:start] + "\n".join(line for line, _ in kept) + text[end:]


def _rows(text: str) -> Iterator[tuple[str, str]]:
    """The rows of a README's table of components, each with the file that it names in its last column."""
    for line in text.splitlines():
        if found := re.fullmatch(r"\| .* \| .* \| `([\w./]+/[\w.]+)` \|", line):
            yield line, found[1]
