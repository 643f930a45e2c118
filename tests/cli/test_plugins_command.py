"""`mentorkit plugins NAME`: the options of a component as people read them."""

from __future__ import annotations

import re

import pytest

from mentor_kit.cli.app import run_app


@pytest.mark.parametrize("name", ["grpo", "sft", "conversations", "mentor", "python", "wandb"])
def test_options_that_are_said_to_follow_do(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["plugins", name]) == 0
    said = capsys.readouterr().out
    options = re.findall(r"^  ([\w.]+): (.*)$", said.partition("\noptions:\n")[2], re.MULTILINE)
    outer = {option for option, about in options if about.endswith("(its own options follow)")}
    assert options
    assert outer <= {option.rpartition(".")[0] for option, _ in options}
