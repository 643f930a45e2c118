"""Exports of a real run: other programs load them, their cards are read by the hub's client, anyone may read them."""

from __future__ import annotations

import json
import os
import stat
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from mentor_kit import Run, api
from mentor_kit.core.errors import MentorKitError, MissingError, UsageError
from mentor_kit.recipe.settings import parse_settings

SMALL = [
    "train.0.steps=1",
    "train.0.problems=2",
    "train.0.group=2",
    "evaluate.on.0.problems=2",
    "evaluate.on.1.problems=2",
    "rollout.temperature=0.9",
    "report=false",
    "backend.threads=1",
]


def run_of(root: Path, *more: str) -> Path:
    return api.run("quickstart", overrides=parse_settings([*SMALL, *more]), output=root / "runs").path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("adapted"), "student.adapter=lora", "student.adapter.rank=4")


def card(folder: Path) -> tuple[dict[str, Any], str]:
    from huggingface_hub import ModelCard

    found = ModelCard.load(folder / "README.md")
    return found.data.to_dict(), found.text


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_run_leaves_files_with_the_modes_of_the_umask(whole: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in whole.rglob("*") if path.is_file()}
    assert {path for path in modes if path.suffix == ".safetensors"}
    assert {path: mode for path, mode in modes.items() if mode != 0o666 & ~mask and path.name != "lock"} == {}


def test_a_runs_student_has_a_card_and_samples_as_it_was_trained(whole: Path) -> None:
    from transformers import GenerationConfig

    data, text = card(whole / "student")
    assert data["library_name"] == "transformers"
    assert {result["dataset"]["split"] for result in data["model-index"][0]["results"]} == {
        *("in-domain", "out-of-domain"),
    }
    assert "GRPO, 1 step (2 problems a step, 2 attempts at each)" in text
    assert "--tool-call-parser hermes" in text
    config = GenerationConfig.from_pretrained(whole / "student")
    assert (config.do_sample, config.temperature, config.top_k) == (True, 0.9, 0)
    assert config.validate(strict=True) is None


