"""What `mentorkit doctor` finds on a machine: backends, the hub's settings, processors and their memory."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from mentor_kit import api
from mentor_kit.api.machine import packages
from mentor_kit.api.machine.check import MachineCheck
from mentor_kit.api.machine.hub import HubPlaces, hub_checks
from mentor_kit.api.machine.processors import processor_checks
from mentor_kit.backend import requirements
from mentor_kit.utils import gpus, machine

GIB = 1 << 30

#: Settings of the hub's places.
SETTINGS: list[dict[str, str]] = [
    {},
    {"HF_HOME": "/data/hf"},
    {"HF_HOME": "~/hf"},
    {"HF_HUB_CACHE": "$HOME/models", "HF_TOKEN_PATH": "$HOME/token"},
    {"XDG_CACHE_HOME": "/scratch"},
    {"XDG_CACHE_HOME": "/scratch", "HF_HOME": "/data/hf"},
    {"HF_HUB_CACHE": "/models", "HF_HOME": "/data/hf"},
    {"HUGGINGFACE_HUB_CACHE": "/older"},
    {"HUGGINGFACE_HUB_CACHE": "/older", "HF_HUB_CACHE": "/newer"},
    {"HF_TOKEN_PATH": "/secrets/token"},
    {"HF_DATASETS_CACHE": "/rows", "HF_HOME": "/data/hf"},
    {"HF_HUB_OFFLINE": "1"},
    {"HF_HUB_OFFLINE": "yes"},
    {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"},
    {"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "true"},
    {"TRANSFORMERS_OFFLINE": "on"},
]

#: Asks the hub's own packages, once for each of the settings.
ASK_THE_HUB = """
import importlib, json, os, sys
import huggingface_hub.constants as hub
import datasets.config as data
found = []
for settings in json.loads(sys.argv[1]):
    os.environ.update(settings)
    importlib.reload(hub), importlib.reload(data)
    found.append([hub.HF_HOME, hub.HF_HUB_CACHE, hub.HF_TOKEN_PATH, str(data.HF_DATASETS_CACHE), hub.HF_HUB_OFFLINE])
    for name in settings:
        del os.environ[name]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def of_the_hub() -> list[list[str]]:
    clean = {"HOME": "/home/someone", "PATH": "/usr/bin:/bin"}
    asked = [sys.executable, "-c", ASK_THE_HUB, json.dumps(SETTINGS)]
    done = subprocess.run(asked, capture_output=True, text=True, env=clean)
    assert done.returncode == 0, done.stderr
    found: list[list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_the_hubs_places_are_those_of_its_own_packages(
    number: int, of_the_hub: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    places = HubPlaces.of(SETTINGS[number])
    *expected, offline = of_the_hub[number]
    assert [str(path) for path in (places.home, places.models, places.token, places.datasets)] == expected
    assert by_name(hub_checks(SETTINGS[number]))["hub offline"].facts["offline"] == offline


def by_name(checks: object) -> dict[str, MachineCheck]:
    return {check.name: check for check in checks}  # type: ignore[attr-defined]


@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_a_token_of_the_environment_is_named_by_its_variable(variable: str, tmp_path: Path) -> None:
    checks = by_name(hub_checks({variable: "hf_secret", "HF_HOME": str(tmp_path)}))
    assert checks["hub token"].facts == {"token": True, "from": variable}
    assert "hf_secret" not in repr(checks)


def test_a_token_of_the_file_is_named_by_its_place(tmp_path: Path) -> None:
    environment = {"HF_HOME": str(tmp_path), "HF_TOKEN": " "}
    assert by_name(hub_checks(environment))["hub token"].facts["token"] is False
    (tmp_path / "token").write_text("hf_secret\n")
    checks = by_name(hub_checks(environment))
    assert checks["hub token"].facts == {"token": True, "from": str(tmp_path / "token")}
    assert "hf_secret" not in repr(checks)


def test_a_token_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "token").mkdir()
    check = by_name(hub_checks({"HF_HOME": str(tmp_path)}))["hub token"]
    assert not check.ok
    assert str(tmp_path / "token") in check.detail


def test_caches_are_counted_and_must_take_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hub" / "models--a--b").mkdir(parents=True)
    (tmp_path / "hub" / "datasets--a--b").mkdir()
    environment = {"HF_HOME": str(tmp_path)}
    check = by_name(hub_checks(environment))["hub cache"]
    assert (check.ok, check.facts["models"], check.facts["from"]) == (True, 1, "HF_HOME")
    assert check.facts["path"] == str(tmp_path / "hub")
    assert int(str(check.facts["free_bytes"])) > 0
    monkeypatch.setattr("mentor_kit.api.machine.check.os.access", lambda *_: False)
    assert not by_name(hub_checks(environment))["hub cache"].ok
    # nothing is written into it then
    assert by_name(hub_checks(environment | {"HF_HUB_OFFLINE": "1"}))["hub cache"].ok


def test_a_mirror_is_named_without_its_password(tmp_path: Path) -> None:
    environment = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "https://me:secret@mirror.example/hub"}
    check = by_name(hub_checks(environment))["hub endpoint"]
    assert (check.ok, check.detail) == (True, "mirror.example")


