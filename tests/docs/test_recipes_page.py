"""docs/recipes.md shows the quickstart as it ships."""

from __future__ import annotations

import re
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]


def test_the_whole_recipe_of_the_quickstart_is_whole() -> None:
    shown = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "recipes.md").read_text(), re.S)
    assert shown is not None
    yaml = YAML(typ="safe")
    assert yaml.load(shown[1]) == yaml.load((ROOT / "recipes" / "quickstart.yaml").read_text())
