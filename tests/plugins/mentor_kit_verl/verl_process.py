"""verl's own environment, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

#: Its interpreter.
PYTHON = os.environ.get("MENTORKIT_VERL_PYTHON", "build/verl/bin/python")


def in_verl(*arguments: object) -> Any:
    script = Path(__file__).with_name("in_verl.py")
    done = subprocess.run(
        [PYTHON, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "RAY_DEDUP_LOGS": "0"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
