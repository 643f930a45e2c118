"""docs/teachers.md names every option there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mentor_kit_teachers.local_options import LocalOptions
from mentor_kit_teachers.retry import RetryOptions
from mentor_kit_teachers.server_options import AnthropicOptions, OpenAIOptions
from mentor_kit_teachers.spending import Prices

DOCS = (Path(__file__).parents[3] / "docs" / "teachers.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("options", [OpenAIOptions, AnthropicOptions, LocalOptions, RetryOptions, Prices])
def test_every_option_is_documented(options):
    first_columns = " ".join(line.split("|")[1] for line in DOCS.splitlines() if line.startswith("|"))
    assert set(options.model_fields) <= set(re.findall(r"`(\w+)`", first_columns))
