"""transformers without PyTorch, in a process of its own where PyTorch is hidden."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HIDDEN = """
import importlib.util, os
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "torch" else real(name, package)
"""
SETTING = "TRANSFORMERS_NO_ADVISORY_WARNINGS"
QUIET = "from mentor_kit.utils.quiet_imports import import_transformers as get; print(get().__name__)"


def printed(code: str, **environment: str) -> tuple[str, str]:
    # another test may have imported transformers quietly in this process
    inherited = {name: value for name, value in os.environ.items() if name != SETTING}
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN + code], capture_output=True, text=True, env=inherited | environment
    )
    return done.stdout, done.stderr


def test_that_pytorch_was_not_found_is_not_said() -> None:
    assert "PyTorch was not found" in printed("import transformers")[1]  # by itself it says so
    assert printed(QUIET) == ("transformers\n", "")


@pytest.mark.parametrize("own", [None, "", "1"])
def test_the_users_own_setting_stays(own: str | None) -> None:
    code = f"{QUIET}; print(repr(os.environ.get({SETTING!r})))"
    assert printed(code, **({} if own is None else {SETTING: own}))[0].splitlines()[-1] == repr(own)
