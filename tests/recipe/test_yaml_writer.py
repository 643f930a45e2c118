"""Data written as YAML is the same for readers of YAML 1.1 and 1.2."""

from __future__ import annotations

import pytest
import yaml
from ruamel.yaml import YAML

from mentor_kit.recipe.yaml_writer import to_yaml

VALUES = [
    1e-6,
    -2e-9,
    1.5e-8,
    1e22,
    0.1,
    3.0,
    float("inf"),
    7,
    "1e-6",
    "on",
    "no",
    "1:30",
    "0o7",
    "a b",
    "",
    None,
    True,
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_all_readers_find_the_same(value: object) -> None:
    written = to_yaml({"key": value, "list": [value]})
    for found in (yaml.safe_load(written), YAML(typ="safe", pure=True).load(written)):
        assert found == {"key": value, "list": [value]}
        assert type(found["key"]) is type(value)
