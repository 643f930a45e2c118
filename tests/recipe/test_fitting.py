"""Settings that make a run fit: right by brute force with a backend of two numbers, and true of the real backends."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from test_plan import tiny_model, with_plugin

from mentor_kit import api
from mentor_kit.backend.memory import DeviceMemory, MemoryEstimate, MemoryLoad, Saving, main_memory
from mentor_kit.backend.policy import Backend
from mentor_kit.backend.student import StudentSpec
from mentor_kit.cli.app import run_app
from mentor_kit.hooks import Registry, hookimpl
from mentor_kit.recipe.fitting import _mildest
from mentor_kit.recipe.settings import parse_settings

GIB = 1 << 30


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    room: int = 64
    again: bool = False


class Counting(Backend):
    """Takes `room` bytes, 40 for what is kept unless it is made `again`, and 1000 for weights unless in an adapter."""

    def __init__(self, options: Options, has: int | None) -> None:
        self.options, self.has = options, has

    def load(self, student: StudentSpec, seed: int) -> Any:
        raise AssertionError("a plan loads no weights")

    def estimate(self, student: StudentSpec, load: MemoryLoad) -> MemoryEstimate:
        kept, weights = 0 if self.options.again else 40, 1000 if student.adapter is None else 10
        return MemoryEstimate(parameters=1, trainable=1, parts={"all": self.options.room + kept + weights})

    def device_memory(self) -> DeviceMemory | None:
        return None if self.has is None else DeviceMemory(device="abacus", bytes=self.has, usable=self.has)

    def savings(self, student: StudentSpec, load: MemoryLoad) -> Sequence[Saving]:
        return [Saving(option="again", values=(True,)), Saving(option="room", values=(32, 16, 8))]


def counting(has: int | None) -> Registry:
    class Theirs:
        @staticmethod
        @hookimpl
        def register_backends(register: Any) -> None:
            register("counting", options=Options, build=lambda options, context: Counting(options, has))

    return with_plugin(Theirs(), "theirs")


def plan(has: int | None, *settings: str) -> Any:
    return api.plan("quickstart", overrides=parse_settings(["backend=counting", *settings]), registry=counting(has))


@pytest.mark.parametrize(
    ("has", "settings"),
    [
        (2000, None),
        (1104, None),
        (1103, ["backend.again=true"]),
        (1064, ["backend.again=true"]),
        (1063, ["backend.again=true", "backend.room=32"]),
        (1010, ["backend.again=true", "backend.room=8"]),
        (1007, ["student.adapter=lora"]),
        (114, ["student.adapter=lora"]),
        (113, ["student.adapter=lora", "backend.again=true"]),
        (20, ["student.adapter=lora", "backend.again=true", "backend.room=8"]),
        (17, []),
    ],
)
def test_the_least_that_fits(has: int, settings: list[str] | None) -> None:
    found = plan(has)
    assert found.fits is (settings is None)
    assert (list(found.smaller.settings) if found.smaller else []) == (settings or [])
    if settings:
        assert plan(has, *settings).fits
        assert found.smaller.total == plan(has, *settings).memory.total <= has
        (line,) = [line for line in found.text().splitlines() if line.lstrip().startswith("--set")]
        assert shlex.split(line) == [word for setting in settings for word in ("--set", setting)]
    assert found.as_data()["settings_that_fit"] == (settings or None)


def test_a_device_that_is_not_known_is_not_spoken_of() -> None:
    found = plan(None)
    assert (found.device, found.fits, found.smaller) == (None, None, None)
    assert "device " not in found.text()


def test_an_adapter_that_is_there_is_not_proposed() -> None:
    found = plan(50, "student.adapter={use: lora, with: {rank: 4}}")
    assert list(found.smaller.settings) == ["backend.again=true", "backend.room=32"]


@given(
    sizes=st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=4, unique=True), min_size=1, max_size=3),
    usable=st.integers(1, 200),
)
def test_nothing_milder_fits(sizes: list[list[int]], usable: int) -> None:
    """Against all combinations: some settings are found exactly where some fit, and none of them can be eased."""
    sizes = [sorted(values, reverse=True) for values in sizes]
    savings = [Saving(option=f"o{place}", values=tuple(values[1:])) for place, values in enumerate(sizes) if values[1:]]
    places = [place for place, values in enumerate(sizes) if values[1:]]

    def total(settings: Sequence[str]) -> int:
        given_ = {one.partition("=")[0]: int(one.partition("=")[2]) for one in settings}
        return sum(given_.get(f"backend.o{place}", values[0]) for place, values in enumerate(sizes))

    found = _mildest(savings, total, usable)
    possible = any(sum(combination) <= usable for combination in itertools.product(*sizes))
    if not savings or total([]) <= usable:
        return
    assert bool(found) == possible
    if found:
        assert total(found) <= usable
        chosen = {one.partition("=")[0]: int(one.partition("=")[2]) for one in found}
        for place in places:
            values, name = sizes[place], f"backend.o{place}"
            if name in chosen:
                milder = values[values.index(chosen[name]) - 1]
                assert total([*(one for one in found if not one.startswith(name)), f"{name}={milder}"]) > usable


def test_this_machines_memory() -> None:
    psutil = pytest.importorskip("psutil")
    found = main_memory()
    assert found is not None
    assert 0 < found.usable < found.bytes <= psutil.virtual_memory().total + (1 << 20)


# --- the real backends

WIDE = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024, "intermediate_size": 4096,
    "num_attention_heads": 8, "num_key_value_heads": 8, "num_hidden_layers": 12, "vocab_size": 512,
    "max_position_embeddings": 65536, "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide")
    (folder / "config.json").write_text(json.dumps(WIDE))
    for path in Path(tiny_model()).glob("*"):
        if path.name.startswith(("tokenizer", "chat")):
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.spread
@pytest.mark.parametrize("backend", ["torch", "mlx"])
@pytest.mark.parametrize("memory", [3.0, pytest.param(1.75, marks=pytest.mark.slow)])
def test_what_is_proposed_fits_and_none_of_it_is_idle(backend: str, memory: float, wide: Path) -> None:
    if backend == "mlx":
        pytest.importorskip("mlx.core")
    # MLX has no kernel for the gradient of attention: all scores of a long response would be in memory at once
    response = {"torch": 4096, "mlx": 1024}[backend]
    asked = [f"backend={{use: {backend}, with: {{device: cpu}}}}", f"student.model={wide}",
             f"rollout.max_response_tokens={response}"]  # fmt: skip

    def planned(*settings: str) -> Any:
        return api.plan("quickstart", overrides=parse_settings([*asked, *settings]), memory=memory)

    found = planned()
    assert found.fits is False
    assert found.smaller is not None
    assert planned(*found.smaller.settings).fits
    for setting in found.smaller.settings:
        others = [other for other in found.smaller.settings if other != setting]
        if "student.adapter=lora" not in others and any("quantize" in other for other in others):
            continue  # weights in few bits cannot be trained without an adapter
        assert not planned(*others).fits


def test_memory_is_that_of_a_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["run", "quickstart", "--memory", "24"]) == 2
    assert run_app(["run", "quickstart", "--dry-run", "--memory", "0"]) == 2
    assert run_app(["run", "quickstart", "--dry-run", "--memory", "nan"]) == 2
    assert run_app(["run", "quickstart", "--dry-run", "--memory", "inf"]) == 2
    capsys.readouterr()
    assert run_app(["run", "quickstart", "--dry-run", "--memory", "24", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["device_bytes"], data["fits"], data["settings_that_fit"]) == (24 * GIB, True, None)
