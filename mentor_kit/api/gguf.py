"""GGUF files for llama.cpp, by its own converter where that is installed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mentor_kit.backend.folders import first_line
from mentor_kit.core.errors import MentorKitError, MissingError

#: The format's name, beside those of the backend.
GGUF = "gguf"
#: llama.cpp's converter; its repository and some packages of llama.cpp have it.
SCRIPT = "convert_hf_to_gguf.py"
#: The environment variable with the folder of llama.cpp's repository.
FOLDER = "LLAMA_CPP"


def converter(run: str, target: Path) -> list[str]:
    """The command of llama.cpp's converter: in the folder that `LLAMA_CPP` names, or on the PATH.

    Args:
        run: the run to export, for the hint.
        target: the folder to make, for the hint.

    Raises:
        MissingError: it is in neither; the hint has the commands that do without it.
    """
    if named := os.environ.get(FOLDER):
        script = Path(named).expanduser() / SCRIPT
        if not script.is_file():
            raise MissingError(f"{FOLDER} names {named}, where there is no {SCRIPT}", hint=_how(run, target))
        return [sys.executable, str(script)]
    if (found := shutil.which(SCRIPT)) is not None:
        return [found]
    raise MissingError(
        f"llama.cpp's {SCRIPT} is neither on the PATH nor in a folder that {FOLDER} names", hint=_how(run, target)
    )


def convert(command: Sequence[str], folder: Path, target: Path) -> None:
    """Convert a whole model into a GGUF file.

    Args:
        command: from `converter`.
        folder: the model, in transformers' format.
        target: the file to write.

    Raises:
        MentorKitError: the converter does not take this model.
    """
    arguments = [*command, str(folder), "--outfile", str(target), "--outtype", "auto"]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise MentorKitError(f"{command[-1]} cannot be started: {first_line(error)}") from error
    if done.returncode != 0 or not target.is_file():
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise MentorKitError(
            f"{command[-1]} did not convert the student: {said[-1] if said else f'exit code {done.returncode}'}",
            hint="it has to know the model's architecture and its tokenizer: update llama.cpp, or serve the student "
            "with another program",
        )


def _how(run: str, target: Path) -> str:
    install = "git clone --depth 1 https://github.com/ggml-org/llama.cpp && pip install ./llama.cpp/gguf-py"
    name = shlex.quote(str(target))
    return (
        f"{install} && export {FOLDER}=$PWD/llama.cpp; or without it: `mentorkit export {shlex.quote(run)} {name}`, "
        f"and where llama.cpp is: `python {SCRIPT} {name} --outfile {shlex.quote(f'{target}.gguf')}`"
    )
