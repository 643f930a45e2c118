from __future__ import annotations

import inspect
import pkgutil
import subprocess
import sys

import pytest

from mentor_kit import core, rl
from mentor_kit.core import errors
from mentor_kit.core.errors import ExitCode, MentorKitError, did_you_mean

TREE = [e for _, e in inspect.getmembers(errors, inspect.isclass) if issubclass(e, MentorKitError)]


def test_exit_codes_are_the_documented_ones() -> None:
    codes = {error.__name__: int(error.exit_code) for error in TREE}
    assert codes == {
        "MentorKitError": 1,
        "UsageError": 2,
        "RecipeError": 2,
        "MissingError": 3,
        "PluginError": 1,
        "DataError": 1,
        "ChatError": 1,
        "BackendError": 1,
        "Interrupted": 130,
    }
    assert int(ExitCode.DONE) == 0


@pytest.mark.parametrize("error", TREE)
def test_a_message_may_have_a_hint_on_a_line_of_its_own(error: type[MentorKitError]) -> None:
    assert str(error("what")) == "what"
    assert str(error("what", hint="do this")) == "what\ndo this"


def test_the_modules_drawing_names_every_error() -> None:
    assert all(error.__name__ in (errors.__doc__ or "") for error in TREE)


@pytest.mark.parametrize(
    ("wrong", "known", "text"),
    [
        ("menotr", ["mentor", "sparse"], " (did you mean 'mentor'?)"),
        ("xyz", ["mentor", "sparse"], ""),
        ("a", [], ""),
        ("GRPO", ["sft", "grpo"], " (did you mean 'grpo'?)"),
        ("hermes", ["SFT", "Hermes"], " (did you mean 'Hermes'?)"),
    ],
)
def test_did_you_mean(wrong: str, known: list[str], text: str) -> None:
    assert did_you_mean(wrong, known) == text


def test_the_words_import_nothing_heavy() -> None:
    words = [
        *pkgutil.iter_modules(core.__path__, "mentor_kit.core."),
        *pkgutil.iter_modules(rl.__path__, "mentor_kit.rl."),
    ]
    imports = "; ".join(f"import {word.name}" for word in words) + "; import mentor_kit.hooks.registry"
    code = f"import sys; {imports}; print(sorted({{'torch', 'mlx', 'transformers', 'jsonschema'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
