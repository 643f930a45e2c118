"""Pushes to a stand-in for the hub: one commit with every file, and errors that say what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_stand_in import READ, WRITE, HubStandIn, Repository, hub_stand_in

from mentor_kit import api
from mentor_kit.core.errors import MentorKitError, MissingError, UsageError

pytest.importorskip("huggingface_hub")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubStandIn]:
    from huggingface_hub import constants

    with hub_stand_in() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", WRITE)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        # the protocol of large files that the hub had before Xet, and still has
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """An exported folder; what is hidden in it is not of the export."""
    folder = tmp_path / "student"
    (folder / ".eval_results").mkdir(parents=True)
    (folder / ".cache").mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 8)
    (folder / "README.md").write_text("---\nlibrary_name: transformers\n---\n# mine\n")
    (folder / ".eval_results" / "mentor-kit.yaml").write_text("[]\n")
    (folder / ".cache" / "x").write_text("x")
    (folder / ".DS_Store").write_text("x")
    return folder


NAMES = {"config.json", "model.safetensors", "README.md", ".eval_results/mentor-kit.yaml"}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in NAMES}


def test_a_new_repository_gets_every_file_in_one_commit(hub: HubStandIn, student: Path) -> None:
    done = api.push(student, "me/mine")
    found = hub.repositories["me/mine"]
    assert {name: found.files[name] for name in found.files if name != ".gitattributes"} == contents(student)
    assert not found.private
    assert done.commit is not None
    assert [done.commit.id] == found.commits
    assert done.commit.url == f"{hub.url}/me/mine"
    assert {file.path: file.bytes for file in done.files} == {k: len(v) for k, v in contents(student).items()}


def test_a_private_repository(hub: HubStandIn, student: Path) -> None:
    api.push(student, "me/mine", private=True)
    assert hub.repositories["me/mine"].private


def test_a_public_repository_is_not_pushed_to_as_private(hub: HubStandIn, student: Path) -> None:
    hub.repositories["me/mine"] = Repository(private=False)
    with pytest.raises(UsageError, match="public"):
        api.push(student, "me/mine", private=True, update=True)
    assert hub.repositories["me/mine"].commits == []


def test_a_repository_with_files_is_only_updated_on_request(hub: HubStandIn, student: Path) -> None:
    hub.repositories["me/mine"] = Repository(files={"notes.txt": b"mine"})
    with pytest.raises(UsageError, match="me/mine is there already") as error:
        api.push(student, "me/mine")
    assert "--update" in (error.value.hint or "")
    api.push(student, "me/mine", update=True)
    assert hub.repositories["me/mine"].files["notes.txt"] == b"mine"


def test_an_empty_repository_of_the_hubs_page_takes_a_push(hub: HubStandIn, student: Path) -> None:
    hub.repositories["me/mine"] = Repository(private=True, files={".gitattributes": b"", "README.md": b"# x"})
    api.push(student, "me/mine")
    assert set(hub.repositories["me/mine"].files) == NAMES | {".gitattributes"}


def test_weights_of_an_earlier_push_do_not_stay_beside_the_new_ones(hub: HubStandIn, student: Path) -> None:
    before = ["model-00001-of-00002.safetensors", "model.safetensors.index.json", "adapter_config.json", "x.gguf"]
    hub.repositories["me/mine"] = Repository(files=dict.fromkeys([*before, "model.safetensors"], b"old"))
    done = api.push(student, "me/mine", update=True)
    assert done.commit is not None
    assert set(done.commit.removed) == set(before[:3])
    assert set(hub.repositories["me/mine"].files) == NAMES | {"x.gguf"}
    assert hub.repositories["me/mine"].files["model.safetensors"] == (student / "model.safetensors").read_bytes()


def test_a_dry_run_asks_nobody(hub: HubStandIn, student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    done = api.push(student, "me/mine", dry_run=True)
    assert hub.requests == []
    assert done.commit is None
    assert {file.path for file in done.files} == NAMES
    assert done.card == (student / "README.md").read_text()


@pytest.mark.parametrize(
    "name", ["mine", "me/mine/x", "me/mi ne", "../mine", "me/", "me/mine.git", "https://hf.co/a/b"]
)
def test_a_name_that_is_none(hub: HubStandIn, student: Path, name: str) -> None:
    with pytest.raises(UsageError):
        api.push(student, name)
    assert hub.requests == []


def test_no_token(hub: HubStandIn, student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(MissingError, match="token"):
        api.push(student, "me/mine")
    assert hub.requests == []


@pytest.mark.parametrize(
    ("token", "repository", "text"),
    [("hf_old", "me/mine", "401"), (READ, "me/mine", "'my token' may only read"), (WRITE, "you/mine", "403")],
)
def test_a_token_that_will_not_do(
    hub: HubStandIn, student: Path, monkeypatch: pytest.MonkeyPatch, token: str, repository: str, text: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(MentorKitError, match=text) as error:
        api.push(student, repository)
    assert error.value.exit_code == 1
    assert "https://huggingface.co/settings/tokens" in (error.value.hint or "")
    assert token not in str(error.value)
    assert hub.repositories == {}


@pytest.mark.parametrize(
    ("end", "status", "text"),
    [("/api/repos/create", 409, "taken"), ("/commit/main", 412, "412"), ("/preupload/main", 403, "may not write")],
)
def test_what_the_hub_refuses(hub: HubStandIn, student: Path, end: str, status: int, text: str) -> None:
    hub.failing[end] = status
    if end != "/api/repos/create":
        hub.repositories["me/mine"] = Repository()
    with pytest.raises(MentorKitError, match=text) as error:
        api.push(student, "me/mine")
    assert error.value.exit_code == 1
    assert error.value.hint is None or "Traceback" not in error.value.hint


def test_a_card_that_the_hub_refuses(hub: HubStandIn, student: Path) -> None:
    (student / "README.md").write_text("---\nbase_model: /home/me/models/tiny\n---\n")
    with pytest.raises(MentorKitError, match="base_model"):
        api.push(student, "me/mine")


def test_no_network(student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", WRITE)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(MissingError, match=r"127\.0\.0\.1:1 does not answer"):
        api.push(student, "me/mine")


def test_offline_mode(hub: HubStandIn, student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingError) as error:
        api.push(student, "me/mine")
    assert "HF_HUB_OFFLINE" in (error.value.hint or "")
    assert hub.requests == []


@pytest.mark.parametrize("more", [{"license": "mit"}, {"benchmarks": {"test": "a/b"}}])
def test_an_exported_folders_card_is_its_own(student: Path, more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="exported already"):
        api.push(student, "me/mine", dry_run=True, **more)


@pytest.mark.parametrize("key", ["hf_" + "aB3" * 11, "sk-proj-" + "x1_-" * 9, "ghp_" + "Z9" * 18, "AKIA" + "Q7" * 8])
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_key_in_a_card_is_not_pushed(hub: HubStandIn, student: Path, key: str, dry_run: bool) -> None:
    (student / "README.md").write_text(
        f"---\nlicense: mit\n---\n```yaml\nheaders: {{Authorization: Bearer {key}}}\n```\n"
    )
    with pytest.raises(UsageError, match="looks like a key") as error:
        api.push(student, "me/mine", dry_run=dry_run)
    assert key not in str(error.value)
    assert hub.repositories == {}


def test_what_is_neither_a_run_nor_an_export(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError):
        api.push(tmp_path / "empty", "me/mine", dry_run=True, output=tmp_path / "runs")


def test_a_push_as_data(hub: HubStandIn, student: Path) -> None:
    found = json.loads(json.dumps(api.push(student, "me/mine").to_json()))
    assert (found["repository"], found["dry_run"]) == ("me/mine", False)
    assert found["commit"] == hub.repositories["me/mine"].commits[0]
    assert sum(file["bytes"] for file in found["files"]) == found["bytes"]
