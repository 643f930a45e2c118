"""The table of architectures names for each the family that its models' own template is found to be of."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from family_formats import make

from mentor_kit.core.conversation import user
from mentor_kit.core.errors import ChatError
from mentor_kit.core.tool import Tool

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
kinds = pytest.importorskip("architecture_kinds", reason="the benchmarks are not there")
FAMILIES = {kind.template: kind.calls for kind in kinds.ARCHITECTURES.values() if kind.template is not None}
TOOLS = {"divide": Tool.declared("divide", "Divide two numbers.", {"type": "object", "properties": {}})}


@pytest.mark.parametrize(("template", "family"), FAMILIES.items())
def test_the_family_is_that_of_the_template(template: str, family: str) -> None:
    chat = make(template)
    if not family:
        with pytest.raises(ChatError):
            chat.open([user("Hello")], TOOLS)
        return
    chat.open([user("Hello")], TOOLS)
    assert chat.family is not None
    assert chat.family.name == family
