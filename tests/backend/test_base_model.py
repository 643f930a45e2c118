"""Files that leave the machine name a base model by its hub id, and no path of the machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mentor_kit.backend.base_model import HubModel, hub_model, is_hub_id, name_base_model
from mentor_kit.backend.student import StudentSpec

COMMIT = "12fd25f77366fa6b3b4b768ec3050bf629380bac"


@pytest.mark.parametrize(
    ("model", "revision", "expected"),
    [
        ("Qwen/Qwen3-0.6B", None, HubModel("Qwen/Qwen3-0.6B")),
        ("Qwen/Qwen3-0.6B", "v1", HubModel("Qwen/Qwen3-0.6B", "v1")),
        # huggingface_hub's cache: models--OWNER--NAME/snapshots/COMMIT
        (f"/c/hub/models--Qwen--Qwen3-0.6B/snapshots/{COMMIT}", None, HubModel("Qwen/Qwen3-0.6B", COMMIT)),
        (f"/c/hub/models--Qwen--Qwen3-0.6B/snapshots/{COMMIT}/onnx", None, None),
        ("/home/me/models/tiny", None, None),
        ("models/of/mine", None, None),
    ],
)
def test_the_hubs_name(model: str, revision: str | None, expected: HubModel | None) -> None:
    assert hub_model(StudentSpec(model, revision)) == expected


def test_a_folder_with_the_form_of_a_hub_id_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub_model(StudentSpec("models/tiny")) is None


def test_hub_ids_are_those_that_the_hubs_client_takes() -> None:
    pytest.importorskip("huggingface_hub")
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    names = [
        "a/b",
        "a-b/c.d_e",
        "a/b--c",
        "a/b..c",
        "a/b/c",
        "a",
        "a/",
        "/b",
        "a /b",
        "../a",
        "a/.b",
        "~/b",
        "a/b.git",
        "a/b-",
        "a/b.",
        "a./b",
        "_a/b",
        "é/b",
    ]
    for name in [*names, f"a/{'b' * 96}", f"a/{'b' * 97}"]:
        try:
            validate_repo_id(name)
            valid = "/" in name
        except HFValidationError:
            valid = False
        assert is_hub_id(name) == valid, name


@pytest.mark.parametrize("base", ["/home/me/models/tiny", "", None])
def test_an_adapter_of_a_local_model_names_none(tmp_path: Path, base: str | None) -> None:
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": base, "r": 4}))
    name_base_model(tmp_path, StudentSpec(str(tmp_path)))
    assert json.loads(file.read_text()) == {
        **{"peft_type": "LORA", "base_model_name_or_path": None, "revision": None, "r": 4},
    }


def test_an_adapter_of_a_hub_model_names_it(tmp_path: Path) -> None:
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "/cache/x"}))
    name_base_model(tmp_path, StudentSpec(f"/c/models--Qwen--Qwen3-0.6B/snapshots/{COMMIT}"))
    found = json.loads(file.read_text())
    assert (found["base_model_name_or_path"], found["revision"]) == ("Qwen/Qwen3-0.6B", COMMIT)


def test_an_adapter_of_mlx_lm_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "adapter_config.json"
    file.write_text(written := json.dumps({"fine_tune_type": "lora", "lora_parameters": {"rank": 8}}))
    name_base_model(tmp_path, StudentSpec("Qwen/Qwen3-0.6B"))
    name_base_model(tmp_path / "none", StudentSpec("Qwen/Qwen3-0.6B"))
    assert file.read_text() == written
