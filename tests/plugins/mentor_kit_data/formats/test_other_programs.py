"""What is written is what other programs take: chat templates, the library `datasets`, TRL's and mlx-lm's trainers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mentor_kit_tiny
import pytest
from made_dialogues import made_dialogues

from mentor_kit import api
from mentor_kit.chat import ChatFormat, load_chat_format
from mentor_kit.core.conversation import Message
from mentor_kit.core.data_format import Dialogue
from mentor_kit.core.tool import Tool
from mentor_kit.hooks.data_formats import data_formats
from mentor_kit.runs.row_files import write_rows

TINY = Path(mentor_kit_tiny.__file__).parent / "students" / "tiny"
FORMATS = data_formats()
#: Templates of families that call tools, as the package trl has them.
TEMPLATES = ("qwen2_5", "qwen3", "llama3_1", "llama3_2", "glm4moe", "gptoss", "lfm2", "nemotron_3_nano")
#: Formats by which a dialogue may go on its way to a row for TRL.
ON_THE_WAY = ("trl", "openai", "sharegpt", "sts", "mentor")


@cache
def template(name: str) -> str:
    spec = find_spec("trl")
    if spec is None or spec.origin is None:
        pytest.skip("trl is not installed")
    file = Path(spec.origin).parent / "chat_templates" / f"{name}.jinja"
    if not file.is_file():
        pytest.skip(f"this version of trl has no {name}.jinja")
    return file.read_text(encoding="utf-8")


@cache
def tokenizer() -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(TINY)


def rendered(row: dict[str, Any], name: str) -> str:
    """The text that a template makes of a row, as trainers call it."""
    given = {"tools": row.get("tools") or None, "chat_template": template(name), "tokenize": False}
    text: str = tokenizer().apply_chat_template(row["messages"], **given)
    return text


@cache
def dialogues() -> list[Dialogue]:
    """Dialogues that all formats can express: one call a turn, no reasoning, to an end."""
    found = []
    for dialogue in made_dialogues(400, seed=1):
        try:
            for name in ON_THE_WAY:
                FORMATS[name].write(dialogue)
        except Exception:  # noqa: BLE001 (round trips are tested elsewhere)
            continue
        if all(len(message.tool_calls) < 2 for message in dialogue.messages):
            found.append(dialogue)
    return found[:25]


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_give_the_same_text_on_every_way(tmp_path: Path, name: str) -> None:
    datasets = pytest.importorskip("datasets")
    trl = FORMATS["trl"]
    before = [rendered(trl.write(dialogue), name) for dialogue in dialogues()]
    assert len(before) == 25
    for way in ON_THE_WAY:
        rows = [json.loads(json.dumps(FORMATS[way].write(dialogue))) for dialogue in dialogues()]
        assert [rendered(trl.write(FORMATS[way].read(row)), name) for row in rows] == before
    for kind, file in (("json", "a.jsonl"), ("parquet", "a.parquet")):
        write_rows(tmp_path / file, [trl.write(dialogue) for dialogue in dialogues()])
        loaded = datasets.load_dataset(
            kind, data_files=str(tmp_path / file), split="train", cache_dir=str(tmp_path / "cache")
        )
        assert [rendered(row, name) for row in loaded] == before


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with eight demonstrations of the quickstart."""
    run = api.collect("quickstart", problems=8, output=tmp_path_factory.mktemp("runs"))
    return run.path


def written(collected: Path, target: Path, to: str = "trl") -> list[dict[str, Any]]:
    api.convert_data(collected, target, to=to)
    return [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]


def own_text(chat: ChatFormat, dialogue: Dialogue) -> str:
    """The text of a dialogue as the student is trained on it here, piece by piece."""
    tools = {tool.name: Tool.declared(tool.name, tool.description, tool.parameters) for tool in dialogue.tools}
    ids: list[int] = []
    news: list[Message] = []
    for message in dialogue.messages:
        if message.role != "assistant":
            news.append(message)
            continue
        ids += chat.bridge(news, tools=tools) if ids else chat.open(news, tools)
        ids += chat.render_turn(message, tools)
        news = []
    return chat.tokenizer.decode(ids)


def test_a_students_own_template_gives_the_text_that_it_is_trained_on_here(collected: Path, tmp_path: Path) -> None:
    chat = load_chat_format(TINY)
    for row in written(collected, tmp_path / "a.jsonl"):
        text = tokenizer().apply_chat_template(row["messages"], tools=row["tools"], tokenize=False)
        assert text.rstrip("\n") == own_text(chat, FORMATS["trl"].read(row)).rstrip("\n")


@pytest.mark.slow
def test_trl_trains_a_step(collected: Path, tmp_path: Path) -> None:
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    transformers = pytest.importorskip("transformers")
    rows = written(collected, tmp_path / "train.jsonl")
    data = datasets.load_dataset(
        "json", data_files=str(tmp_path / "train.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    options = trl.SFTConfig(
        output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=2, report_to="none", use_cpu=True,
        save_strategy="no", bf16=False, max_length=None,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_pretrained(TINY)
    trainer = trl.SFTTrainer(model, args=options, train_dataset=data, processing_class=tokenizer())
    before = model.model.embed_tokens.weight.detach().clone()
    done = trainer.train()
    assert done.global_step == 1
    assert 0 < done.training_loss < 20
    assert not before.equal(model.model.embed_tokens.weight)
    # each row's tokens are those of the whole dialogue, tools and calls included
    chat = load_chat_format(TINY)
    texts = {own_text(chat, FORMATS["trl"].read(row)).rstrip("\n") for row in rows}
    assert {tokenizer().decode(row["input_ids"]).rstrip("\n") for row in trainer.train_dataset} == texts


@pytest.mark.slow
def test_mlx_lm_trains_a_step(collected: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlx_lm")
    for name in ("train", "valid"):
        written(collected, tmp_path / "data" / f"{name}.jsonl")
    command = [
        *(sys.executable, "-m", "mlx_lm", "lora", "--model", str(TINY), "--train", "--data", str(tmp_path / "data")),
        *("--iters", "1", "--batch-size", "2", "--val-batches", "1", "--num-layers", "2", "--max-seq-length", "1024"),
        *("--adapter-path", str(tmp_path / "adapter")),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "adapter" / "adapters.safetensors").stat().st_size > 1000
