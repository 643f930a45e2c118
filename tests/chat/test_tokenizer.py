import os
import subprocess
import sys

import pytest
from chat_tokenizers import HERMES, make_tokenizer

from mentor_kit.chat import TransformersTokenizer, load_chat_format, load_tokenizer, tokenizer
from mentor_kit.chat.tokenizer import template_text
from mentor_kit.core.conversation import assistant, user
from mentor_kit.core.errors import ChatError, MissingError, UsageError
from mentor_kit.core.tool import Tool

TOOLS = {"add": Tool.declared("add", "Add.", {"type": "object", "properties": {}})}


@pytest.fixture
def bare(tmp_path):
    """A folder with a tokenizer that has no chat template."""
    make_tokenizer(None).save_pretrained(tmp_path / "bare")
    return tmp_path / "bare"


def test_a_tokenizer_without_a_template_says_how_to_give_one(bare):
    with pytest.raises(ChatError, match="chat template") as caught:
        load_tokenizer(bare)
    assert "student: {chat_template: " in str(caught.value)
    assert str(bare) in str(caught.value)


@pytest.mark.parametrize("given", ["hermes", "own.jinja", HERMES])
def test_a_template_can_be_named_a_file_or_text(bare, tmp_path, given):
    (tmp_path / "own.jinja").write_text(HERMES)
    chat = load_chat_format(str(bare), chat_template=given, folder=tmp_path)
    text = chat.tokenizer.decode(chat.open([user("Q")], TOOLS))
    assert text.endswith("<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n")
    assert '"name": "add"' in text


def test_a_file_given_whole_needs_no_folder(bare, tmp_path):
    (tmp_path / "own.jinja").write_text(HERMES)
    assert load_tokenizer(bare, chat_template=tmp_path / "own.jinja")


def test_a_missing_template_names_itself_and_the_shipped_ones(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.jinja") as caught:
        template_text("nowhere.jinja", tmp_path)
    assert "hermes" in str(caught.value)


def test_saved_files_load_again_with_the_template(bare, tmp_path):
    chat = load_chat_format(bare, chat_template="hermes")
    chat.tokenizer.save(tmp_path / "saved")
    again = load_chat_format(tmp_path / "saved")
    assert again.open([user("Q")], TOOLS) == chat.open([user("Q")], TOOLS)
    assert again.render_turn(assistant("A")) == chat.render_turn(assistant("A"))
    assert again.stop_ids == chat.stop_ids


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(ChatError, match="tokenizer"):
        load_tokenizer(tmp_path)


def test_a_broken_tokenizer_file_is_refused(bare):
    (bare / "tokenizer.json").write_text('{"version": ')
    with pytest.raises(ChatError, match="tokenizer"):
        load_tokenizer(bare, chat_template="hermes")


def test_a_name_that_is_nothing_is_missing():
    with pytest.raises(MissingError, match="tokenizer"):
        load_tokenizer("not a model, and no folder!")


@pytest.mark.slow
def test_a_hub_out_of_reach_gives_one_message_and_no_warnings(tmp_path):
    code = (
        "import huggingface_hub.utils._http as hub; hub.time.sleep = lambda seconds: None\n"
        "from mentor_kit.chat import load_tokenizer\n"
        "from mentor_kit.core.errors import MissingError\n"
        "try: load_tokenizer('nobody/nothing')\n"
        "except MissingError as error: print(str(error).count('nobody/nothing'))\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1
    assert done.stderr == ""


def test_without_transformers_the_message_has_the_command(monkeypatch):
    monkeypatch.setattr(tokenizer, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match="transformers") as caught:
        load_tokenizer("anything")
    assert "pip install 'mentor-kit[torch]'" in str(caught.value)


def test_the_chat_layer_imports_without_heavy_packages():
    code = "import sys, mentor_kit.chat; print([m for m in ('torch', 'transformers', 'jinja2') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_special_and_control_tokens():
    inner = make_tokenizer(HERMES)
    inner.add_tokens(["<tool_call>"])
    found = TransformersTokenizer(inner, name="test")
    assert {"<|im_end|>", "</s>", "<tool_call>"} <= set(found.special)
    assert "<tool_call>" not in found.control
    assert {"<|im_end|>", "</s>"} <= found.control
    assert found.decode([found.special["<|im_end|>"]]) == "<|im_end|>"
    assert found.eos_id == found.special["</s>"]
