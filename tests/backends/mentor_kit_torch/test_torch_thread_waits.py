"""What PyTorch's OpenMP library says of itself when it is loaded after the plugins."""

import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyTorch has another OpenMP library")

LOAD = "from mentor_kit.hooks import default_registry; default_registry().components('backends'); import torch"


@pytest.mark.spread(1)
@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, 8000), ({"GOMP_SPINCOUNT": "7"}, 7), ({"OMP_WAIT_POLICY": "passive"}, 0)],
    ids=["by itself", "the user's number", "the user's policy"],
)
def test_threads_wait_briefly_unless_the_user_says_how_long(given, spins):
    clean = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", LOAD]
    shown = subprocess.run(
        command, env=clean | {"OMP_DISPLAY_ENV": "verbose"} | given, capture_output=True, text=True, timeout=300
    )
    assert shown.returncode == 0
    assert re.findall(r"GOMP_SPINCOUNT = '(\d+)'", shown.stderr) == [str(spins)]
