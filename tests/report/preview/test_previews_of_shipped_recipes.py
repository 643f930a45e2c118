"""Every shipped recipe has a preview, with stand-ins for what only a hub, a server or a run gives."""

from __future__ import annotations

import json
import socket
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from mentor_kit import api
from mentor_kit.core.errors import MissingError
from mentor_kit.recipe.loading import recipe_names
from mentor_kit.recipe.settings import parse_settings
from mentor_kit.report.preview.page import preview_page
from mentor_kit.report.preview.text import preview_text

sys.path.append(str(Path(__file__).parents[2] / "recipe"))
from shipped_recipes import settings_of, write_data

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **_: Any) -> None:
        raise AssertionError(f"a preview asks the network: {arguments}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_has_a_preview(name: str, data: Path) -> None:
    settings = parse_settings(settings_of(name, data))
    recipe = api.check(name, overrides=settings).recipe
    try:
        found = api.preview(name, overrides=settings, problems=2)
    except MissingError as error:
        pytest.skip(error.message)
    assert found.recipe == recipe.name
    assert 1 <= len(found.problems) <= 2
    assert {tool for problem in found.problems for tool in problem.tools} == set(found.tools)
    assert (found.reward_maximum is None) == (recipe.reward is None)
    assert not any("no prompts" in note for note in found.notes)
    lengths = {one.name: one for one in found.lengths}
    text = preview_text(found, colours=False, width=80).plain
    page = unescape(preview_page(found))
    for problem in found.problems:
        assert problem.prompt_tokens is not None
        assert problem.prompt_tokens <= lengths["prompt"].largest
        assert problem.question in page
        assert problem.id in text
        for shown in problem.demonstrations:
            assert (shown.reward is None) == (recipe.reward is None or shown.trajectory is None)
            assert shown.trained_tokens <= shown.response_tokens
            if shown.reward is not None:
                assert found.reward_maximum is not None
                assert shown.reward.total <= found.reward_maximum + 1e-9
    assert json.loads(json.dumps(found.as_data()))["problems"][0]["id"] == found.problems[0].id