def stand_in(folder: Path, name: str, script: str) -> Path:
    """A program that prints what another would."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


HEADER = "| NVIDIA-SMI 570.86.15    Driver Version: 570.86.15    CUDA Version: 12.8 |"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_nvidias_gpus_are_listed_with_memory_driver_and_cuda(driver: Path) -> None:
    rows = r"NVIDIA H200, 143771, 143000, 570.86.15\nNVIDIA GB10, [N/A], [Not Supported], 570.86.15"
    stand_in(driver, "nvidia-smi", f"if [ $# -gt 0 ]; then printf '{rows}\\n'; else echo '{HEADER}'; fi")
    checks = by_name(processor_checks())
    assert checks["GPU 0"].facts == {
        "name": "NVIDIA H200",
        "memory_bytes": 143771 << 20,
        "free_bytes": 143000 << 20,
        "driver": "570.86.15",
        "cuda": "12.8",
    }
    assert (checks["GPU 1"].facts["name"], checks["GPU 1"].facts["memory_bytes"]) == ("NVIDIA GB10", None)
    assert all(check.ok for check in checks.values())


def test_a_driver_without_gpus_is_no_fault(driver: Path) -> None:
    stand_in(driver, "nvidia-smi", "echo 'No devices were found'; exit 6")
    assert gpus.nvidia_gpus() == []


def test_a_driver_that_does_not_work_is_a_fault(driver: Path) -> None:
    reason = "NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver."
    stand_in(driver, "nvidia-smi", f"echo '{reason}'; exit 9")
    check = by_name(processor_checks())["GPU"]
    assert not check.ok
    assert reason in check.detail


def test_a_gpu_that_pytorch_cannot_use_is_a_fault(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mentor_kit_torch
    import torch

    stand_in(driver, "nvidia-smi", f"if [ $# -gt 0 ]; then echo 'L4, 1, 1, 5'; else echo '{HEADER}'; fi")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    (name, ok, detail) = mentor_kit_torch.doctor_checks()[-1]
    assert (name, ok) == ("torch devices", False)
    assert "13.0" in detail
    assert "12.8" in detail
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # none is wanted
    assert all(ok for _, ok, _ in mentor_kit_torch.doctor_checks())


VALUES = {"machdep.cpu.brand_string": "Apple M4", "hw.memsize": str(16 * GIB), "iogpu.wired_limit_mb": "0"}


def mac(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str, values: dict[str, str]) -> None:
    cases = "\n".join(f"{name}) echo '{value}';;" for name, value in values.items())
    path = stand_in(folder, "sysctl", f'case "$2" in\n{cases}\n*) exit 1;;\nesac')
    monkeypatch.setattr(machine, "_SYSCTL", str(path))
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(platform, "mac_ver", lambda: (version, ("", "", ""), "arm64"))


def test_apples_gpu_has_the_main_memory_and_a_wired_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mac(tmp_path, monkeypatch, "15.5", VALUES)
    checks = by_name(processor_checks())
    assert checks["CPU"].facts["name"] == "Apple M4"
    assert checks["GPU"].facts == {"name": "Apple M4", "memory_bytes": 16 * GIB, "wired_limit_bytes": 0}
    assert all(check.ok for check in checks.values())
    mac(tmp_path, monkeypatch, "15.5", VALUES | {"iogpu.wired_limit_mb": "12288"})
    assert by_name(processor_checks())["GPU"].facts["wired_limit_bytes"] == 12 * GIB


def test_a_macos_without_packages_and_a_python_for_intel_are_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mac(tmp_path, monkeypatch, "13.7.1", VALUES | {"sysctl.proc_translated": "1"})
    checks = by_name(processor_checks())
    assert [name for name, check in checks.items() if not check.ok] == ["macOS", "GPU"]


def faults() -> list[str]:
    return [check.name for check in api.check_machine() if not check.ok]


def test_a_machine_with_one_backend_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = {"torch", "peft"}
    monkeypatch.setattr(requirements, "find_spec", lambda name: None if name in absent else object())

    def version(name: str) -> str:
        if name in absent:
            raise metadata.PackageNotFoundError(name)
        return metadata.version(name)

    without = SimpleNamespace(
        version=version, requires=metadata.requires, PackageNotFoundError=metadata.PackageNotFoundError
    )
    monkeypatch.setattr(packages, "metadata", without)
    assert faults() == []
    absent |= {"mlx", "mlx-lm", "mlx_lm"}
    assert {"backends", "torch backend", "mlx backend"} <= {*faults()}
    absent -= {"torch"}  # half of what the backend needs
    assert "peft" in faults()


def test_extras_of_developers_are_not_asked_for() -> None:
    extras = {check.facts.get("extra") for check in api.check_machine()}
    assert "torch" in extras
    assert not extras & {"dev", "docs", "benchmarks", "mlx-benchmarks"}
