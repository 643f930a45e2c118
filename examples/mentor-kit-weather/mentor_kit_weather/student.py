"""The student `weather`: the tokenizer of `tiny-student` on a smaller model with random weights."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from mentor_kit.core.component import ComponentSpec
from mentor_kit.hooks import BuildContext

#: Where the student is written, the first time that it is used.
FOLDER = Path(tempfile.gettempdir()) / "mentor_kit_weather-student"


def weather_student(context: BuildContext) -> Path:
    """Return the student's folder, in transformers' format. A package may also bring one, or download it."""
    if (FOLDER / "config.json").is_file():
        return FOLDER
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, set_seed

    tiny = context.registry.build("students", ComponentSpec(use="tiny-student"), context)
    config = AutoConfig.from_pretrained(tiny, num_hidden_layers=2)
    set_seed(0)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as new:
        AutoModelForCausalLM.from_config(config).save_pretrained(new)
        AutoTokenizer.from_pretrained(tiny).save_pretrained(new)
        shutil.copytree(new, FOLDER, dirs_exist_ok=True)
    return FOLDER