def test_what_transformers_generates_is_read_as_a_call(whole: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from mentor_kit.chat import load_chat_format

    model = AutoModelForCausalLM.from_pretrained(whole / "student")
    tokenizer = AutoTokenizer.from_pretrained(whole / "student")
    messages = [
        {"role": "system", "content": ""},
        {"role": "user", "content": "Start with 49. Find its square root. What is the result?"},
    ]
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in TOOLS]
    prompt = tokenizer.apply_chat_template(
        messages, tools=tools, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    found = model.generate(**prompt, max_new_tokens=40, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    (call,) = load_chat_format(whole / "student").parse(found.tolist()).tool_calls
    assert call.name in TOOLS


TOOLS = [
    *("add", "subtract", "multiply", "divide", "sum_numbers", "floor", "ceil", "round_number", "power", "sqrt"),
    *("abs_value", "modulo"),
]


def test_an_adapter_loads_in_peft_and_names_no_path_of_this_machine(adapted: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    adapter = api.export(adapted, tmp_path / "adapter", format="adapter")
    data, text = card(adapter)
    assert data["library_name"] == "peft"
    assert "base_model" not in data
    assert "More Information Needed" not in text
    tiny = Path(__file__).parents[2] / "plugins" / "mentor_kit_tiny" / "students" / "tiny"
    for file in adapter.iterdir():
        assert str(tiny.parent).encode() not in file.read_bytes(), file
    ids = AutoTokenizer.from_pretrained(adapter)("Start with 49.", return_tensors="pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), adapter)
    whole = AutoModelForCausalLM.from_pretrained(adapted / "student")
    torch.testing.assert_close(model(**ids).logits, whole(**ids).logits, atol=1e-4, rtol=1e-4)


def test_a_student_is_exported_without_the_hubs_client(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mentor_kit.report.model_card import readme

    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("No module named 'huggingface_hub'")

    monkeypatch.setattr(readme, "card_data", missing)
    folder = api.export(whole, tmp_path / "student")
    assert (folder / "model.safetensors").is_file()
    assert not (folder / "README.md").exists()
    assert "huggingface_hub is not installed" in caplog.text


def test_the_card_is_the_same_whenever_the_run_is_repeated(whole: Path, tmp_path: Path) -> None:
    again = api.export(whole, tmp_path / "student")
    for name in ("README.md", "generation_config.json"):
        assert (again / name).read_bytes() == (whole / "student" / name).read_bytes()


@pytest.fixture(scope="module")
def by_mlx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mlx_lm")
    return run_of(tmp_path_factory.mktemp("mlx"), "student.adapter=lora", "backend={use: mlx}")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["mlx", "mlx-adapter", "transformers", "adapter"])
def test_students_of_mlx_have_cards(by_mlx: Path, tmp_path: Path, format: str) -> None:
    folder = api.export(by_mlx, tmp_path / "out", format=format)
    library = {"transformers": "transformers", "adapter": "peft"}.get(format, "mlx")
    assert card(folder)[0]["library_name"] == library
    config = folder / "generation_config.json"
    assert config.is_file() == (format in ("mlx", "transformers"))
    if config.is_file():
        assert json.loads(config.read_text())["temperature"] == 0.9


CONVERTER = """#!{python}
import argparse, json, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("--outfile", type=pathlib.Path)
parser.add_argument("--outtype", choices=["f32", "f16", "bf16", "q8_0", "tq1_0", "tq2_0", "auto"])
found = parser.parse_args()
assert json.loads((found.model / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
assert (found.model / "tokenizer.json").is_file() and (found.model / "model.safetensors").is_file()
if "{fault}":
    raise SystemExit("{fault}")
found.outfile.write_bytes(b"GGUF" + bytes(20))
"""


def converter(folder: Path, fault: str = "") -> None:
    """A stand-in for llama.cpp's converter, with its command line."""
    folder.mkdir(exist_ok=True)
    script = folder / "convert_hf_to_gguf.py"
    script.write_text(CONVERTER.format(python=sys.executable, fault=fault))
    script.chmod(0o755)


@pytest.mark.parametrize("place", ["PATH", "LLAMA_CPP"])
def test_a_file_for_llama_cpp(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    converter(tmp_path / "llama.cpp")
    monkeypatch.setenv(place, str(tmp_path / "llama.cpp"))
    folder = api.export(whole, tmp_path / "out", format="gguf")
    assert {path.name for path in folder.iterdir()} == {"quickstart.gguf", "README.md"}
    assert (folder / "quickstart.gguf").read_bytes().startswith(b"GGUF")
    data, text = card(folder)
    assert data["library_name"] == "gguf"
    assert "llama-server -m MODEL --jinja" in text
    (command,) = api.serving(folder, format="gguf")
    assert command.command == f"llama-server -m {folder / 'quickstart.gguf'} --jinja"


@pytest.mark.parametrize("named", [None, "/no/such/folder"])
def test_without_llama_cpp(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    if named is not None:
        monkeypatch.setenv("LLAMA_CPP", named)
    with pytest.raises(MissingError) as error:
        api.export(whole, tmp_path / "out", format="gguf")
    command = f"python convert_hf_to_gguf.py {tmp_path / 'out'} --outfile {tmp_path / 'out'}.gguf"
    assert command in (error.value.hint or "")
    assert f"mentorkit export {whole} {tmp_path / 'out'}" in (error.value.hint or "")
    assert not (tmp_path / "out").exists()


def test_a_student_that_llama_cpp_does_not_know(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converter(tmp_path / "llama.cpp", fault="BPE pre-tokenizer was not recognized")
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path / "llama.cpp"))
    with pytest.raises(MentorKitError, match="pre-tokenizer was not recognized"):
        api.export(whole, tmp_path / "out", format="gguf")
    assert not (tmp_path / "out").exists()


def test_results_on_a_benchmark_are_in_the_hubs_form(whole: Path, tmp_path: Path) -> None:
    from huggingface_hub import parse_eval_result_entries
    from ruamel.yaml import YAML

    named = {"in-domain": "owner/bench:easy", "out-of-domain": "owner/bench"}
    folder = api.export(whole, tmp_path / "out", benchmarks=named)
    (file,) = (folder / ".eval_results").iterdir()
    entries = parse_eval_result_entries(YAML(typ="safe").load(file.read_text()))
    assert [(entry.dataset_id, entry.task_id) for entry in entries] == [
        ("owner/bench", "easy"),
        ("owner/bench", "default"),
    ]
    reports = {report["plan"]: report for report in Run.open(whole).evaluations}
    for entry, plan in zip(entries, named, strict=True):
        assert entry.value == pytest.approx(100 * reports[plan]["greedy"]["accuracy"])
        assert entry.notes is not None
        assert "greedy, 2 problems" in entry.notes


@pytest.mark.parametrize(
    ("named", "text"),
    [
        ({"in-domian": "a/b"}, "did you mean 'in-domain'"),
        ({"in-domain": "b"}, "no benchmark"),
        ({"in-domain": "a/b:"}, "no benchmark"),
    ],
)
def test_benchmarks_that_are_none(whole: Path, tmp_path: Path, named: dict[str, str], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        api.export(whole, tmp_path / "out", benchmarks=named)
    assert not (tmp_path / "out").exists()


def test_a_run_is_pushed_as_it_is_exported(whole: Path, tmp_path: Path) -> None:
    before = sorted(whole.iterdir())
    pushed = api.push(whole, "me/mine", dry_run=True, license="apache-2.0")
    exported = api.export(whole, tmp_path / "out", name="me/mine", license="apache-2.0")
    assert {file.path: file.bytes for file in pushed.files} == {
        path.name: path.stat().st_size for path in exported.iterdir()
    }
    assert pushed.card == (exported / "README.md").read_text()
    data, text = card(exported)
    assert data["license"] == "apache-2.0"
    assert "vllm serve me/mine" in text
    assert sorted(whole.iterdir()) == before
