from __future__ import annotations

from pathlib import Path

import pytest

from mentor_kit.utils.paths import expanded_path, portable_path, tilde_path, without_home


@pytest.mark.parametrize(
    ("path", "start", "expected"),
    [
        ("home/me/project/recipes", "home/me/project/runs/a/1", "../../../recipes"),
        ("home/me/recipes", "home/me/project/runs/a/1", "../../../../recipes"),
        ("home/me", "home/me/runs", ".."),
        ("home/me/recipes", "home/me/recipes", "."),
        ("srv/shared/recipes", "srv/runs/a/1", "../../../shared/recipes"),
        ("home/me/recipes", "srv/runs/a/1", "~/recipes"),
        ("home/me", "srv/runs/a/1", "~"),
    ],
)
def test_the_home_is_not_named_and_the_path_is_found(
    path: str, start: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (path, start, "home/me"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home/me"))
    found = portable_path(tmp_path / path, tmp_path / start)
    assert found == expected
    assert (tmp_path / start / expanded_path(found)).resolve() == (tmp_path / path).resolve()


def test_a_path_outside_the_home_stays_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home/me"))
    assert portable_path(tmp_path / "opt/recipes", tmp_path / "home/me/runs/a") == str(tmp_path / "opt/recipes")
    assert tilde_path(tmp_path / "opt") == str(tmp_path / "opt")
    assert tilde_path(tmp_path / "home/me/x") == "~/x"


def test_a_home_that_is_the_root_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    assert portable_path(Path("/opt/recipes"), Path("/srv/runs")) == "/opt/recipes"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path: /home/me/data/a.jsonl", "path: ~/data/a.jsonl"),
        ('"/home/me"', '"~"'),
        ("file:///home/me/x", "file://~/x"),
        ("../../../home/me/x", "~/x"),
        ("/home/me2/x and /home/me-x", "/home/me2/x and /home/me-x"),
        ("/data/home/me/x", "/data/home/me/x"),
        ("home/me", "home/me"),
    ],
)
def test_texts_that_leave_the_machine_do_not_name_the_home(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert without_home(text) == expected
