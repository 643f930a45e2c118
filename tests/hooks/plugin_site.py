"""Installs plugins as pip leaves them: modules with their own metadata."""

from __future__ import annotations

from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from textwrap import dedent

from mentor_kit.hooks import Plugins, load_plugins

COIN = """
    from mentor_kit.hooks import hookimpl
    from pydantic import BaseModel, ConfigDict, Field

    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
        sides: int = Field(default=2, ge=2)
        faces: list[dict[str, int]] = []

    def flip() -> str:
        '''Flip a coin.'''
        return "heads"

    @hookimpl
    def register_tools(register):
        register("coin", options=Options, build=lambda options, context: [flip] * options.sides, summary="flips")
"""


class Site:
    """A folder of installed packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, source: str, *, module: str | None = None) -> None:
        module = module or f"plugin_{name}"
        (self.folder / f"{module}.py").write_text(dedent(source), encoding="utf-8")
        info = self.folder / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.2\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[mentorkit]\n{name} = {module}\n", encoding="utf-8")

    def points(self) -> list[EntryPoint]:
        return [point for found in distributions(path=[str(self.folder)]) for point in found.entry_points]

    def load(self) -> Plugins:
        return load_plugins(self.points())
