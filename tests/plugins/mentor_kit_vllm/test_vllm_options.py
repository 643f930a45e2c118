"""What a recipe may say of the sampler `vllm`, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mentor_kit_vllm.options import VLLMOptions, look_at_vllm

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import UsageError
from mentor_kit.core.secret import Secret
from mentor_kit.hooks import BuildContext, Registry, load_plugins


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({}, "start"),
        ({"servers": ["http://h:1"], "start": {}}, "either"),
        ({"servers": ["h:1"]}, "h:1"),
        ({"start": {"count": 2, "devices": ["0"]}}, "devices"),
        ({"servers": ["http://h:1"], "weights": "post"}, "weights"),
        ({"servers": ["http://h:1"], "at_once": 0}, "at_once"),
        ({"servers": ["http://h:1"], "api_key": "hunter22"}, "api_key"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], place: str) -> None:
    with pytest.raises(UsageError, match=place):
        VLLMOptions(**options)


def test_a_key_is_taken_from_the_environment() -> None:
    key = Secret("hunter22", "${env:KEY}")
    assert VLLMOptions(servers=("http://h:1",), api_key=key).api_key == "hunter22"


def test_what_is_not_there_is_found_before_the_run(tmp_path: Path) -> None:
    options = VLLMOptions(start={"python": str(tmp_path / "python")}, folder="missing")
    found = dict(look_at_vllm(options, BuildContext(Registry(load_plugins([])), recipe_folder=tmp_path)))
    assert set(found) == {("start", "python"), ("folder",)}


def test_it_is_registered() -> None:
    from importlib.metadata import EntryPoint

    registry = Registry(load_plugins([EntryPoint("vllm", "mentor_kit_vllm", "mentorkit")]))
    assert registry.check("samplers", ComponentSpec(use="vllm", options={"servers": ["http://h:1"]}))
